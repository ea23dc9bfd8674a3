"""A camera driver as a process: publishes at once, without waiting for anybody, until it is killed.

Each frame's frame_id says who sent it and when its first frame went out: ``PID FIRST_STAMP`` (nanoseconds).
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import rclpy
from camera_rig import picture
from densemtl_ros.image_codec import fill_image
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--reliability", choices=("reliable", "best_effort"), default="reliable")
    given = parser.parse_known_args()[0]
    rclpy.init()
    node = rclpy.create_node("camera")
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[given.reliability.upper()])
    publisher = node.create_publisher(Image, "image", qos)
    image = np.minimum(picture(), 240)  # 241 and more are commands
    first = 0
    due = time.monotonic()
    while True:
        message = Image()
        stamp = time.time_ns()
        first = first or stamp
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        message.header.frame_id = f"{os.getpid()} {first}"
        fill_image(message, image, "rgb8")
        publisher.publish(message)
        due += 1.0 / given.rate
        time.sleep(max(0.0, due - time.monotonic()))  # the beat of a camera
