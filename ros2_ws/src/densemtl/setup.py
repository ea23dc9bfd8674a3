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
    # The web server of the viewer; everything else does without.
    extras_require={"viewer": ["aiohttp>=3.9"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        # `launch` is a link to the one copy at the top of the repository.
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
        ],
    },
)
