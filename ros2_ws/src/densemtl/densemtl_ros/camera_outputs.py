"""The publishing side of one camera: one lifecycle publisher a topic, used only while somebody listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from densemtl_ros.camera_geometry import scale_camera_info
from densemtl_ros.image_codec import fill_image
from densemtl_ros.label_info import label_message, label_type
from densemtl_ros.outputs import OUTPUTS, POINTS, FrameResult, Output
from densemtl_ros.point_cloud import as_message

__all__ = ["CameraOutputs", "tell_limits"]

_RELIABILITIES = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}
_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class CameraOutputs:
    """Publishers of one camera for the tasks of one bundle.

    Args:
        node: the owner.
        tasks: names of the tasks that the bundle predicts.
        prefix: of the topics below the node: empty, or the camera's name with a slash.
        reliability: ``reliable``, which reaches both kinds of subscriber and brings images larger than the middleware's
            segment whole; or ``best_effort``, which waits for no subscriber. Labels are always reliable.
    """

    def __init__(
        self, node: LifecycleNode, tasks: Sequence[str], prefix: str = "", reliability: str = "reliable"
    ) -> None:
        self._node = node
        qos = QoSProfile(depth=1, reliability=_RELIABILITIES[reliability], durability=DurabilityPolicy.VOLATILE)
        below = f"~/{prefix}"
        self._publishers = {
            output: node.create_lifecycle_publisher(
                PointCloud2 if output is POINTS else Image, f"{below}{output.topic}", qos
            )
            for output in (*OUTPUTS, POINTS)
            if set(output.tasks) <= set(tasks)
        }
        self._info = node.create_lifecycle_publisher(CameraInfo, f"{below}camera_info", qos)
        self._labels = None
        if "semantic" in tasks:
            self._labels = node.create_lifecycle_publisher(label_type(), f"{below}semantic/label_info", _LATCHED)

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
    def rivals(self) -> int:
        """How many others publish what this does: nodes of the same name, or dead ones not yet forgotten."""
        return self._node.count_publishers(self._info.topic_name) - 1

    @property
    def topic(self) -> str:
        """Full name of the camera info, which stands for all of them."""
        return str(self._info.topic_name)

    @property
    def info_wanted(self) -> bool:
        """Whether somebody subscribes to the camera info."""
        return bool(self._info.get_subscription_count())

    def encode(self, wanted: Sequence[Output], result: FrameResult, header: Any) -> list[tuple[Output, Any]]:
        """Make the messages of one frame, each with the input's own header; without intrinsics no points."""
        messages: list[tuple[Output, Any]] = []
        for output in wanted:
            if output.needs_intrinsics and result.intrinsics is None:
                continue
            if output is POINTS:
                messages.append((output, as_message(header, output.make(result))))
                continue
            message = Image()
            message.header = header
            fill_image(message, output.make(result), output.encoding)
            messages.append((output, message))
        return messages

    def publish(self, messages: Sequence[tuple[Output, Any]]) -> None:
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


def tell_limits(node: LifecycleNode, tasks: Sequence[str]) -> None:
    """Log what of a bundle is not published, or not in the usual form."""
    if "semantic" in tasks and label_type().__name__ != "LabelInfo":
        node.get_logger().info("vision_msgs is not installed: ~/semantic/label_info is a std_msgs/String of JSON")
    silent = [task for task in tasks if task not in {name for output in OUTPUTS for name in output.tasks}]
    if silent:
        node.get_logger().warning(f"no topic for the bundle's other tasks: {', '.join(silent)}")
