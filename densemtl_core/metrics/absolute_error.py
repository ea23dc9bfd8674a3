"""Mean absolute error of any quantity."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from densemtl_core.metrics.base import Metric, State

__all__ = ["MeanAbsoluteError"]


class MeanAbsoluteError(Metric):
    """Mean of the absolute differences over all known values, in the quantity's own unit.

    A prediction that is no number where the label is known makes the error no number: nothing is gained by refusing.
    """

    primary = "MAE"
    higher_is_better = False

    def __init__(self) -> None:
        self._sums: list[float] = []  # one an image: exact to add up in any order
        self._values = torch.zeros(1, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add values, ``(B, C, H, W)`` both; NaN labels do not count."""
        for p, t in zip(prediction, label, strict=True):
            known = ~t.isnan()
            self._sums.append(float((p[known].double() - t[known].double()).abs().sum()))
            self._values += int(known.sum())

    def state(self) -> dict[str, Tensor]:
        """``sums`` ``(N,)`` of absolute differences, one an image; ``values`` ``(1,)`` how many were known."""
        return {"sums": torch.tensor(self._sums, dtype=torch.float64), "values": self._values.clone()}

    def load(self, state: State) -> None:
        """Take the images of another."""
        self._sums, self._values = state["sums"].tolist(), state["values"].cpu().clone()

    def compute(self) -> dict[str, float]:
        """``MAE``."""
        values = int(self._values)
        return {"MAE": math.fsum(self._sums) / values if values else math.nan}
