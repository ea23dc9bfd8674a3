"""Node `viewer`: shows in a browser what the perception nodes see and say, for a robot without a screen.

It listens on this computer only unless told otherwise, and subscribes to images only while a browser looks at them:
perception computes what somebody subscribes to, so an unwatched viewer costs nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from densemtl_core.errors import InputError
from densemtl_ros.fixed_parameters import declare_fixed
from densemtl_ros.node_process import run_node
from densemtl_ros.viewer_access import is_loopback
from densemtl_ros.viewer_parameters import VIEWER_PARAMETERS
from densemtl_ros.viewer_pictures import TOPICS, Look
from densemtl_ros.viewer_streams import MOST_CAMERAS, StreamBoard
from densemtl_ros.viewer_subscriptions import CameraSubscriptions

__all__ = ["ViewerNode", "main"]

USAGE = """usage: viewer --ros-args [-p NAME:=VALUE]...

  -p port:=8080               port to listen on; any free one by default, which is printed
  -p rate:=5.0                most pictures a second of each stream
  -p cameras:=/front/perception,/rear/perception

All parameters with their meaning: docs/viewer.md."""

_FOLLOW_SECONDS = 0.5


class ViewerNode(Node):
    """Finds perception nodes and subscribes to those that are looked at.

    Args:
        **options: arguments of `rclpy.node.Node`.

    Attributes:
        settings: value by parameter name.
        board: what the web server shows.

    Raises:
        InputError: a parameter has a value that cannot be used.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("viewer", **options)
        self.settings = declare_fixed(self, VIEWER_PARAMETERS)
        settings = self.settings
        if settings["depth_near"] >= settings["depth_far"]:
            raise InputError(
                f"parameter depth_near: {settings['depth_near']:g} m is not less than depth_far, "
                f"{settings['depth_far']:g} m"
            )
        look = Look(settings["width"], settings["quality"], settings["depth_near"], settings["depth_far"])
        self.board = StreamBoard(look, self.get_logger().warning)
        self._subscriptions_of: dict[str, CameraSubscriptions] = {}
        self._told_full = False
        self._named = [name.strip() for name in settings["cameras"].split(",") if name.strip()]
        for name in self._named:
            if not name.startswith("/") or self.board.add(name) is None:
                raise InputError(f"parameter cameras: {name!r}; at most {MOST_CAMERAS} full names as /front/perception")
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        audience = self.create_guard_condition(self._follow_audience)
        self.board.audience_changed = audience.trigger
        # A steady clock: simulated time may stand still.
        self.create_timer(_FOLLOW_SECONDS, self._follow_graph, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _follow_graph(self) -> None:
        if not self._named:
            for name in sorted(self._perception_nodes()):
                if self.board.camera(name) is None:
                    if self.board.add(name) is not None:
                        self.get_logger().info(f"found {name}")
                    elif not self._told_full:
                        self._told_full = True
                        self.get_logger().warning(f"more than {MOST_CAMERAS} perception nodes: the others are left out")
        for subscriptions in self._subscriptions_of.values():
            subscriptions.follow()

    def _perception_nodes(self) -> set[str]:
        """Names below which a node publishes at least one of perception's image topics.

        That is the name of the node; of a node with several cameras, that with the camera's name after it.
        """
        nodes = {f"{namespace.rstrip('/')}/{name}" for name, namespace in self.get_node_names_and_namespaces()}
        found = set()
        for topic, kinds in self.get_topic_names_and_types():
            for suffix in TOPICS.values():
                owner = topic[: -len(suffix) - 1] if topic.endswith(f"/{suffix}") else ""
                owned = owner in nodes or owner.rpartition("/")[0] in nodes
                if owned and "sensor_msgs/msg/Image" in kinds and self.count_publishers(topic):
                    found.add(owner)
        return found

    def _follow_audience(self) -> None:
        watched = self.board.watched()
        for name in set(self._subscriptions_of) - watched:
            self._subscriptions_of.pop(name).close()
            self.get_logger().info(f"{name}: nobody looks, unsubscribed")
        for name in watched - set(self._subscriptions_of):
            camera = self.board.camera(name)
            if camera is not None:
                self._subscriptions_of[name] = CameraSubscriptions(self, camera)
                self.get_logger().info(f"{name}: a browser looks, subscribed")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node, _, which = status.name.partition(": ")
            node = f"/{node.lstrip('/')}"
            camera = self.board.camera(f"{node}/{which}") or self.board.camera(node)
            if camera is not None:
                values = {pair.key: pair.value for pair in status.values}
                camera.health.add(status.level[0], status.message, values, time.monotonic())


def main(args: Sequence[str] | None = None) -> int:
    """Run the node and its web server until a signal ends them.

    Args:
        args: command line; None = that of the process.

    Returns:
        The process's exit code: 0 after SIGINT or SIGTERM, 2 for a parameter or an address that cannot be used.

    Raises:
        Exception: the web server failed.
    """
    if "--help" in (sys.argv if args is None else args):
        print(USAGE)
        return 0
    try:
        from densemtl_ros.viewer_server import ViewerServer
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        print("error: aiohttp is not installed; apt install python3-aiohttp, or pip install aiohttp", file=sys.stderr)
        return 2

    def attend(node: ViewerNode, serve: Callable[[], bool]) -> int:
        host, port = node.settings["host"], node.settings["port"]
        server = ViewerServer(node.board, host, port, node.settings["rate"])
        try:
            try:
                _tell_address(node, host, server.start())
            except OSError as error:
                raise InputError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
            while server.failure is None and serve():
                pass
            if server.failure is not None:
                raise server.failure
            return 0
        finally:
            server.stop()

    return run_node(ViewerNode, attend, args)


def _tell_address(node: Node, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    node.get_logger().info(f"open http://{shown}:{port}/ in a browser on this computer")
    if is_loopback(host):
        node.get_logger().info(f"from another computer: ssh -L {port}:{shown}:{port} THIS_ROBOT, then the same address")
    else:
        node.get_logger().warning(
            f"listening on {host}: everyone who reaches this port can see the camera, without a password or encryption"
        )


if __name__ == "__main__":
    sys.exit(main())
