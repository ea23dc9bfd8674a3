"""Frames of one's own camera that an INT8 network was not calibrated on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deploy.footage import Footage

__all__ = ["HELD_OUT", "held_out_frames", "left_to_calibrate"]

HELD_OUT = 16
"""Frames kept from the calibration, at most, to compare on."""

LEAST_SHARE = 5
"""One frame of so many is held out where there are few."""

SEARCH = 8
"""Frames that are tried in each part of a source before nothing of it is held out."""


def left_to_calibrate(there: int, count: int) -> int:
    """How many frames to calibrate with, so that some are left to compare on.

    Args:
        there: frames that a source has.
        count: that are wanted.
    """
    return max(1, min(count, there - min(HELD_OUT, there // LEAST_SHARE)))


def held_out_frames(
    source: str, used: Sequence[NDArray[np.uint8]], input_size: tuple[int, int], *, resize: str = "aspect"
) -> list[NDArray[np.uint8]]:
    """Frames, spread over a source, that are none of those already used.

    A used frame is known by its pixels, so a picture that is there twice is held out neither time.

    Args:
        source: a folder, a video or a rosbag2.
        used: ``(H, W, 3)`` uint8 each, at the working size.
        input_size: ``(H, W)`` of the network.
        resize: the manifest's rule.

    Returns:
        `HELD_OUT` at most, ``(H, W, 3)`` uint8 each, at the working size; none where all were used.
    """
    footage, seen = Footage(source, input_size, resize), {_pixels(frame) for frame in used}
    found = []
    for part in np.array_split(np.arange(len(footage)), min(HELD_OUT, len(footage))):
        outwards = part[np.argsort(np.abs(part - part[len(part) // 2]), kind="stable")]
        for number in outwards[:SEARCH]:
            frame = footage.frame(int(number))
            if _pixels(frame) not in seen:
                seen.add(_pixels(frame))
                found.append(frame)
                break
    return found


def _pixels(frame: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(f"{frame.shape}".encode() + frame.tobytes()).digest()
