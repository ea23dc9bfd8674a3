"""Frames of one's own camera, at the size at which the network sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from densemtl_core.data.frames import open_frames
from densemtl_core.runtime.backends.base import fit_pixels, working_size

__all__ = ["Footage"]


class Footage:
    """A folder of images, a video or a rosbag2, by the number of the frame.

    Args:
        source: its path.
        input_size: ``(H, W)`` of the network.
        resize: the manifest's rule.

    Raises:
        InputError: nothing there, or nothing readable in it.
    """

    def __init__(self, source: str, input_size: tuple[int, int], resize: str = "aspect") -> None:
        self.name = Path(source).name
        self._frames, self._input_size, self._resize = open_frames([source]), input_size, resize

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, number: int) -> NDArray[np.uint8]:
        """``(h, w, 3)`` uint8 at the working size.

        Raises:
            InputError: it cannot be read.
        """
        rgb, _ = self._frames[number]
        return fit_pixels(rgb, working_size((rgb.shape[0], rgb.shape[1]), self._input_size, self._resize))
