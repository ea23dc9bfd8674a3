"""Images that the middleware loses between two processes are counted and explained."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import rclpy
from camera_rig import picture, read_until
from densemtl_ros.transport import NEW_PROFILE_VARIABLE, OLD_PROFILE_VARIABLE
from rclpy.qos import QoSProfile, ReliabilityPolicy

HERE = Path(__file__).parent
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.mark.skipif(
    rclpy.get_rmw_implementation_identifier() != "rmw_fastrtps_cpp"
    or any(name in os.environ for name in (NEW_PROFILE_VARIABLE, OLD_PROFILE_VARIABLE)),
    reason="only Fast DDS as it comes loses images on one machine",
)
def test_lost_images_are_counted_and_the_log_names_the_remedy(start_node, start_camera):
    rig = start_camera("/perception", camera_qos=BEST_EFFORT)
    process = start_node(str(HERE / "fake_node.py"), "--ros-args", "-p", "autostart:=true")
    read_until(process, "active: subscribed to /image")
    message = rig.message(picture(480, 640))
    rig.tester.create_timer(0.02, lambda: rig.camera.publish(message))
    rig.until(lambda: any(lost(status) >= 10 for status in rig.statuses), "lost images in the diagnostics")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    lines = [line for line in output.splitlines() if "were lost on the way" in line]
    assert len(lines) == 1
    assert "config/fastdds.xml" in lines[0]


def lost(status) -> int:
    return int({pair.key: pair.value for pair in status.values}["lost_in_transport"])
