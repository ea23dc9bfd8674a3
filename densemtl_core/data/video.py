"""A video file without labels, frame by frame in any order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from densemtl_core.data.folder import given_intrinsics
from densemtl_core.data.image_files import neighbour_label, to_image
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError

__all__ = ["Video"]

_AHEAD = 16
"""Up to so many frames ahead, decoding on is cheaper than seeking."""
_TAIL = 30
"""So many frames may be announced by a container and yet not be there."""

_INHERITED: list[Any] = []
"""Captures that a forked process got from its parent; held, so that they are never closed there."""


class Video(torch.utils.data.Dataset[Sample]):
    """Frames of a video that OpenCV can read.

    Reading in order is cheap; a jump decodes from the key frame before it. A process of a data loader opens the file
    for itself.

    Args:
        root: the file.
        intrinsics: in pixels, if the camera is known: four or nine numbers, or 3x3 (`given_intrinsics`).
        stride: take every so many frames.
        frames: neighbours that come along, -1 and +1 say, counted in strides, as labels ``image-1`` ``(3, H, W)``.

    Raises:
        InputError: the file is missing, is no video, or is shorter than what is asked for.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        intrinsics: Sequence[Any] | None = None,
        stride: int = 1,
        frames: Sequence[int] = (),
    ) -> None:
        self.root, self.stride, self.frames = Path(root), stride, tuple(frames)
        self.K = given_intrinsics(intrinsics)
        self._capture: Any = None
        self._process, self._next = 0, 0
        if stride < 1:
            raise InputError(f"video: stride {stride} is not positive; give at least 1")
        if not self.root.is_file():
            raise InputError(f"video: looked for the file {self.root}, it is not there; check root")
        every = range(0, self._count(), stride)
        self.items = [n for k, n in enumerate(every) if all(0 <= k + o < len(every) for o in self.frames)]
        if not self.items:
            raise InputError(
                f"video: {self.root} has {len(every)} frames at stride {stride}, too few for {self.frames}"
            )

    def _count(self) -> int:
        self._open()
        announced = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        for count in range(announced, max(announced - _TAIL, 0), -1):
            if self._decode(count - 1) is not None:
                return count
        raise InputError(f"video: {self.root} has no readable frames; check that OpenCV plays it")

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(str(self.root))
        self._process, self._next = os.getpid(), 0

    def _decode(self, number: int) -> Any:
        """The frame as OpenCV gives it (BGR), or None."""
        if self._process != os.getpid():
            # The parent's decoder threads do not exist here, and closing its capture would wait for them for ever.
            _INHERITED.append(self._capture)
            self._capture = None
        if self._capture is None:
            self._open()
        if not 0 <= number - self._next <= _AHEAD:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            self._next = number
        while self._next < number and self._capture.grab():
            self._next += 1
        good, frame = self._capture.read() if self._next == number else (False, None)
        self._next += 1
        if not good:
            self._capture = None  # where the decoder stands is unknown now
        return frame if good else None

    def _frame(self, number: int) -> torch.Tensor:
        frame = self._decode(number)
        if frame is None:
            raise InputError(f"{self.root}: frame {number} cannot be decoded; convert the video again")
        return to_image(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_capture": None}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        number = self.items[index]
        numbers = {0: number, **{k: number + k * self.stride for k in self.frames}}
        pictures = {k: self._frame(n) for k, n in sorted(numbers.items(), key=lambda item: item[1])}
        labels = {neighbour_label(k): pictures[k] for k in self.frames}
        return Sample(pictures[0], labels, None if self.K is None else self.K.clone(), f"{self.root}#{number}")
