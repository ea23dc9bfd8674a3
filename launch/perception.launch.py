"""Start the perception node; with ``source`` other than ``camera``, start the cameras' stand-ins too.

ros2 launch densemtl perception.launch.py image_topic:=/front/image_raw camera_info_topic:=/front/camera_info
ros2 launch densemtl perception.launch.py cameras:=front,rear image_topic:=/{camera}/image_color
ros2 launch densemtl perception.launch.py source:=street viewer:=browser
ros2 launch densemtl perception.launch.py source:=video source_path:=/data/drive.mp4

Only the wiring is here: every default of the node lives in the node and in config/perception.yaml.
"""

import os
from typing import List  # noqa: UP035 - what launch_ros knows on every distribution

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
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of several cameras of one node, with commas between them; empty = one, without a name.",
    ),
    DeclareLaunchArgument(
        "image_topic",
        default_value="/{camera}/image_raw",
        description="Camera images; {camera} = the camera's name, camera where it has none.",
    ),
    DeclareLaunchArgument(
        "camera_info_topic", default_value="/{camera}/camera_info", description="Their intrinsics; {camera} as above."
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes."),
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
        choices=["camera", "video", "folder", "street", "bag"],
        description="Where images come from; all but camera start the replay node.",
    ),
    DeclareLaunchArgument("source_path", default_value="", description="The video file, folder or bag to play."),
    DeclareLaunchArgument(
        "source_topic", default_value="", description="Images of a bag; empty = its only topic with images."
    ),
]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes follow from their values."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_nodes)])


def start_nodes(context) -> list:
    """Make the nodes, given the `launch.LaunchContext`."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    use_sim_time = given["use_sim_time"] == "true"
    cameras = given["cameras"].replace(",", " ").split()
    topics = {camera: topics_of(camera, given, len(cameras)) for camera in cameras or [""]}
    shared = {
        "package": PACKAGE,
        "output": "screen",
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
    if cameras:
        settings["cameras"] = ParameterValue(cameras, value_type=List[str])  # noqa: UP006
    perception = LifecycleNode(
        executable="perception_node",
        name="perception",
        namespace=given["namespace"],
        remappings=[
            (f"{camera}/{name}" if camera else name, topic)
            for camera, names in topics.items()
            for name, topic in names.items()
        ],
        parameters=[given["params_file"], settings],
        respawn=True,
        respawn_delay=2.0,
        **shared,
    )
    actions = [perception]
    if given["source"] != "camera":
        for camera, names in topics.items():
            place = f"{given['namespace']}/{camera}" if given["namespace"] else camera
            where = {"namespace": place if camera else given["namespace"], "remappings": list(names.items())}
            actions.append(replay(given, shared | where, use_sim_time))
    return actions + viewer(given["viewer"], use_sim_time)


def topics_of(camera: str, given: dict, cameras: int) -> dict:
    """The topics of one camera by the names that nodes give them."""
    for name in ("image_topic", "camera_info_topic"):
        if cameras > 1 and "{camera}" not in given[name]:
            raise RuntimeError(f"{name}:={given[name]} is one topic for {cameras} cameras; write {{camera}} into it")
    named = {"image": given["image_topic"], "camera_info": given["camera_info_topic"]}
    return {name: topic.replace("{camera}", camera or "camera") for name, topic in named.items()}


def replay(given: dict, shared: dict, use_sim_time: bool) -> Node:
    """Play a recording or the street world in the camera's place, on the camera's topics."""
    source = "street" if given["source"] == "street" else given["source_path"]
    if not source:
        raise RuntimeError(f"source:={given['source']} needs source_path:=, the {given['source']} to play")
    settings = {"source": ParameterValue(source, value_type=str), "loop": True, "use_sim_time": use_sim_time}
    if given["source"] == "bag" and given["cameras"]:
        raise RuntimeError("source:=bag plays one camera; for several use ros2 bag play beside source:=camera")
    if given["source"] == "bag":
        topic = ParameterValue(given["source_topic"], value_type=str)
        settings |= {"topic": topic, "keep_stamps": use_sim_time, "clock": use_sim_time}
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
