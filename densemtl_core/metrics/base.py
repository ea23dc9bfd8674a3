"""What a metric is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

__all__ = ["Metric"]


class Metric(ABC):
    """An accumulator over a data set.

    Attributes:
        primary: the key of `compute` that judges a model.
        higher_is_better: the direction of the primary figure.
    """

    primary: str
    higher_is_better: bool

    @abstractmethod
    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add a batch; both tensors have a leading batch dimension. Unknown label pixels do not count."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The scores over all that was added; NaN where nothing was."""
