"""The environment in which camera images reach the other process whole and quickly.

Fast DDS as it comes loses most best-effort camera frames (``config/fastdds.xml`` says why), and glibc gives every big
message back to the kernel and takes it again. Both are settled by environment variables, which a process must have
before it starts: whoever starts ours (the launch file, the demo) adds `transport_environment` to theirs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from densemtl_ros import shared_memory

__all__ = ["config_file", "ros_distribution", "transport_environment"]

OLD_PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
NEW_PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
OLD_NAMED_DISTRIBUTIONS = frozenset({"foxy", "galactic", "humble", "iron", "jazzy"})
"""Distributions whose Fast DDS (2.x) ignores the new name of the variable; Fast DDS 3 warns about the old one."""

SHARED_MEMORY_NEEDED = 4 * 64 * 2**20
"""Bytes free in /dev/shm for four participants' segments: node, replay or camera, viewer, command line."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(128 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20)}
"""Keep freed image buffers in the process: without page faults an image takes half as long on its way."""


def config_file(name: str, start: Path | None = None) -> Path:
    """Find a file of the package's ``config`` folder, in the source tree or installed.

    Args:
        name: file name, ``perception.yaml`` say.
        start: the module file to look from; this one by default.

    Raises:
        FileNotFoundError: neither beside the package nor in ``share/densemtl/config`` of its prefix.
    """
    here = (start or Path(__file__)).resolve()
    places = [here.parents[1] / "config", *(p / "share" / "densemtl" / "config" for p in here.parents)]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(f"config file {name} is in none of {places[0]} and share/densemtl/config above {here}")


def ros_distribution(environ: Mapping[str, str] | None = None) -> str:
    """Name the ROS distribution: ``ROS_DISTRO``, else what the installed rclpy belongs to, else an empty string."""
    environ = os.environ if environ is None else environ
    if environ.get("ROS_DISTRO"):
        return environ["ROS_DISTRO"].lower()
    try:
        major = int(metadata.version("rclpy").split(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    return {3: "humble", 4: "iron", 7: "jazzy", 9: "kilted"}.get(major, "humble" if major < 3 else "")


def transport_environment(
    environ: Mapping[str, str] | None = None, *, shared_memory_free: int | None = None
) -> dict[str, str]:
    """Say which variables to add for a process that sends or receives images.

    What the user has set stays as it is: another middleware, a profile of their own, other built-in transports, other
    malloc thresholds.

    Args:
        environ: the present environment; ``os.environ`` by default.
        shared_memory_free: bytes free in /dev/shm; by default looked up, after what dead processes left there was
            removed. Where it is too small for the segments (a container with Docker's default 64 MB) the profile is
            left out: reliable images still arrive, slower.

    Returns:
        Only the variables to add; empty when all is set already.
    """
    environ = os.environ if environ is None else environ
    free = _shared_memory_free() if shared_memory_free is None else shared_memory_free
    added = {name: value for name, value in MALLOC.items() if name not in environ}
    settled = any(environ.get(name) for name in (OLD_PROFILE_VARIABLE, NEW_PROFILE_VARIABLE))
    settled = settled or bool(environ.get("FASTDDS_BUILTIN_TRANSPORTS"))
    fast_dds = "fastrtps" in environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if fast_dds and not settled and free >= SHARED_MEMORY_NEEDED:
        old = ros_distribution(environ) in OLD_NAMED_DISTRIBUTIONS
        added[OLD_PROFILE_VARIABLE if old else NEW_PROFILE_VARIABLE] = str(config_file("fastdds.xml"))
    return added


def _shared_memory_free() -> int:
    # What killed processes left would fill it up in the end, and then the profile would be left out for good.
    shared_memory.remove_abandoned()
    return shared_memory.free_bytes()
