"""Edges: where objects and surfaces end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from densemtl_core.metrics import BoundaryDetection, BoundaryF1, BoundaryScores, Metric
from densemtl_core.tasks.base import Output, Task, self_information

__all__ = ["EdgesTask"]

UNKNOWN = 255


@dataclass(frozen=True)
class EdgesTask(Task):
    """Edge probability, as a two-class problem whose rare class counts more.

    Attributes:
        edge_weight: weight of an edge pixel in the loss; a background pixel weighs ``1 - edge_weight``.
        max_distance: tolerance of odsF, oisF and AP, a share of the image diagonal: 0.0075 on BSDS, 0.011 on NYUDv2.
        min_pixels: the least tolerance. Both the label's line and the detected one may be drawn one pixel beside the
            true boundary, so two pixels apart is agreement at any resolution. It is in force where the diagonal is
            below 267 pixels, with the default share; 0 turns it off.
    """

    kind: ClassVar[str] = "edges"
    picture: ClassVar[str] = "probability"
    classifies: ClassVar[bool] = True

    name: str = "edges"
    edge_weight: float = 0.95
    max_distance: float = 0.0075
    min_pixels: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.edge_weight < 1:
            raise ValueError(f"task {self.name!r}: edge_weight is {self.edge_weight}; it must be in (0, 1)")
        self.metric()  # refuses a wrong tolerance now and not after training

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

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Cross-entropy, averaged with the class weights."""
        raw = self.resize(raw, label.shape[-2:])
        known = ~label[:, 0].isnan()
        target = torch.where(known, label[:, 0].nan_to_num().round().long(), UNKNOWN)
        weights = raw.new_tensor([1.0 - self.edge_weight, self.edge_weight])
        how = "sum" if weight is None else "none"
        nll = torch.nn.functional.cross_entropy(raw, target, weight=weights, ignore_index=UNKNOWN, reduction=how)
        if weight is not None:
            nll = (nll * weight[:, 0]).sum()
        total = (weights[target.clamp(max=1)] * known).sum()
        return nll / total.clamp(min=1e-12)

    def alignment_map(self, raw: Tensor, reference: Tensor) -> Tensor:
        """Self-information of background and edge."""
        return self_information(raw)

    def pseudo_label(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """An edge where that is more likely than not, believed as far as it is likely.

        The loss's class weights make the network call many pixels edges that are none: what it says is
        ``w p / (w p + (1 - w)(1 - p))`` where p is how likely an edge is, and is turned back first. Taken as it is, it
        would confirm itself until everything is an edge.
        """
        said = torch.stack([raw.softmax(dim=1)[:, 1:] for raw in views]).mean(0)
        edge, other = said * (1 - self.edge_weight), (1 - said) * self.edge_weight
        likely = edge / (edge + other)
        return (likely > 0.5).to(said.dtype), torch.maximum(likely, 1 - likely)

    def metric(self) -> Metric:
        """Macro F1 without tolerance, as published, which judges; and odsF, oisF and AP with it."""
        tolerant = BoundaryDetection(max_distance=self.max_distance, min_pixels=self.min_pixels)
        return BoundaryScores(BoundaryF1(), tolerant)
