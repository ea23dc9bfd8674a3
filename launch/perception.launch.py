"""Start the perception node for one camera; with ``source`` other than ``camera``, start the camera's stand-in too.

ros2 launch densemtl perception.launch.py image_topic:=/front/image_raw camera_info_topic:=/front/camera_info
ros2 launch densemtl perception.launch.py source:=street viewer:=browser
ros2 launch densemtl perception.launch.py source:=video source_path:=/data/drive.mp4

Only the wiring is here: every default of the node lives in the node and in config/perception.yaml.
"""

import os

from densemtl_ros.transport import transport_environment
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

PACKAGE = "densemtl"
SHARE = FindPackageShare(PACKAGE)

ARGUMENTS = [
    DeclareLaunchArgument("bundle", default_value="", description="Folder of the bundle; empty = as in params_file."),
    DeclareLaunchArgument(
        "bundle_public_key",
        default_value="",
        description="Public key (PEM file) whose owner must have signed the bundle; empty = as in params_file.",
    ),
    DeclareLaunchArgument("image_topic", default_value="/camera/image_raw", description="Camera images."),
    DeclareLaunchArgument("camera_info_topic", default_value="/camera/camera_info", description="Their intrinsics."),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes: one a camera."),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([SHARE, "config", "perception.yaml"]),
        description="Parameters of the perception node.",
    ),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", choices=["true", "false"], description="Take the time from /clock."
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Of our own nodes.",
    ),
    DeclareLaunchArgument(
        "autostart", default_value="true", choices=["true", "false"], description="Configure and activate the node."
    ),
    DeclareLaunchArgument(
        "viewer",
        default_value="none",
        choices=["none", "browser", "rviz", "foxglove"],
        description="What to look with; browser = a page on this computer, whose address is printed.",
    ),
    DeclareLaunchArgument(
        "source",
        default_value="camera",
        choices=["camera", "video", "folder", "street"],
        description="Where images come from; all but camera start the replay node.",
    ),
    DeclareLaunchArgument("source_path", default_value="", description="The file for source video, or the folder."),
]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes follow from their values."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_nodes)])


def start_nodes(context) -> list:
    """Make the nodes, given the `launch.LaunchContext`."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    use_sim_time = given["use_sim_time"] == "true"
    shared = {
        "package": PACKAGE,
        "namespace": given["namespace"],
        "output": "screen",
        "remappings": [("image", given["image_topic"]), ("camera_info", given["camera_info_topic"])],
        "arguments": ["--ros-args", "--log-level", given["log_level"]],
        # Without it most best-effort images are lost between processes: see densemtl_ros/transport.py.
        "additional_env": transport_environment(os.environ),
    }
    # The node configures and activates itself. Change-state events from here would do it at the first start only: after
    # a crash, discovery still shows the dead process's service for a while, the request goes there, and the respawned
    # node would wait unconfigured for ever.
    settings = {"use_sim_time": use_sim_time, "autostart": given["autostart"] == "true"}
    for name in ("bundle", "bundle_public_key"):
        if given[name]:
            # As a value of fixed type: a folder named 12 would become a number.
            settings[name] = ParameterValue(given[name], value_type=str)
    perception = LifecycleNode(
        executable="perception_node",
        name="perception",
        parameters=[given["params_file"], settings],
        respawn=True,
        respawn_delay=2.0,
        **shared,
    )
    actions = [perception]
    if given["source"] != "camera":
        actions.append(replay(given, shared, use_sim_time))
    return actions + viewer(given["viewer"], use_sim_time)


def replay(given: dict, shared: dict, use_sim_time: bool) -> Node:
    """Play a recording or the street world in the camera's place, on the camera's topics."""
    source = "street" if given["source"] == "street" else given["source_path"]
    if not source:
        raise RuntimeError(f"source:={given['source']} needs source_path:=, the {given['source']} to play")
    settings = {"source": ParameterValue(source, value_type=str), "loop": True, "use_sim_time": use_sim_time}
    return Node(executable="replay", name="replay", parameters=[settings], **shared)


def viewer(name: str, use_sim_time: bool) -> list:
    """Start the viewer asked for; all but our own must be installed."""
    if name == "browser":
        return [
            Node(
                package=PACKAGE,
                executable="viewer",
                output="screen",
                parameters=[{"use_sim_time": use_sim_time}],
                additional_env=transport_environment(os.environ),
            )
        ]
    if name == "rviz":
        layout = PathJoinSubstitution([SHARE, "rviz", "perception.rviz"])
        return [
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", layout],
                parameters=[{"use_sim_time": use_sim_time}],
            )
        ]
    if name == "foxglove":
        # This machine only: a bridge open to the network is the operator's decision.
        settings = {"address": "127.0.0.1", "port": 8765, "use_sim_time": use_sim_time}
        return [Node(package="foxglove_bridge", executable="foxglove_bridge", parameters=[settings])]
    return []
