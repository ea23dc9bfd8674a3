"""Mean intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.metrics.base import Metric, State

__all__ = ["MeanIoU"]


class MeanIoU(Metric):
    """Intersection over union a class, averaged over the classes that occur.

    One confusion matrix is kept over the whole set. A class that neither occurs in the labels nor is predicted has
    no IoU and does not enter the mean.

    Args:
        num_classes: number of classes; label ids outside ``[0, num_classes)`` (255, say) do not count.
    """

    primary = "mIoU"
    higher_is_better = True

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        # Rows are labels, columns predictions; the last column holds predictions that are no class at all (255 below
        # a confidence threshold): a miss for the label's class and a false alarm for none.
        self.confusion = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add class ids, ``(B, H, W)`` both."""
        label = label.flatten().long().cpu()
        prediction = prediction.flatten().long().cpu()
        prediction = torch.where(prediction < self.num_classes, prediction, self.num_classes)
        known = (label >= 0) & (label < self.num_classes)
        pairs = label[known] * (self.num_classes + 1) + prediction[known]
        self.confusion += torch.bincount(pairs, minlength=self.confusion.numel()).view_as(self.confusion)

    def state(self) -> dict[str, Tensor]:
        """``confusion`` ``(num_classes, num_classes + 1)`` counts, row by label, column by prediction."""
        return {"confusion": self.confusion.clone()}

    def load(self, state: State) -> None:
        """Take the counts of another."""
        self.confusion = state["confusion"].cpu().clone()

    def per_class(self) -> Tensor:
        """IoU a class, ``(num_classes,)`` float64 in [0, 1]; NaN for a class that never occurred."""
        hit = self.confusion.diag()
        union = self.confusion.sum(1) + self.confusion.sum(0)[:-1] - hit
        return hit.double() / union.double()  # 0 / 0 is NaN: the class did not occur

    def compute(self) -> dict[str, float]:
        """``mIoU`` and ``pixel_accuracy``, in [0, 1]."""
        accuracy = self.confusion.diag().sum().double() / self.confusion.sum().double()
        return {"mIoU": float(self.per_class().nanmean()), "pixel_accuracy": float(accuracy)}
