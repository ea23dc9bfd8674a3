"""The ROS 2 package `densemtl`; its Python module is `densemtl_ros`, and the network comes from `densemtl-core`."""

from glob import glob

from setuptools import setup

NAME = "densemtl"

setup(
    name=NAME,
    version="0.1.0",
    description="Semantic, depth, normal and edge images for robots, from a DenseMTL bundle.",
    license="Apache-2.0",
    maintainer="The DenseMTL developers",
    maintainer_email="densemtl@users.noreply.github.com",
    packages=["densemtl_ros"],
    package_data={"densemtl_ros": ["web/*.html"]},
    # densemtl-core is not named here: rosdep does not know it, and the console scripts would refuse to start with an
    # unmet requirement. docs/ros_node.md says how it is installed.
    install_requires=["setuptools"],
    # Each for one program; the node does without. `test` makes `colcon test` use pytest.
    extras_require={
        "viewer": ["aiohttp>=3.9"],
        "bags": ["rosbags>=0.11"],
        "rerun": ["rerun-sdk>=0.41"],
        "test": ["pytest"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        # `LICENSE`, `NOTICE` and `launch` are links to the one copy at the top of the repository.
        (f"share/{NAME}", ["package.xml", "LICENSE", "NOTICE"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{NAME}/config", sorted(glob("config/*"))),
        (f"share/{NAME}/rviz", sorted(glob("rviz/*"))),
    ],
    zip_safe=True,
    entry_points={
        "console_scripts": [
            "perception_node = densemtl_ros.perception_node:main",
            "replay = densemtl_ros.replay_node:main",
            "viewer = densemtl_ros.viewer:main",
            "rerun_bridge = densemtl_ros.rerun_bridge:main",
            "bag = densemtl_ros.bag:main",
            "record = densemtl_ros.record:main",
            "mcap_end = densemtl_ros.mcap_end:main",
        ],
    },
)
