"""Node `rerun_bridge`: logs what perception nodes see with rerun, into a file or to a viewer that is already open.

Nothing is computed for it that is not logged: it subscribes to the chosen streams only. It opens no port, starts no
viewer, and connects to nothing but the address it is given.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image

from densemtl_core.errors import InputError
from densemtl_ros.camera_input import stamp_nanoseconds
from densemtl_ros.image_codec import RejectedFrame, check_image, decode_image
from densemtl_ros.label_info import label_type
from densemtl_ros.node_process import close_ros, end_after
from densemtl_ros.viewer_legend import read_labels
from densemtl_ros.viewer_pictures import view_image

__all__ = ["RerunBridge", "main"]

_VIEWER = "rerun+http://127.0.0.1:9876/proxy"
_CHOICES = ("classes", "overlay", "depth", "normals", "edges", "image")
_DEFAULT = ("classes", "overlay", "depth", "edges")
_MAX_PIXELS = 33177600
_LEAST_FREE = 4_000_000
"""Bytes of free disk at which logging ends, so that the file is whole."""
_FOLLOW_SECONDS = 0.5
_DEPTH = 5
_RELIABLE = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
_BEST_EFFORT = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class RerunBridge(Node):
    """Subscribes to streams of perception nodes and logs them.

    Args:
        logs: a `densemtl_ros.rerun_log.FrameLog` by full name of a perception node.
        streams: names of the streams to log.
        rate: most frames a second of each camera; 0 = all. Every stream leaves out the same frames.
        image_topic: the camera's images, for the stream ``image`` of the first node.
        **options: arguments of `rclpy.node.Node`.

    Attributes:
        logged: images logged so far.
    """

    def __init__(
        self, logs: dict[str, Any], streams: Sequence[str], rate: float = 0.0, image_topic: str = "", **options: Any
    ) -> None:
        from densemtl_ros.rerun_log import STREAMS

        super().__init__("rerun_bridge", **options)
        self.logged = 0
        self._rate = rate
        self._newest: dict[tuple[str, str], int] = {}
        for name, log in logs.items():
            for stream in streams:
                if stream == "image":
                    continue
                topic, encoding = STREAMS[stream]
                read = partial(view_image, encoding=encoding, max_pixels=_MAX_PIXELS)
                put = partial(self._put, log, name, stream, read)
                self.create_subscription(Image, f"{name}/{topic}", put, _RELIABLE)
            if "classes" in streams:
                self.create_subscription(
                    label_type(), f"{name}/semantic/label_info", partial(self._put_labels, log), _LATCHED
                )
            if "depth" in streams:
                self.create_subscription(CameraInfo, f"{name}/camera_info", partial(self._put_info, log), _RELIABLE)
        self._camera: Any = None
        if "image" in streams:
            name, log = next(iter(logs.items()))
            put = partial(self._put, log, name, "image", _camera_image)
            self._hear_camera = partial(self.create_subscription, Image, image_topic, put)
            self._camera = self._hear_camera(_BEST_EFFORT)
        self._silent: list[str] | None = None
        # A steady clock: simulated time may stand still.
        self.create_timer(_FOLLOW_SECONDS, self._follow_publishers, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _follow_publishers(self) -> None:
        """Hear the camera as it offers itself; tell which topics nobody publishes: the name may be mistyped."""
        if self._camera is not None:
            offers = self.get_publishers_info_by_topic(self._camera.topic_name)
            offered = {offer.qos_profile.reliability for offer in offers}
            wanted = _RELIABLE if offered == {ReliabilityPolicy.RELIABLE} else _BEST_EFFORT
            if offers and self._camera.qos_profile.reliability != wanted.reliability:
                self.destroy_subscription(self._camera)
                self._camera = self._hear_camera(wanted)
        silent = sorted(s.topic_name for s in self.subscriptions if not self.count_publishers(s.topic_name))
        if silent != self._silent:
            self._silent = silent
            self.get_logger().info(f"nobody publishes {', '.join(silent)}" if silent else "every topic has a publisher")

    def _put(self, log: Any, name: str, stream: str, read: Callable[[Any], Any], message: Image) -> None:
        stamp = stamp_nanoseconds(message)
        # By its stamp alone, so that all streams choose the same frames whatever order they arrive in.
        slot = int(stamp * self._rate // 1e9) if self._rate > 0 else stamp
        if self._newest.get((name, stream)) == slot:
            return
        self._newest[(name, stream)] = slot
        try:
            log.put(stream, stamp, read(message))
        except RejectedFrame as rejection:
            self.get_logger().warning(f"{name}: {stream}: {rejection}", throttle_duration_sec=5.0)
            return
        self.logged += 1

    def _put_info(self, log: Any, message: CameraInfo) -> None:
        log.put_intrinsics(stamp_nanoseconds(message), message.k, (message.height, message.width))

    def _put_labels(self, log: Any, message: Any) -> None:
        try:
            log.put_labels(read_labels(message))
        except ValueError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)


def _camera_image(message: Image) -> Any:
    check_image(message, _MAX_PIXELS)
    return decode_image(message)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal ends it.

    Args:
        args: command line without the program; None = that of the process.

    Returns:
        The process's exit code: 0 after SIGINT or SIGTERM, 1 when the disk is full, 2 for arguments that cannot be
        used.
    """
    code = _bridge(list(sys.argv[1:] if args is None else args))
    if args is None:
        end_after(code)
    return code


