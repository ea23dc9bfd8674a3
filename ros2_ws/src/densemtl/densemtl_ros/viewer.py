"""Node `viewer`: shows in a browser what the perception nodes see and say, for a robot without a screen.

It listens on this computer only unless told otherwise, and subscribes to images only while a browser looks at them:
perception computes what somebody subscribes to, so an unwatched viewer costs nothing.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from densemtl_core.errors import InputError
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
        self.settings = self._declare()
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

    def _declare(self) -> dict[str, Any]:
        values = {}
        for declaration in VIEWER_PARAMETERS:
            # Dynamically typed, because nobody writes 10.0 by hand where 10 says it; the check below is ours.
            descriptor = ParameterDescriptor(
                description=declaration.text,
                additional_constraints=declaration.constraint,
                read_only=declaration.read_only,
                dynamic_typing=True,
            )
            given = self.declare_parameter(declaration.name, declaration.default, descriptor).value
            values[declaration.name] = declaration.convert(given)
            problem = declaration.problem(values[declaration.name])
            if problem:
                raise InputError(f"parameter {problem}")
        return values

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
        """Names of the nodes that publish at least one of perception's image topics below their own name."""
        nodes = {f"{namespace.rstrip('/')}/{name}" for name, namespace in self.get_node_names_and_namespaces()}
        found = set()
        for topic, kinds in self.get_topic_names_and_types():
            for suffix in TOPICS.values():
                owner = topic[: -len(suffix) - 1] if topic.endswith(f"/{suffix}") else ""
                if owner in nodes and "sensor_msgs/msg/Image" in kinds and self.count_publishers(topic):
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
            camera = self.board.camera(f"/{status.name.partition(':')[0].lstrip('/')}")
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
    stop = threading.Event()
    # rclpy's own handlers end a process now and then with a traceback or exit code 1.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # an argument that ROS does not know; the type differs between distributions
        print(f"error: {' '.join(str(error).split())}; see --help", file=sys.stderr)
        return 2
    node, server, executor = None, None, SingleThreadedExecutor()
    try:
        node = ViewerNode()
        executor.add_node(node)
        host, rate = node.settings["host"], node.settings["rate"]
        server = ViewerServer(node.board, host, node.settings["port"], rate)
        try:
            port = server.start()
        except OSError as error:
            raise InputError(
                f"cannot listen on {host} port {node.settings['port']}: {error.strerror or error}"
            ) from None
        _tell_address(node, host, port)
        while not stop.is_set() and server.failure is None:
            executor.spin_once(timeout_sec=0.2)
        if server.failure is not None:
            raise server.failure
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean-up short
        if server is not None:
            server.stop()
        executor.shutdown(timeout_sec=2.0)
        if node is not None:
            node.destroy_node()
        with contextlib.suppress(Exception):
            rclpy.try_shutdown()


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
