"""Metric depth errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from densemtl_core.metrics.base import Metric, State

__all__ = ["DepthError"]

NAMES = ("RMSE", "AbsRel", "delta1", "delta2", "delta3")


class DepthError(Metric):
    """RMSE, AbsRel and the threshold accuracies of Eigen et al. (2014), in metres.

    Args:
        min_depth: labels nearer than this many metres do not count.
        max_depth: labels farther than this do not count; predictions are clamped into the range.
        median_scaling: first multiply each image's prediction by the ratio of the medians of label and prediction over
            the pixels that count: for depth whose scale cannot be known (Zhou et al., 2017). The figures then carry
            ``_median_scaled`` in their names: they do not compare with metric ones.

    RMSE is the square root of the mean, over images, of each image's mean squared error, as the DenseMTL paper
    reports it; the other figures are means over pixels.
    """

    primary = NAMES[0]
    higher_is_better = False

    def __init__(self, min_depth: float = 1e-3, max_depth: float = 80.0, median_scaling: bool = False) -> None:
        self.min_depth, self.max_depth, self.median_scaling = min_depth, max_depth, median_scaling
        self._names = [f"{name}_median_scaled" if median_scaling else name for name in NAMES]
        self.primary = self._names[0]
        # One an image, zero where nothing of it counts: exact to add up in any order.
        self._image_mse: list[float] = []
        self._relative_sums: list[float] = []
        self._counts = torch.zeros(5, dtype=torch.int64)  # images, pixels, pixels within each threshold

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add depths in metres, ``(B, 1, H, W)`` both; NaN labels do not count, predictions of +inf are clamped."""
        for p, t in zip(prediction, label, strict=True):
            known = (t >= self.min_depth) & (t <= self.max_depth)  # false for NaN and inf
            if not known.any():
                self._image_mse.append(0.0)
                self._relative_sums.append(0.0)
                continue
            p, t = p[known].double(), t[known].double()
            if self.median_scaling:
                p = p.clamp(1e-9, 1e9)  # an infinite or zero median has no ratio
                p = p * (t.median() / p.median())
            p = p.clamp(self.min_depth, self.max_depth)
            ratio = torch.maximum(p / t, t / p)
            self._image_mse.append(float((p - t).square().mean()))
            self._relative_sums.append(float(((p - t).abs() / t).sum()))
            within = [int((ratio < 1.25**k).sum()) for k in (1, 2, 3)]
            self._counts += torch.tensor([1, t.numel(), *within])

    def state(self) -> dict[str, Tensor]:
        """``image_mse`` m^2 and ``relative_sums``, ``(N,)`` one an image; ``counts`` ``(5,)``.

        The counts are those of images with a known pixel, of known pixels, and of those within each threshold.
        """
        rows = {"image_mse": self._image_mse, "relative_sums": self._relative_sums}
        return {
            **{name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()},
            "counts": self._counts.clone(),
        }

    def load(self, state: State) -> None:
        """Take the images of another with the same arguments."""
        self._image_mse, self._relative_sums = state["image_mse"].tolist(), state["relative_sums"].tolist()
        self._counts = state["counts"].cpu().clone()

    def compute(self) -> dict[str, float]:
        """``RMSE`` in metres; ``AbsRel``, ``delta1``, ``delta2``, ``delta3`` as fractions (names: see the class)."""
        images, pixels, *within = self._counts.tolist()
        if not images:
            return dict.fromkeys(self._names, math.nan)
        rmse = math.sqrt(math.fsum(self._image_mse) / images)
        shares = [s / pixels for s in (math.fsum(self._relative_sums), *within)]
        return dict(zip(self._names, [rmse, *shares], strict=True))
