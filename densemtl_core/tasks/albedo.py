"""Albedo: the colour of surfaces without the light that falls on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from densemtl_core.tasks.base import Output
from densemtl_core.tasks.regression import RegressionTask

__all__ = ["AlbedoTask"]


@dataclass(frozen=True)
class AlbedoTask(RegressionTask):
    """Diffuse reflectance, linear RGB in [0, 1].

    The network regresses its square root. In linear reflectance an error of 0.05 means nothing on a white wall and is
    half of the asphalt's value; the root comes close to what an eye tells apart, and to how cameras encode colours,
    so that the loss counts dark surfaces, which are most of a street, as it should.

    A label that is zero in all three channels is unknown: no surface is that black, and the sky is stored so.
    """

    kind: ClassVar[str] = "albedo"
    picture: ClassVar[str] = "linear_rgb"

    name: str = "albedo"

    @property
    def channels(self) -> int:
        """Red, green, blue."""
        return 3

    def outputs(self) -> tuple[Output, ...]:
        """Reflectance."""
        return (Output(self.name, 3, "float32", "linear RGB reflectance", "linear"),)

    def known(self, label: Tensor) -> Tensor:
        """Neither NaN nor black."""
        return super().known(label) & (label > 0).any(dim=1, keepdim=True)

    def encode(self, label: Tensor) -> Tensor:
        """Square root."""
        return label.clamp(0, 1).sqrt()

    def value(self, raw: Tensor) -> Tensor:
        """Square, in [0, 1]."""
        return raw.clamp(0, 1).square()
