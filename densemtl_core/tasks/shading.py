"""Shading: how much light falls on each surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from densemtl_core.tasks.base import Output
from densemtl_core.tasks.regression import RegressionTask

__all__ = ["ShadingTask"]

DARKEST, BRIGHTEST = -6.0, 3.0
"""Stops; what is beyond is not told apart, be it no light at all (-inf)."""


@dataclass(frozen=True)
class ShadingTask(RegressionTask):
    """Light on a surface beside that on open, level ground, in stops: ``log2`` of the ratio of the two.

    0 is a road in the sun, -1 half as much light, +1 twice as much (a wall that faces a low sun). Albedo times
    ``2 ** shading`` is, up to one factor an image, what the surface sends back. The exposure of a camera is that
    factor, and an image does not tell it: hence relative to the ground. Equal ratios are equal differences of stops,
    in the loss and in the metric.
    """

    kind: ClassVar[str] = "shading"
    picture: ClassVar[str] = "scalar"

    name: str = "shading"

    def outputs(self) -> tuple[Output, ...]:
        """Stops."""
        return (Output(self.name, 1, "float32", "stops beside open level ground", "linear"),)

    def encode(self, label: Tensor) -> Tensor:
        """Stops, within the range."""
        return label.clamp(DARKEST, BRIGHTEST)

    def value(self, raw: Tensor) -> Tensor:
        """Stops, within the range."""
        return raw.clamp(DARKEST, BRIGHTEST)

    def picture_options(self) -> dict[str, Any]:
        """From deep shadow to a wall in a low sun."""
        return {"low": -4.0, "high": 1.0}
