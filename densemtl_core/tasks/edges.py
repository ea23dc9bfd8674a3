"""Edges: where objects and surfaces end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from densemtl_core.metrics import BoundaryF1, Metric
from densemtl_core.tasks.base import Output, Task

__all__ = ["EdgesTask"]

UNKNOWN = 255


@dataclass(frozen=True)
class EdgesTask(Task):
    """Edge probability, as a two-class problem whose rare class counts more.

    Attributes:
        edge_weight: weight of an edge pixel in the loss; a background pixel weighs ``1 - edge_weight``.
    """

    kind: ClassVar[str] = "edges"
    picture: ClassVar[str] = "probability"

    name: str = "edges"
    edge_weight: float = 0.95

    @property
    def channels(self) -> int:
        """Logits of background and edge."""
        return 2

    def outputs(self) -> tuple[Output, ...]:
        """Probability of an edge."""
        return (Output(self.name, 1, "float32", "probability", "linear"),)

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """Softmax of two logits, which is the sigmoid of their difference."""
        return {self.name: torch.sigmoid(raw[:, 1] - raw[:, 0])}

    def loss(self, raw: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy, averaged with the class weights."""
        raw = self.resize(raw, label.shape[-2:])
        known = ~label[:, 0].isnan()
        target = torch.where(known, label[:, 0].nan_to_num().round().long(), UNKNOWN)
        weights = raw.new_tensor([1.0 - self.edge_weight, self.edge_weight])
        nll = torch.nn.functional.cross_entropy(raw, target, weight=weights, ignore_index=UNKNOWN, reduction="sum")
        total = (weights[target.clamp(max=1)] * known).sum()
        return nll / total.clamp(min=1e-12)

    def metric(self) -> Metric:
        """Macro F1 without tolerance, as published."""
        return BoundaryF1()
