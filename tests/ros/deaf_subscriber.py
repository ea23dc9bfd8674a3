"""A subscriber that takes every frame, says so with the first, and is then stopped by the test."""

from __future__ import annotations

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

if __name__ == "__main__":
    rclpy.init()
    node = rclpy.create_node("deaf")
    count = 0

    def hear(message: Image) -> None:
        """Tell of every tenth frame."""
        global count
        count += 1
        if count % 10 == 1:
            print("heard", count, flush=True)

    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    for topic in ("depth/image", "normals/image"):
        node.create_subscription(Image, f"perception/{topic}", hear, qos)
    rclpy.spin(node)
