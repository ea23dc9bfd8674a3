"""What Fast DDS leaves in /dev/shm when a process is killed, and how much room is there.

A process that ends by itself removes its shared-memory segment; one that is killed, or crashes, leaves it: up to 64 MiB
of memory each with our profile, until the computer is restarted. Beside each segment lies a file that its owner keeps
locked for as long as it lives, so that a segment without an owner can be told.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

__all__ = ["FOLDER", "free_bytes", "remove_abandoned"]

FOLDER = Path("/dev/shm")  # noqa: S108 - the place where Fast DDS keeps its segments
YOUNG_SECONDS = 60.0
"""Younger ones are let alone: between making the file and locking it there is a moment."""
_SEGMENT = re.compile(r"fastdds_[0-9a-f]{16}")
_LOCK = "_el"


def remove_abandoned(folder: Path = FOLDER, older_than: float = YOUNG_SECONDS) -> int:
    """Remove the segments of this user's dead processes.

    Args:
        folder: where they are; nothing happens where there is none.
        older_than: seconds since the segment was made.

    Returns:
        Bytes of memory that became free.
    """
    freed = 0
    for lock in folder.glob(f"fastdds_*{_LOCK}"):
        segment = lock.with_name(lock.name.removesuffix(_LOCK))
        if not _SEGMENT.fullmatch(segment.name):
            continue
        try:
            if time.time() - lock.lstat().st_mtime >= older_than:
                freed += _remove_unless_locked(lock, segment)
        except OSError:
            continue  # its owner lives, it is another user's, or somebody else was quicker
    return freed


def free_bytes(folder: Path = FOLDER) -> int:
    """Bytes that are free; 0 where there is no such folder."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return 0
    return state.f_bavail * state.f_frsize


def _remove_unless_locked(lock: Path, segment: Path) -> int:
    # Everybody may write to the folder: neither a link is followed nor a pipe waited for.
    descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = segment.lstat().st_blocks * 512
        segment.unlink()
        lock.unlink()
    finally:
        os.close(descriptor)
    return size
