"""Frames from which the ranges of an INT8 network are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from densemtl_core.data.street import StreetWorld
from densemtl_core.errors import InputError
from deploy.footage import Footage

__all__ = ["COUNT", "CalibrationSet", "calibration_set"]

COUNT = 64
SEED = 101
"""Of the street world: neither training nor validation uses it."""


@dataclass(frozen=True)
class CalibrationSet:
    """What an INT8 network was calibrated with.

    Attributes:
        frames: ``(H, W, 3)`` uint8 each, at the working size.
        source: where they come from, for people.
        synthetic: whether they are of the procedural street world.
    """

    frames: tuple[NDArray[np.uint8], ...]
    source: str
    synthetic: bool

    @property
    def sha256(self) -> str:
        """Of all pixels in order."""
        digest = hashlib.sha256()
        for frame in self.frames:
            digest.update(f"{frame.shape}".encode())
            digest.update(frame.tobytes())
        return digest.hexdigest()


def calibration_set(
    source: str | None,
    input_size: tuple[int, int],
    *,
    resize: str = "aspect",
    count: int = COUNT,
    done: Callable[[int], None] = lambda count: None,
) -> CalibrationSet:
    """Gather frames, spread evenly over what there is.

    Args:
        source: a folder of images, a video or a rosbag2; None: the procedural street world, in all its styles.
        input_size: ``(H, W)`` of the network.
        resize: the manifest's rule.
        count: at most so many.
        done: is told how many are there, after each.

    Raises:
        InputError: nothing there, or nothing readable in it.
    """
    if count < 1:
        raise InputError(f"{count} calibration frames are none; give at least 1")
    found: list[NDArray[np.uint8]] = []
    if source is None:
        world = StreetWorld(seed=SEED, split="train", size=input_size, style="mixed", length=count)
        for number in range(count):
            found.append((world[number].image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
            done(len(found))
        return CalibrationSet(tuple(found), f"{count} frames of the procedural street world", True)
    footage = Footage(source, input_size, resize)
    chosen = np.unique(np.linspace(0, len(footage) - 1, min(count, len(footage))).round().astype(int))
    for number in chosen:
        found.append(footage.frame(int(number)))
        done(len(found))
    return CalibrationSet(tuple(found), f"{len(found)} of {len(footage)} frames of {footage.name}", False)
