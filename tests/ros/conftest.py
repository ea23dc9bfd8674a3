"""Real rclpy over real DDS, in a domain of this run's own, on this machine only."""

from __future__ import annotations

import os
import tempfile

# Read when rclpy is imported for the first time: two runs in one domain would hear each other.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="ros_log_")

import pytest

pytest.importorskip("rclpy", exc_type=ImportError)

from collections.abc import Callable, Iterator
from typing import Any

from perception_rig import PerceptionRig


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.ros)


@pytest.fixture
def start_rig() -> Iterator[Callable[..., PerceptionRig]]:
    """Make a `PerceptionRig`; it is closed after the test."""
    rigs: list[PerceptionRig] = []

    def start(*args: Any, **options: Any) -> PerceptionRig:
        rigs.append(PerceptionRig(*args, **options))
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.close()
