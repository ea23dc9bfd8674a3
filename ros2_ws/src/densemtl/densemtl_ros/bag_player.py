"""Publishes the messages of a bag as they were recorded, camera_info with them, under new stamps or their own."""

from __future__ import annotations

import time
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from densemtl_core.errors import InputError
from densemtl_ros.bag_messages import image_message, open_message, rgb_image
from densemtl_ros.bag_topic import BagMessage, BagTopic
from densemtl_ros.cdr_stamp import read_stamp, with_stamp
from densemtl_ros.image_codec import RejectedFrame
from densemtl_ros.parameters import PARAMETERS_BY_NAME

__all__ = ["BagPlayer"]

_CLOCK_SECONDS = 0.02
"""Between two messages on /clock: finer than frames, because timers of other nodes follow it."""


class BagPlayer:
    """Publishes bytes; takes a JPEG apart only while somebody listens to ``image``.

    Args:
        node: the owner, which has ``image`` and ``camera_info`` (remapped, perhaps). Compressed messages go to
            ``<image>/compressed``.
        source: the bag.
        image_qos: of the images.
        info_qos: of the camera_info.
        keep_stamps: leave the recorded stamps; False = the node's time at publishing.
        clock: publish the bag's time on /clock, with every frame.
        as_recorded: frames come at their recorded times, so that the clock can go on between them.

    Raises:
        InputError: ``clock`` without ``keep_stamps``.
    """

    def __init__(
        self,
        node: Node,
        source: BagTopic,
        image_qos: QoSProfile,
        info_qos: QoSProfile,
        *,
        keep_stamps: bool,
        clock: bool,
        as_recorded: bool,
    ) -> None:
        if clock and not keep_stamps:
            raise InputError("clock publishes the bag's time, which stamps of now do not fit; set keep_stamps:=true")
        self._node = node
        self._source = source
        self._keep_stamps = keep_stamps
        self._images = node.create_publisher(Image, "image", image_qos)
        self._infos = node.create_publisher(CameraInfo, "camera_info", info_qos) if source.camera_topic else None
        self._compressed = None
        if source.compressed:
            place = node.resolve_topic_name("image") + "/compressed"
            self._compressed = node.create_publisher(CompressedImage, place, image_qos)
        self._clock = node.create_publisher(ClockMessage, "/clock", 10) if clock else None
        self._shown: tuple[int, float] | None = None
        self._told = 0
        if clock and as_recorded:
            node.create_timer(_CLOCK_SECONDS, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def publishers(self) -> list[Any]:
        """All publishers of images and camera_info."""
        return [p for p in (self._compressed, self._images, self._infos) if p is not None]

    @property
    def topic_name(self) -> str:
        """Where the recorded messages go."""
        return str((self._compressed or self._images).topic_name)

    def audience(self) -> int:
        """Subscribers of the images, in either form."""
        return sum(p.get_subscription_count() for p in (self._compressed, self._images) if p is not None)

    def publish(self, message: BagMessage) -> None:
        """Publish one frame: its camera_info first, so that who pairs the two has it when the image comes."""
        image, info = message.image, message.info
        try:
            # Both get one stamp: who pairs them by time would find none where the driver stamped them apart.
            stamp = read_stamp(image) if self._keep_stamps else self._node.get_clock().now().nanoseconds
            image = with_stamp(image, stamp)
            info = None if info is None else with_stamp(info, stamp)
        except ValueError as error:
            self._tell(f"a message of {self._source.topic} is published as it is, though {error}")
        if self._clock is not None:
            self._say_time(message.time)
        if info is not None and self._infos is not None:
            self._infos.publish(info)
        if self._compressed is None:
            self._images.publish(image)
            return
        self._compressed.publish(image)
        if self._images.get_subscription_count():
            self._publish_decoded(image)

    def _publish_decoded(self, raw: bytes) -> None:
        try:
            message = open_message(raw, self._source.kind)
            rgb = rgb_image(message, self._source.kind, int(PARAMETERS_BY_NAME["max_pixels"].default))
        except RejectedFrame as rejection:
            self._tell(f"a message of {self._source.topic} goes out compressed only, {rejection.reason}: {rejection}")
            return
        self._images.publish(image_message(rgb, "rgb8", message.header))

    def _say_time(self, time_of_bag: int) -> None:
        next_pass = self._shown is not None and time_of_bag < self._shown[0]
        self._shown = (time_of_bag, time.monotonic())
        # The time goes back where the bag begins again, and nowhere else.
        self._publish_time(time_of_bag if next_pass else max(time_of_bag, self._told))

    def _tick(self) -> None:
        """Let the time go on between frames, as fast as that of this computer."""
        if self._shown is not None:
            base, since = self._shown
            self._publish_time(max(self._told, base + int((time.monotonic() - since) * 1e9)))

    def _publish_time(self, nanoseconds: int) -> None:
        self._told = nanoseconds
        message = ClockMessage()
        message.clock.sec, message.clock.nanosec = divmod(nanoseconds, 1_000_000_000)
        self._clock.publish(message)

    def _tell(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=5.0)
