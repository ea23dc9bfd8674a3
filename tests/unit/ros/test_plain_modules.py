"""What needs no ROS must not import it: it is tested, and useful, where ROS is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLAIN = (
    "bag",
    "bag_topic",
    "bag_writer",
    "camera_geometry",
    "compressed_codec",
    "cv_bridge_codec",
    "error_text",
    "frame_slot",
    "frame_statistics",
    "image_codec",
    "mcap_end",
    "outputs",
    "pacing",
    "parameter_tables",
    "parameters",
    "point_cloud",
    "replay_parameters",
    "stamp_check",
    "viewer_access",
    "viewer_health",
    "viewer_legend",
    "viewer_parameters",
    "viewer_pictures",
    "viewer_server",
    "viewer_streams",
    "worker",
)
CHECK = """
import importlib, sys
importlib.import_module("densemtl_ros.{name}")
heavy = ("rclpy", "sensor_msgs", "std_msgs", "diagnostic_msgs", "torch", "cv_bridge")
print([name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("name", PLAIN)
def test_plain_module_imports_neither_ros_nor_torch(name):
    out = subprocess.run([sys.executable, "-c", CHECK.format(name=name)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