def _bridge(command: list[str]) -> int:
    try:
        own = remove_ros_args(["", *command])[1:]
    except Exception as error:  # an argument that ROS does not know; the type differs between distributions
        print(f"error: {' '.join(str(error).split())}; see --help", file=sys.stderr)
        return 2
    options = _parser().parse_args(own)
    try:
        import rerun as rr
    except ModuleNotFoundError as error:
        if error.name != "rerun":
            raise
        print("error: rerun is not installed; pip install rerun-sdk", file=sys.stderr)
        return 2
    from densemtl_ros.rerun_log import FrameLog, blueprint

    stop = threading.Event()
    # rclpy's own handlers end a process now and then with a traceback or exit code 1.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    recording, node, executor = None, None, None
    try:
        streams = _streams(options)
        _check_target(options)
        rclpy.init(args=["rerun_bridge", *command], signal_handler_options=SignalHandlerOptions.NO)
        recording = rr.RecordingStream("densemtl")
        layout = blueprint(options.nodes, streams)
        if options.save:
            recording.save(options.save, default_blueprint=layout)
        else:
            recording.connect_grpc(options.connect, default_blueprint=layout)
        logs = {name: FrameLog(recording, name, options.quality) for name in options.nodes}
        node = RerunBridge(logs, streams, options.rate, options.image)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.get_logger().info(f"logging {', '.join(options.nodes)} to {options.save or options.connect}")
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
            # The SDK only logs that it cannot write, and goes on as if it could.
            if options.save and shutil.disk_usage(Path(options.save).parent).free < _LEAST_FREE:
                print(f"error: the disk of {options.save} is full: ended; it holds what came before", file=sys.stderr)
                return 1
        for _ in range(_DEPTH * len(list(node.subscriptions))):
            executor.spin_once(timeout_sec=0.0)  # what has arrived is logged too
        node.get_logger().info(f"{node.logged} images logged")
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        close_ros(executor, node)
        if recording is not None:
            recording.disconnect()  # writes what is left


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rerun_bridge", description="Log what perception nodes see with rerun.")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--save", metavar="FILE.rrd", help="write a new file")
    target.add_argument(
        "--connect",
        metavar="URL",
        nargs="?",
        const=_VIEWER,
        help=f"send to a viewer that is open; {_VIEWER} by default",
    )
    parser.add_argument(
        "--nodes", nargs="+", default=["/perception"], metavar="NAME", help="full names of the perception nodes"
    )
    parser.add_argument("--streams", nargs="+", choices=_CHOICES, default=list(_DEFAULT), help="what to log")
    parser.add_argument("--image", default="", metavar="TOPIC", help="the camera's images, for the stream image")
    parser.add_argument("--rate", type=float, default=10.0, help="most frames a second of each camera; 0 = all")
    parser.add_argument("--quality", type=int, default=85, help="of JPEG for colour pictures, 1 to 100; 0 = exact")
    return parser


def _streams(options: argparse.Namespace) -> list[str]:
    """The streams to subscribe to; refuses options that contradict one another."""
    if not 0 <= options.quality <= 100:
        raise InputError(f"--quality: {options.quality} is not between 0 and 100")
    if not 0 <= options.rate <= 1000:
        raise InputError(f"--rate: {options.rate:g} is not between 0 and 1000")
    for name in options.nodes:
        if not name.startswith("/") or name == "/":
            raise InputError(f"--nodes: {name!r} is not a full name; write /perception, say")
    streams = list(dict.fromkeys(options.streams))
    if "image" in streams and not options.image:
        raise InputError("--streams: image needs the camera's topic; add --image /camera/image_raw, say")
    if options.image and "image" not in streams:
        streams.append("image")
    if "classes" in streams:
        streams.append("colours")
    return streams


def _check_target(options: argparse.Namespace) -> None:
    """Refuse to overwrite a file, and to send to nobody: rerun would keep everything in memory."""
    if options.save:
        path = Path(options.save)
        if path.exists():
            raise InputError(f"--save: {path} exists; choose another name")
        if not path.parent.is_dir():
            raise InputError(f"--save: there is no folder {path.parent}; make it first")
        return
    try:
        address = urlsplit(options.connect)
        host, port = address.hostname or "", address.port or 0
        if not address.scheme.startswith("rerun") or not host or not port:
            raise ValueError
    except ValueError:
        raise InputError(f"--connect: {options.connect!r} is not an address like {_VIEWER}") from None
    try:
        socket.create_connection((host, port), timeout=2.0).close()
    except OSError as error:
        raise InputError(
            f"--connect: no viewer listens at {host} port {port} ({error.strerror or error}); "
            "open one: rerun --bind 127.0.0.1"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
