"""Subscriptions to the images of one camera, there only while somebody looks at it."""

from __future__ import annotations

from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from densemtl_ros.label_info import label_type
from densemtl_ros.viewer_legend import read_labels
from densemtl_ros.viewer_pictures import TOPICS
from densemtl_ros.viewer_streams import CameraStreams

__all__ = ["CameraSubscriptions"]

_KINDS = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class CameraSubscriptions:
    """Hears what one perception node hears and says.

    Args:
        node: the viewer.
        camera: where messages go; its name is that of the perception node, with the camera's after it where the node
            has several.
    """

    def __init__(self, node: Node, camera: CameraStreams) -> None:
        self._node = node
        self._camera = camera
        self._input: Any = None
        self._input_choice: tuple[str, str, ReliabilityPolicy] | None = None
        for stream, topic in TOPICS.items():
            camera.topics[stream] = f"{camera.name}/{topic}"
        # As the node offers: a reliable depth of one never holds the node up, and survives the default transport.
        self._outputs = [
            node.create_subscription(
                Image, camera.topics[stream], partial(camera.put, stream), _newest(ReliabilityPolicy.RELIABLE)
            )
            for stream in TOPICS
        ]
        labels = f"{camera.name}/semantic/label_info"
        self._outputs.append(node.create_subscription(label_type(), labels, self._on_labels, _LATCHED))
        self.follow()

    def follow(self) -> None:
        """Look at the graph: which image the perception node hears, how it is offered, and who publishes what."""
        topic, kind = self._heard_by_perception()
        if topic:
            choice = (topic, kind, self._suitable(topic))
            if choice != self._input_choice:
                if self._input is not None:
                    self._node.destroy_subscription(self._input)
                self._input_choice = choice
                self._camera.topics["camera"] = topic
                put = partial(self._camera.put, "camera")
                self._input = self._node.create_subscription(_KINDS[kind], topic, put, _newest(choice[2]))
        self._camera.publishers = {s: self._node.count_publishers(t) for s, t in self._camera.topics.items()}

    def close(self) -> None:
        """Unsubscribe from everything."""
        for subscription in (*self._outputs, self._input):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def _heard_by_perception(self) -> tuple[str, str]:
        """Topic and type of the camera's image, to which the perception node subscribes; empty while it does not."""
        name = self._camera.name
        # Which of its topics is whose, a node with several cameras says in their diagnostics.
        several, told = name.rpartition("/")[0], self._camera.health.newest(0.0)["values"].get("input_topic")
        # Topic by topic: asked by its name, a node that was started again answers as the dead one for a while.
        found = [
            (topic, kind)
            for topic, kinds in self._node.get_topic_names_and_types()
            for kind in kinds
            if kind in _KINDS
            for listener in self._node.get_subscriptions_info_by_topic(topic)
            if (hearing := f"{listener.node_namespace.rstrip('/')}/{listener.node_name}") == name
            or (hearing == several and topic == told)
        ]
        return min(found, default=("", ""))

    def _suitable(self, topic: str) -> ReliabilityPolicy:
        # As the perception node's `input_reliability: auto`.
        offered = {info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(topic)}
        everyone_reliable = bool(offered) and ReliabilityPolicy.BEST_EFFORT not in offered
        return ReliabilityPolicy.RELIABLE if everyone_reliable else ReliabilityPolicy.BEST_EFFORT

    def _on_labels(self, message: Any) -> None:
        try:
            self._camera.legend.rename(read_labels(message))
        except ValueError as error:
            self._camera.complain("labels", "labels", str(error))


def _newest(reliability: ReliabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=reliability, durability=DurabilityPolicy.VOLATILE
    )
