"""Several cameras in one process: ``camera_bank.py RATE WIDTHxHEIGHT NAME... --ros-args ...``.

Each publishes frames of the street world on NAME/image, at its own moment of the common beat, as cameras that nobody
synchronised do.
"""

from __future__ import annotations

import signal
import sys
import threading
import time

import cv2
import numpy as np
import rclpy
from densemtl_ros.frame_sources import open_source
from densemtl_ros.image_codec import fill_image
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

if __name__ == "__main__":
    own = sys.argv[1 : sys.argv.index("--ros-args")]
    rate, (width, height), names = float(own[0]), map(int, own[1].split("x")), own[2:]
    frames = [
        cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA)
        for _, frame in zip(range(24), open_source("street", width=width, budget=5.0), strict=False)
    ]
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("camera_bank")
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    publishers = [node.create_publisher(Image, f"{name}/image", qos) for name in names]
    began, count = time.monotonic(), 0
    while not stop.wait(max(0.0, began + count / (rate * len(names)) - time.monotonic())):
        message = Image()
        message.header.stamp = node.get_clock().now().to_msg()
        message.header.frame_id = names[count % len(names)]
        fill_image(message, np.ascontiguousarray(frames[count // len(names) % len(frames)]), "rgb8")
        publishers[count % len(names)].publish(message)
        count += 1
    node.destroy_node()
    rclpy.try_shutdown()
