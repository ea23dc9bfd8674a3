"""The camera side of the node: subscriptions, quality of service, and the cheap check of every message."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from densemtl_ros.compressed_codec import check_compressed
from densemtl_ros.frame_statistics import FrameStatistics
from densemtl_ros.image_codec import RejectedFrame, check_image
from densemtl_ros.stamp_check import StampCheck

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

__all__ = ["CameraInput", "Frame", "stamp_nanoseconds"]

_LOG_AGAIN = 5.0
"""Seconds before the same kind of bad frame is logged again."""

_LOST_THAT_MATTER = 5
"""Frames lost in transport before it is logged: one or two may go while publisher and subscriber find each other."""


@dataclass(frozen=True)
class Frame:
    """One checked camera message on its way to the worker.

    Attributes:
        message: `sensor_msgs/Image` or `CompressedImage`.
        size: ``(height, width)`` of the image, as its fields or its file's header say.
        age: seconds between its stamp and its arrival, by the node's clock.
    """

    message: Any
    size: tuple[int, int]
    age: float


class CameraInput:
    """Subscribes to one camera and hands each usable frame on.

    Args:
        node: the owner; topic names are resolved in its namespace.
        prefix: of the topics: empty, or the camera's name with a slash.
        transport: ``raw`` or ``compressed``.
        reliability: ``auto``, ``best_effort`` or ``reliable``.
        max_pixels: larger images are rejected.
        statistics: counts every message.
        accept: called with each usable frame, in the executor's thread.
    """

    def __init__(
        self,
        node: Node,
        *,
        prefix: str = "",
        transport: str,
        reliability: str,
        max_pixels: int,
        statistics: FrameStatistics,
        accept: Callable[[Frame], None],
    ) -> None:
        self._node = node
        self._compressed = transport == "compressed"
        topic = f"{prefix}image"
        self._topic = _compressed_topic(node, topic) if self._compressed else node.resolve_topic_name(topic)
        self._wish = reliability
        self._max_pixels = max_pixels
        self._statistics = statistics
        self._accept = accept
        self._stamps = StampCheck()
        self._lost_before = 0
        self._numbered: tuple[str, int] | None = None
        self._warned: set[str] = set()
        self._logged: dict[str, float] = {}
        self.camera_info: CameraInfo | None = None
        """The newest camera_info; None until one arrives."""
        info_qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._info_subscription = node.create_subscription(CameraInfo, f"{prefix}camera_info", self._on_info, info_qos)
        self._reliability = self._suitable()
        self._subscription = self._subscribe()

    @property
    def topic(self) -> str:
        """The full name of the image topic."""
        return self._topic

    @property
    def info_topic(self) -> str:
        """Full name of the topic of the intrinsics."""
        return str(self._info_subscription.topic_name)

    @property
    def description(self) -> str:
        """The topic and how it is subscribed to, in words."""
        return f"{self._topic} ({self._reliability.name.lower()})"

    def follow_publishers(self) -> None:
        """Look at what the publishers offer, and subscribe anew if another reliability suits them."""
        suitable = self._suitable()
        if suitable != self._reliability:
            self._node.destroy_subscription(self._subscription)
            self._reliability = suitable
            self._subscription = self._subscribe()
            self._node.get_logger().info(f"subscribed to {self.description}, as its publishers offer")

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_subscription(self._info_subscription)

    def _suitable(self) -> ReliabilityPolicy:
        if self._wish == "best_effort":
            return ReliabilityPolicy.BEST_EFFORT
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        deaf = [info for info in publishers if info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT]
        if self._wish == "auto":
            # Best effort hears every publisher; reliable hears only those that offer it, but loses no big frames.
            everyone_reliable = bool(publishers) and not deaf
            return ReliabilityPolicy.RELIABLE if everyone_reliable else ReliabilityPolicy.BEST_EFFORT
        for info in deaf:
            name = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            if name not in self._warned:
                self._warned.add(name)
                self._node.get_logger().error(
                    f"{name} publishes {self._topic} best effort and input_reliability is reliable: nothing will "
                    "arrive from it; use input_reliability:=auto"
                )
        return ReliabilityPolicy.RELIABLE

    def _subscribe(self) -> Any:
        # Depth 1: a deeper queue hands over frames that were new a while ago.
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1,
            reliability=self._reliability,
            durability=DurabilityPolicy.VOLATILE,
        )
        self._lost_before = 0
        # Without the default callbacks: an incompatible publisher is logged above, by name and once.
        events = SubscriptionEventCallbacks(message_lost=self._on_lost, use_default_callbacks=False)
        silent = SubscriptionEventCallbacks(use_default_callbacks=False)
        kind, callback = (CompressedImage, self._on_compressed) if self._compressed else (Image, self._on_image)
        try:
            return self._node.create_subscription(kind, self._topic, callback, qos, event_callbacks=events)
        except UnsupportedEventTypeError:  # a middleware that does not tell of lost messages
            return self._node.create_subscription(kind, self._topic, callback, qos, event_callbacks=silent)

    def _on_info(self, message: CameraInfo) -> None:
        self.camera_info = message

    def _on_lost(self, event: Any) -> None:
        self._statistics.lost(event.total_count - self._lost_before)
        self._lost_before = event.total_count
        if self._lost_before >= _LOST_THAT_MATTER and "lost" not in self._warned:
            self._warned.add("lost")
            self._node.get_logger().warning(
                f"{self._lost_before} frames of {self._topic} were lost on the way: with Fast DDS the publisher of big "
                "images needs a larger shared-memory segment, see config/fastdds.xml"
            )

    def _on_image(self, message: Image, info: Mapping[str, Any]) -> None:
        self._count_overwritten(info)
        self._check(message, self._image_size)

    def _on_compressed(self, message: CompressedImage, info: Mapping[str, Any]) -> None:
        self._count_overwritten(info)
        self._check(message, self._compressed_size)

    def _count_overwritten(self, info: Mapping[str, Any]) -> None:
        """Count frames that the middleware replaced by a newer one before this thread took them: depth is one."""
        number, publisher = info.get("publication_sequence_number"), str(info.get("publisher_gid"))
        if number is None:
            return  # a middleware that does not number messages
        last, self._numbered = self._numbered, (publisher, number)
        if last is not None and last[0] == publisher and number > last[1] + 1:
            self._statistics.overwritten(number - last[1] - 1)

    def _image_size(self, message: Image) -> tuple[int, int]:
        check_image(message, self._max_pixels)
        return message.height, message.width

    def _compressed_size(self, message: CompressedImage) -> tuple[int, int]:
        return check_compressed(message.data, self._max_pixels, message.format)

    def _check(self, message: Any, checked_size: Callable[[Any], tuple[int, int]]) -> None:
        began = time.perf_counter()
        self._statistics.received()
        try:
            size = checked_size(message)
        except RejectedFrame as rejection:
            self.reject(rejection)
            return
        now = self._node.get_clock().now().nanoseconds
        stamp = stamp_nanoseconds(message)
        odd = self._stamps.problem(stamp, now)
        if odd is not None:
            self._statistics.irregular(odd)
            self.warn(odd, f"{odd}: frame stamped {stamp / 1e9:.3f} s, the node's clock says {now / 1e9:.3f} s")
        self._accept(Frame(message, size, (now - stamp) / 1e9))
        self._statistics.accepted(time.perf_counter() - began)

    def reject(self, rejection: RejectedFrame) -> None:
        """Count an unusable frame under its reason, and log it unless one like it was just logged."""
        self._statistics.rejected(rejection.reason, str(rejection))
        self.warn(rejection.reason, f"rejected a frame from {self._topic}, {rejection.reason}: {rejection}")

    def warn(self, kind: str, text: str) -> None:
        """Log something odd, unless of its kind something was just logged."""
        now = time.monotonic()
        if now - self._logged.get(kind, float("-inf")) > _LOG_AGAIN:
            self._logged[kind] = now
            self._node.get_logger().warning(text)


def _compressed_topic(node: Node, topic: str) -> str:
    """Follow a remapping of ``image/compressed``, else one of ``image`` as image_transport does."""
    remapped = node.resolve_topic_name(f"{topic}/compressed")
    if remapped != node.resolve_topic_name(f"{topic}/compressed", only_expand=True):
        return remapped
    return node.resolve_topic_name(topic) + "/compressed"


def stamp_nanoseconds(message: Any) -> int:
    """Stamp of a message's header in nanoseconds."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)
