"""A node without a network: for each camera image it publishes four images as large as the perception node's raw ones.

``node_floor.py FILE --ros-args ...`` writes the times of every frame to a file when it ends. Same names, same quality
of service, same bytes: what is left is what the middleware costs, which no node can go below. Every second frame goes
out as bytes that are serialised already, the others as `sensor_msgs/Image`.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from densemtl_ros.image_codec import fill_image
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

TOPICS = {
    "semantic/image": ("mono8", np.uint8, ()),
    "depth/image": ("32FC1", np.float32, ()),
    "normals/image": ("32FC3", np.float32, (3,)),
    "edges/image": ("mono8", np.uint8, ()),
}


NETWORK_SECONDS = 0.08
"""Rest before publishing, taken off again: right after a frame its camera is still busy, and shares our cores."""


class Floor(Node):
    """Answers every image."""

    def __init__(self) -> None:
        super().__init__("perception")
        self.rows: list[dict[str, float]] = []
        self._arrays: dict[str, np.ndarray] = {}
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers_of = {topic: self.create_publisher(Image, f"~/{topic}", qos) for topic in TOPICS}
        self.create_subscription(Image, "image", self._on_image, qos)

    def _on_image(self, image: Image) -> None:
        if not self._arrays:
            random = np.random.default_rng(0)
            for topic, (_, dtype, channels) in TOPICS.items():
                shape = (image.height, image.width, *channels)
                self._arrays[topic] = (random.random(shape) * 200).astype(dtype)
        if not all(publisher.get_subscription_count() for publisher in self._publishers_of.values()):
            return
        stamp = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
        now = lambda: (self.get_clock().now().nanoseconds - stamp) / 1e9  # noqa: E731
        row = {"age_at_input": now(), "fill": 0.0, "publish": 0.0}
        rested = time.perf_counter()
        time.sleep(NETWORK_SECONDS)
        rested = time.perf_counter() - rested
        kind = "serialised" if len(self.rows) % 2 else "messages"
        for topic, (encoding, _, _) in TOPICS.items():
            began = time.perf_counter()
            payload: Any = Image()
            payload.header = image.header
            if kind == "messages":
                fill_image(payload, self._arrays[topic], encoding)
            else:
                payload = serialised(payload, self._arrays[topic], encoding)
            filled = time.perf_counter()
            self._publishers_of[topic].publish(payload)
            row["fill"] += filled - began
            row["publish"] += time.perf_counter() - filled
        row["age_at_publish"] = now() - rested
        row["kind"] = kind  # type: ignore[assignment]
        self.rows.append(row)


def serialised(message: Image, array: np.ndarray, encoding: str) -> bytes:
    """The bytes of a message: the middleware's own for everything but the pixels, which come last."""
    message.height, message.width = array.shape[:2]
    message.encoding, message.step = encoding, array.nbytes // array.shape[0]
    head = serialize_message(message)
    return b"".join((head[:-4], struct.pack("=I", array.nbytes), array.data.cast("B")))


if __name__ == "__main__":
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node, executor = Floor(), SingleThreadedExecutor()
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.2)
    Path(sys.argv[1]).write_text(json.dumps(node.rows))
    executor.shutdown(timeout_sec=2.0)
    node.destroy_node()
    rclpy.try_shutdown()
