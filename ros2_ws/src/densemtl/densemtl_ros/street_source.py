"""The procedural street world as a source of replayed frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from densemtl_core.errors import InputError
from densemtl_ros.frame_sources import DEFAULT_RATE, Frame

__all__ = ["StreetSource"]


@dataclass
class StreetSource:
    """A drive through the procedural street world, made once and then played forwards and backwards.

    Attributes:
        world: has ``sequence(index, frames, fps)``, an iterable of samples with ``image`` ``(3, H, W)`` in [0, 1] and
            ``intrinsics`` ``(3, 3)`` or None.
        scene: which street of the world.
        frames: how many frames to make.
        budget: seconds after which making stops early; at least two frames are made.
        rate: frames a second.
    """

    world: Any
    scene: int = 0
    frames: int = 48
    budget: float = 20.0
    rate: float = DEFAULT_RATE
    looks_ahead: bool = True
    skipped: list[str] = field(default_factory=list)
    made: list[Frame] = field(default_factory=list)
    _cancelled: bool = False

    @property
    def title(self) -> str:
        """What is played, and once it is made, how much of it."""
        made = f" ({len(self.made)} frames, forwards and backwards)" if self.made else ""
        return f"procedural street world{made}"

    def prepare(self) -> None:
        """Make the frames; does nothing the second time."""
        if self.made:
            return
        start = time.monotonic()
        for sample in self.world.sequence(self.scene, self.frames, self.rate):
            pixels = np.asarray(sample.image.cpu(), np.float32).transpose(1, 2, 0)
            rgb = (np.clip(pixels, 0.0, 1.0) * 255.0).round().astype(np.uint8)
            known = sample.intrinsics is not None
            intrinsics = np.asarray(sample.intrinsics.cpu(), np.float64) if known else None
            self.made.append(Frame(np.ascontiguousarray(rgb), intrinsics, len(self.made) / self.rate))
            if self._cancelled:
                return
            if len(self.made) >= 2 and time.monotonic() - start > self.budget:
                break
        if not self.made:
            raise InputError(f"street: the world gave no frame of {self.frames} asked for; ask for at least one")

    def cancel(self) -> None:
        """Make no more frames after the one in work; may be called from another thread."""
        self._cancelled = True

    def __iter__(self) -> Iterator[Frame]:
        self.prepare()
        # Back the same way: an endless drive without a jump, from few frames.
        order = [*range(len(self.made)), *range(len(self.made) - 2, 0, -1)]
        for shown, index in enumerate(order):
            yield self.made[index]._replace(seconds=shown / self.rate)
