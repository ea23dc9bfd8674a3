"""The demo's modules that need neither ROS nor PyTorch import neither."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = """
import importlib, sys
importlib.import_module("densemtl_ros.{name}")
print([name for name in ("rclpy", "sensor_msgs", "diagnostic_msgs", "torch") if name in sys.modules])
"""


@pytest.mark.parametrize(
    "name",
    [
        "child_process",
        "demo",
        "frame_sources",
        "read_ahead",
        "stream_check",
        "stream_pictures",
        "stream_report",
        "transport",
    ],
)
def test_plain(name):
    out = subprocess.run([sys.executable, "-c", CHECK.format(name=name)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_demo_without_ros_is_one_line(tmp_path):
    """Where the ROS extra is not installed, the demo says which one to install."""
    code = (
        "import sys\n"
        "sys.modules['rclpy'] = None\n"
        "from densemtl_core.errors import InputError\n"
        "from densemtl_ros import demo\n"
        "demo.Bundle = lambda path: type('B', (), {'verify': lambda self: None, 'path': path, 'manifest':\n"
        "    type('M', (), {'tasks': dict.fromkeys(('semantic', 'depth', 'normals', 'edges'))})})()\n"
        "demo.open_source = lambda *a, **k: None\n"
        f"sys.exit(demo.main(['--out', {str(tmp_path)!r}, '--bundle', 'x']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ROS 2 is not installed here" in done.stderr
