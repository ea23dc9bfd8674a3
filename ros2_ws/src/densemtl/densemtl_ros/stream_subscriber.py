"""Node `demo_subscriber`: hears the input, the node's outputs and its diagnostics, and hands them to a check."""

from __future__ import annotations

from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from densemtl_ros.stream_check import OUTPUTS, StreamCheck

__all__ = ["StreamSubscriber"]


class StreamSubscriber(Node):
    """Subscribes to what the perception node takes and gives.

    Args:
        check: is given every image.
        image_topic: the camera's images.
        info_topic: the camera's intrinsics.
        node: full name of the perception node.

    Attributes:
        diagnostics: the newest key / value pairs of the perception node.
        diagnostics_count: how many times it has spoken.
        heard: when the last output arrived, nanoseconds on the node's clock; 0 before the first.
    """

    def __init__(
        self,
        check: StreamCheck,
        image_topic: str = "image",
        info_topic: str = "camera_info",
        node: str = "/perception",
    ) -> None:
        super().__init__("demo_subscriber")
        self.diagnostics: dict[str, str] = {}
        self.diagnostics_count = 0
        self.heard = 0
        self._check = check
        self._status_prefix = node.strip("/") + ":"
        # Deep and reliable: here no frame may be missed, and this process does not mind being late.
        qos = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
        self._images = self.create_subscription(Image, image_topic, self._on_input, qos)
        # Tells which stamps exist. Small, so that even seconds of them fit while this process is behind with images.
        every = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
        self._infos = self.create_subscription(CameraInfo, info_topic, check.add_camera_info, every)
        self._outputs = [
            self.create_subscription(Image, f"{node}/{topic}", partial(self._on_output, topic), qos)
            for topic in OUTPUTS
        ]
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def perception_listens(self) -> bool:
        """Whether the perception node has subscribed to the images: it is active."""
        return self.count_subscribers(self._images.topic_name) > 1

    def _on_input(self, message: Image) -> None:
        self._check.add_input(message, self.get_clock().now().nanoseconds)

    def _on_output(self, topic: str, message: Image) -> None:
        self.heard = self.get_clock().now().nanoseconds
        self._check.add_output(topic, message, self.heard)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(self._status_prefix):
                self.diagnostics = {pair.key: pair.value for pair in status.values}
                self.diagnostics_count += 1
