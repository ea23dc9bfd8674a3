"""Node `replay`: a camera made of a folder of images, a video file or the procedural street world.

Publishes ``image`` (rgb8) and ``camera_info`` with the same stamp, the time of publishing. Where the source does not
know its camera, the camera info is of the right size and otherwise all zero, which in ROS means uncalibrated.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import rclpy
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from densemtl_core.errors import InputError
from densemtl_ros.frame_sources import STREET_SCENE, Frame, open_source
from densemtl_ros.image_codec import fill_image
from densemtl_ros.read_ahead import ReadAhead

__all__ = ["ReplayNode", "camera_info", "main"]

RELIABILITIES = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}

SETTLE_SECONDS = 0.3
"""How long subscribers must have been there: they learn of a publisher a little later than it learns of them."""


def camera_info(frame: Frame) -> CameraInfo:
    """Describe the pinhole camera of a frame, header left empty; all zero but the size when it is unknown."""
    info = CameraInfo()
    info.height, info.width = frame.rgb.shape[:2]
    if frame.intrinsics is not None:
        k = [float(v) for v in frame.intrinsics.ravel()]
        info.distortion_model, info.d = "plumb_bob", [0.0] * 5
        info.k, info.r = k, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0]
    return info


class ReplayNode(Node):
    """Plays a source at its rate.

    Attributes:
        finished: True after the last frame, when ``loop`` is off.
        published: frames published so far.

    Raises:
        InputError: a parameter or the source cannot be used.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("replay", **options)
        self.finished = False
        self.published = 0
        self._reader: ReadAhead | None = None
        try:
            source = open_source(
                self._text("source", "street", "What to play: 'street', a video file or a folder of images."),
                width=self._whole("width", 0, 0, 8192, "Width in pixels to scale to, aspect kept; 0 = as it is."),
                rate=self._number("rate", 0.0, 0.0, 1000.0, "Frames in a second; 0 = the source's own rate."),
                frames=self._whole("street_frames", 48, 2, 1000, "Frames of the street that are made beforehand."),
                scene=self._whole("street_scene", STREET_SCENE, 0, 9999, "Which street is driven."),
                budget=self._number(
                    "street_budget", 20.0, 0.1, 3600.0, "Seconds after which making the street stops early."
                ),
            )
            loop = self._declare("loop", False, "Start again after the last frame.")
            self._frame_id = self._text("frame_id", "camera_optical_frame", "Frame of the images.")
            reliability = self._text("reliability", "reliable", "Of both topics: reliable or best_effort.")
            self._awaited = self._whole(
                "wait_for_subscribers", 1, 0, 100, "Subscribers of the images to wait for before the first frame."
            )
            patience = self._number("wait_timeout", 60.0, 0.0, 86400.0, "Seconds to wait for them at most.")
        except ParameterException as error:
            raise InputError(f"replay: {' '.join(str(error).split())}") from None
        if reliability not in RELIABILITIES:
            raise InputError(f"replay: reliability is {reliability!r}, must be one of {', '.join(RELIABILITIES)}")
        # Deep enough that a reliable subscriber which stumbles still gets every frame; depth 1 would overwrite them.
        # Camera infos are small, and whoever pairs the two must not miss one.
        image_qos = QoSProfile(depth=5, reliability=RELIABILITIES[reliability])
        info_qos = QoSProfile(depth=50, reliability=RELIABILITIES[reliability])
        self._images = self.create_publisher(Image, "image", image_qos)
        self._infos = self.create_publisher(CameraInfo, "camera_info", info_qos)
        self._source = source
        self._reader = ReadAhead(source, loop)
        self._deadline = time.monotonic() + patience
        self._playing = False
        self._audience_since: float | None = None
        self._told_skipped: set[str] = set()
        if source.looks_ahead:
            self.get_logger().info(f"{source.title}: making its frames first, because that is slower than playing them")
        # Not the node's clock: with use_sim_time and nobody publishing /clock it would never fire.
        self._timer = self.create_timer(1.0 / source.rate, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._rate = source.rate

    def _declare(self, name: str, default: Any, text: str, **extent: Any) -> Any:
        descriptor = ParameterDescriptor(description=text, read_only=True, **extent)
        return self.declare_parameter(name, default, descriptor).value

    def _text(self, name: str, default: str, text: str) -> str:
        return str(self._declare(name, default, text))

    def _whole(self, name: str, default: int, low: int, high: int, text: str) -> int:
        extent = [IntegerRange(from_value=low, to_value=high, step=1)]
        return int(self._declare(name, default, text, integer_range=extent))

    def _number(self, name: str, default: float, low: float, high: float, text: str) -> float:
        # Dynamically typed, because nobody writes 10.0 by hand where 10 says it; the range is then ours to check.
        value = self._declare(name, default, f"{text} ({low:g} to {high:g})", dynamic_typing=True)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise InputError(f"replay: {name} is {value!r}, must be a number from {low:g} to {high:g}")
        return float(value)

    def _tick(self) -> None:
        if self._reader.finished:
            self._end()
            return
        if not self._playing and not self._may_begin():
            return
        frame = self._reader.take()
        if frame is not None:
            self._publish(frame)

    def _may_begin(self) -> bool:
        if not self._reader.ready:
            return False
        now = time.monotonic()
        waiting = self._images.get_subscription_count() < self._awaited
        if waiting:
            self._audience_since = None
            if now < self._deadline:
                return False
        elif self._awaited:
            self._audience_since = self._audience_since or now
            if now - self._audience_since < SETTLE_SECONDS:
                return False
        if waiting:
            self.get_logger().warning(
                f"fewer than {self._awaited} subscriber(s) of {self._images.topic_name}: playing on"
            )
        self.get_logger().info(f"playing {self._source.title} on {self._images.topic_name} at {self._rate:g} Hz")
        self._playing = True
        return True

    def _publish(self, frame: Frame) -> None:
        message = Image()
        fill_image(message, frame.rgb, "rgb8")
        info = camera_info(frame)
        message.header.frame_id = info.header.frame_id = self._frame_id
        message.header.stamp = info.header.stamp = self.get_clock().now().to_msg()
        # The description first: who pairs the two has it when the picture comes.
        self._infos.publish(info)
        self._images.publish(message)
        self.published += 1
        for name in self._reader.skipped - self._told_skipped:
            self.get_logger().warning(f"{name} cannot be decoded: skipped")
            self._told_skipped.add(name)

    def _end(self) -> None:
        self._timer.cancel()
        self.finished = True
        if isinstance(self._reader.error, InputError):
            raise self._reader.error
        if self._reader.error is not None:
            raise RuntimeError(f"{self._source.title}: reading failed") from self._reader.error
        skipped = f", {len(self._reader.skipped)} file(s) skipped" if self._reader.skipped else ""
        self.get_logger().info(f"played {self.published} frames{skipped}")

    def flush(self, seconds: float = 1.0) -> None:
        """Wait until reliable subscribers have the last frame: it would be lost with the publisher."""
        for publisher in (self._images, self._infos):
            publisher.wait_for_all_acked(Duration(seconds=seconds))

    def destroy_node(self) -> None:
        """End the reading thread, then the node."""
        if self._reader is not None:
            self._reader.stop()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Run the node until the last frame, Ctrl-C or SIGTERM.

    Returns:
        Exit status: 0, or 2 after one line about a parameter or source that cannot be used.
    """
    # Before PyTorch is loaded: one thread makes a street's frames quicker than several that share the processors with
    # a perception node.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    node = None
    try:
        node = ReplayNode()
        executor.add_node(node)
        while not stop.is_set() and not node.finished:
            executor.spin_once(timeout_sec=0.2)
        if node.finished and not stop.is_set():
            node.flush()
    except InputError as error:
        print(f"replay: {str(error).removeprefix('replay: ')}", file=sys.stderr)
        return 2
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean-up short
        executor.shutdown(timeout_sec=2.0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
