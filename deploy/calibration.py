"""Frames from which the ranges of an INT8 network are read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from densemtl_core.data.frames import open_frames
from densemtl_core.data.street import StreetWorld
from densemtl_core.errors import InputError
from densemtl_core.runtime.backends.base import fit_pixels, working_size

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
    source: str | None, input_size: tuple[int, int], *, resize: str = "aspect", count: int = COUNT
) -> CalibrationSet:
    """Gather frames, spread evenly over what there is.

    Args:
        source: a folder of images, a video or a rosbag2; None: the procedural street world, in all its styles.
        input_size: ``(H, W)`` of the network.
        resize: the manifest's rule.
        count: at most so many.

    Raises:
        InputError: nothing there, or nothing readable in it.
    """
    if count < 1:
        raise InputError(f"{count} calibration frames are none; give at least 1")
    if source is None:
        world = StreetWorld(seed=SEED, split="train", size=input_size, style="mixed", length=count)
        images = [(world[k].image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for k in range(count)]
        return CalibrationSet(tuple(images), f"{count} frames of the procedural street world", True)
    frames = open_frames([source])
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    found = []
    for number in chosen:
        rgb, _ = frames[int(number)]
        found.append(fit_pixels(rgb, working_size((rgb.shape[0], rgb.shape[1]), input_size, resize)))
    return CalibrationSet(tuple(found), f"{len(found)} of {len(frames)} frames of {Path(source).name}", False)
