"""Tasks that regress a bounded quantity in an encoding of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from densemtl_core.metrics import MeanAbsoluteError, Metric
from densemtl_core.tasks.base import Task, masked_mean

__all__ = ["RegressionTask"]


@dataclass(frozen=True)
class RegressionTask(Task):
    """A quantity whose encoding the network regresses, judged by its mean absolute error.

    A subclass says what is encoded (`encode`) and how it is read back (`value`), and, where NaN is not all that is
    unknown, what is known (`known`).
    """

    @property
    def channels(self) -> int:
        """One value."""
        return 1

    @abstractmethod
    def encode(self, label: Tensor) -> Tensor:
        """A label as the network regresses it: finite, of order one.

        Args:
            label: ``(B, channels, H, W)`` without NaN; what is beyond the quantity's range, infinities too, becomes
                the end of the range.
        """

    @abstractmethod
    def value(self, raw: Tensor) -> Tensor:
        """Inverse of `encode`, within the quantity's range whatever the network says."""

    def known(self, label: Tensor) -> Tensor:
        """``(B, 1, H, W)`` bool of a label ``(B, channels, H, W)``."""
        return ~label.isnan().any(dim=1, keepdim=True)

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """The quantity itself."""
        value = self.value(raw)
        return {self.name: value[:, 0] if self.channels == 1 else value}

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean absolute difference of the encodings over known pixels."""
        raw = self.resize(raw, label.shape[-2:])
        known = self.known(label).expand_as(label)
        target = self.encode(torch.where(known, label, torch.ones_like(label)))  # keeps NaN out of the gradient
        return masked_mean((raw - target).abs(), known, weight)

    def metric(self) -> Metric:
        """Mean absolute error."""
        return MeanAbsoluteError()

    def score(self, metric: Metric, decoded: Mapping[str, Tensor], label: Tensor) -> None:
        """Add one batch; what is not `known` does not count.

        As in the loss, a label beyond the quantity's range is the end of the range: no prediction can come nearer.
        """
        known = self.known(label).expand_as(label)
        target = self.value(self.encode(torch.where(known, label, torch.ones_like(label))))
        super().score(metric, decoded, target.masked_fill(~known, torch.nan))
