"""Metric depth errors."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.metrics.base import Metric

__all__ = ["DepthError"]


class DepthError(Metric):
    """RMSE, AbsRel and the threshold accuracies of Eigen et al. (2014), in metres, without rescaling.

    Args:
        min_depth: labels nearer than this many metres do not count.
        max_depth: labels farther than this do not count; predictions are clamped into the range.

    RMSE is the square root of the mean, over images, of each image's mean squared error, as the DenseMTL paper
    reports it; the other figures are means over pixels.
    """

    primary = "RMSE"
    higher_is_better = False

    def __init__(self, min_depth: float = 1e-3, max_depth: float = 80.0) -> None:
        self.min_depth, self.max_depth = min_depth, max_depth
        self._image_mse: list[float] = []
        self._pixels = 0
        self._sums = torch.zeros(4, dtype=torch.float64)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add depths in metres, ``(B, 1, H, W)`` both; NaN labels do not count, predictions of +inf are clamped."""
        for p, t in zip(prediction, label, strict=True):
            known = (t >= self.min_depth) & (t <= self.max_depth)  # false for NaN and inf
            if not known.any():
                continue
            p, t = p[known].double().clamp(self.min_depth, self.max_depth), t[known].double()
            ratio = torch.maximum(p / t, t / p)
            self._image_mse.append(float((p - t).square().mean()))
            self._pixels += t.numel()
            self._sums += torch.stack([((p - t).abs() / t).sum(), *((ratio < 1.25**k).sum() for k in (1, 2, 3))]).cpu()

    def compute(self) -> dict[str, float]:
        """``RMSE`` in metres; ``AbsRel``, ``delta1``, ``delta2``, ``delta3`` as fractions."""
        if not self._image_mse:
            return dict.fromkeys(("RMSE", "AbsRel", "delta1", "delta2", "delta3"), float("nan"))
        means = (self._sums / self._pixels).tolist()
        rmse = (sum(self._image_mse) / len(self._image_mse)) ** 0.5
        return {"RMSE": rmse, "AbsRel": means[0], "delta1": means[1], "delta2": means[2], "delta3": means[3]}
