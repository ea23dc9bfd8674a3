"""Random numbers of one scene: a stream that depends on its key alone, never on what was drawn elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

__all__ = ["Draws", "mix64"]

_MASK = (1 << 64) - 1
_T = TypeVar("_T")


def mix64(*values: int) -> int:
    """Hash integers to 64 bits (splitmix64's finaliser, chained), the same on every machine and Python version."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state + (value & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


class Draws:
    """A stream of random numbers named by a key of integers.

    Args:
        *key: what the stream belongs to (seed, split, index, ...); equal keys give equal streams.
    """

    def __init__(self, *key: int) -> None:
        self.generator = torch.Generator().manual_seed(mix64(*key) >> 1)
        self._pool: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        # One call into torch for many numbers: a scene draws thousands, one at a time.
        if not self._pool:
            self._pool = torch.rand(2048, generator=self.generator, dtype=torch.float64).tolist()
        return low + (high - low) * self._pool.pop()

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def pick(self, options: Sequence[_T]) -> _T:
        """One of the options, each as likely as the others."""
        return options[int(self.uniform() * len(options))]

    def jitter(self, colour: Sequence[float], amount: float) -> tuple[float, float, float]:
        """A colour near ``colour``: brightness and each channel vary by about ``amount``, kept within [0.01, 0.97]."""
        draw = self.uniform
        scale = 1.0 + draw(-amount, amount)
        red = colour[0] * scale * (1.0 + 0.4 * draw(-amount, amount))
        green = colour[1] * scale * (1.0 + 0.4 * draw(-amount, amount))
        blue = colour[2] * scale * (1.0 + 0.4 * draw(-amount, amount))
        return min(max(red, 0.01), 0.97), min(max(green, 0.01), 0.97), min(max(blue, 0.01), 0.97)

    def grey(self, low: float, high: float, tint: float = 0.06) -> tuple[float, float, float]:
        """A nearly grey colour of brightness low..high, a little warm or cold."""
        level, warm = self.uniform(low, high), self.uniform(-tint, tint)
        return level * (1 + warm), level, level * (1 - warm)
