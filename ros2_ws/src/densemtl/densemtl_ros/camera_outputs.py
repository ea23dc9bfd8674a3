"""The publishing side of the node: one lifecycle publisher a topic, used only while somebody listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from densemtl_ros.camera_geometry import scale_camera_info
from densemtl_ros.image_codec import fill_image
from densemtl_ros.label_info import label_message, label_type
from densemtl_ros.outputs import OUTPUTS, FrameResult, Output

__all__ = ["CameraOutputs"]

# Reliable reaches both kinds of subscriber, and images larger than the middleware's segment survive.
_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class CameraOutputs:
    """Publishers for the tasks of one bundle.

    Args:
        node: the owner.
        tasks: names of the tasks that the bundle predicts.
    """

    def __init__(self, node: LifecycleNode, tasks: Sequence[str]) -> None:
        self._node = node
        self._publishers = {
            output: node.create_lifecycle_publisher(Image, f"~/{output.topic}", _QOS)
            for output in OUTPUTS
            if output.task in tasks
        }
        self._info = node.create_lifecycle_publisher(CameraInfo, "~/camera_info", _QOS)
        self._labels = None
        if "semantic" in tasks:
            kind = label_type()
            self._labels = node.create_lifecycle_publisher(kind, "~/semantic/label_info", _LATCHED)
            if kind.__name__ != "LabelInfo":
                node.get_logger().info(
                    "vision_msgs is not installed: ~/semantic/label_info is a std_msgs/String of JSON"
                )
        silent = [task for task in tasks if task not in {output.task for output in OUTPUTS}]
        if silent:
            node.get_logger().warning(f"no topic for the bundle's other tasks: {', '.join(silent)}")

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (*self._publishers.values(), self._info, self._labels):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    def wanted(self, switches: Mapping[str, Any]) -> list[Output]:
        """List the topics that are switched on and that somebody subscribes to."""
        return [
            output
            for output, publisher in self._publishers.items()
            if switches[output.switch] and publisher.get_subscription_count()
        ]

    @property
    def info_wanted(self) -> bool:
        """Whether somebody subscribes to the camera info."""
        return bool(self._info.get_subscription_count())

    def encode(self, wanted: Sequence[Output], result: FrameResult, header: Any) -> list[tuple[Output, Image]]:
        """Make the messages of one frame; each carries the input's own header."""
        messages = []
        for output in wanted:
            message = Image()
            message.header = header
            fill_image(message, output.make(result), output.encoding)
            messages.append((output, message))
        return messages

    def publish(self, messages: Sequence[tuple[Output, Image]]) -> None:
        """Send them."""
        for output, message in messages:
            self._publishers[output].publish(message)

    def publish_info(
        self, info: CameraInfo, header: Any, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> None:
        """Send the intrinsics of the published size, with the image's header so that both pair exactly.

        Raises:
            ValueError: the camera info is of another size than the image.
        """
        message = scale_camera_info(info, image_size, output_size)
        message.header = header
        self._info.publish(message)

    def publish_labels(self, class_names: Sequence[str], threshold: float) -> None:
        """Send the names of the classes to present and future subscribers."""
        if self._labels is not None:
            self._labels.publish(label_message(class_names, threshold, self._node.get_clock().now().to_msg()))
