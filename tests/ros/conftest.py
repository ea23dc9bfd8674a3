"""Real rclpy over real DDS, in a domain of this run's own, on this machine only."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="ros_log_")

from itertools import count

import pytest

pytest.importorskip("rclpy", exc_type=ImportError)

from collections.abc import Callable, Iterator
from typing import Any

from camera_rig import CameraRig
from perception_rig import PerceptionRig


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.ros)


_DOMAINS = count(os.getpid())


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a domain of its own, read by every `rclpy.init` and inherited by processes.

    Two runs in one domain hear each other, and so do two tests: for some seconds the nodes of the last one, killed
    ones above all, are still discovered under the names that the next one uses, and a service whose two halves are
    not counted alike never becomes ready.
    """
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + next(_DOMAINS) % 100))


@pytest.fixture
def start_rig() -> Iterator[Callable[..., PerceptionRig]]:
    """Make a `PerceptionRig`; it is closed after the test."""
    yield from _closing(PerceptionRig)


@pytest.fixture
def start_camera() -> Iterator[Callable[..., CameraRig]]:
    """Make a `CameraRig` for a node in another process; it is closed after the test."""
    yield from _closing(CameraRig)


def _closing(kind: Callable[..., CameraRig]) -> Iterator[Callable[..., CameraRig]]:
    rigs: list[CameraRig] = []

    def start(*args: Any, **options: Any) -> CameraRig:
        rigs.append(kind(*args, **options))
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.close()


@pytest.fixture
def start_node() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run Python with arguments as a process of its own; it is killed after the test if it still runs."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
        processes.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "PYTHONPATH": path},
                start_new_session=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
