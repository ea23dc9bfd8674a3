"""Instance centres: where the middle of each person, two-wheeler and vehicle is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from densemtl_core.metrics import CenterDetection, Metric
from densemtl_core.tasks.base import Output, Task

__all__ = ["InstanceCenterTask"]

FEWEST = 10.0
"""Least divisor of the loss: a batch without anything to find must not weigh infinitely."""


@dataclass(frozen=True)
class InstanceCenterTask(Task):
    """A heat map whose peaks are the centres of things, as in Panoptic-DeepLab (Cheng et al., 2020).

    Attributes:
        tolerance: of the metric: a peak within this distance of a centre has found it, a share of the image diagonal.
    """

    kind: ClassVar[str] = "instance_center"
    picture: ClassVar[str] = "probability"

    name: str = "instance_center"
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(
                f"task {self.name!r}: tolerance is {self.tolerance}; it is a share of the diagonal, in (0, 1)"
            )

    @property
    def channels(self) -> int:
        """One height."""
        return 1

    def outputs(self) -> tuple[Output, ...]:
        """1 at a centre, falling to 0 around it."""
        return (Output(self.name, 1, "float32", "height of a centre's Gaussian", "linear"),)

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """In [0, 1]."""
        return {self.name: raw[:, 0].clamp(0, 1)}

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Squared error, summed over known pixels and divided by that of predicting zero everywhere.

        A mean over pixels would hardly notice the few that matter, and change with how many things a street has. So 1
        is worth nothing, and 0 perfect.
        """
        raw = self.resize(raw, label.shape[-2:])
        known = ~label.isnan()
        target = torch.where(known, label, torch.zeros_like(label))
        error = torch.where(known, (raw - target).square(), torch.zeros_like(raw))
        if weight is not None:
            error = error * weight
        return error.sum() / target.square().sum().clamp(min=FEWEST)

    def metric(self) -> Metric:
        """F1 of the peaks."""
        return CenterDetection(tolerance=self.tolerance)
