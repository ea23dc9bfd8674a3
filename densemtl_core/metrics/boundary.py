"""The edge score that the paper publishes."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.metrics.base import Metric, State

__all__ = ["BoundaryF1"]


class BoundaryF1(Metric):
    """F1 of edge pixels and of background pixels, averaged: the DenseMTL paper's edge score.

    It has no tolerance: an edge that is off by a pixel is a miss and a false alarm. It is not the odsF of the
    boundary-detection benchmarks.

    Args:
        threshold: a pixel is an edge when its probability exceeds this.
    """

    primary = "macroF1"
    higher_is_better = True

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self._counts = torch.zeros(2, 2, dtype=torch.int64)  # [label, prediction]

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add edge probabilities and labels in {0, 1}, ``(B, 1, H, W)`` both; NaN labels do not count."""
        known = ~label.isnan()
        pairs = 2 * (label[known] > 0.5).long() + (prediction[known] > self.threshold).long()
        self._counts += torch.bincount(pairs.cpu(), minlength=4).view(2, 2)

    def state(self) -> dict[str, Tensor]:
        """``pixels`` ``(2, 2)`` counts, row by label, column by prediction."""
        return {"pixels": self._counts.clone()}

    def load(self, state: State) -> None:
        """Take the counts of another."""
        self._counts = state["pixels"].cpu().clone()

    def compute(self) -> dict[str, float]:
        """``macroF1``, and ``edge_F1`` of the edge pixels alone, in [0, 1]; NaN where a kind of pixel never is."""
        hits, labels, predictions = self._counts.diag(), self._counts.sum(1), self._counts.sum(0)
        f1 = 2 * hits.double() / (labels + predictions).double()
        return {"macroF1": float(f1.mean()), "edge_F1": float(f1[1])}
