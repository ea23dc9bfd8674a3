"""Angular error of surface normals."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.metrics.base import Metric

__all__ = ["NormalError"]


class NormalError(Metric):
    """Mean angle between predicted and true normals, over pixels whose normal is known.

    The angle is ``2 atan2(|a - b|, |a + b|)``, which keeps its precision where arccos loses it. (The released code
    of the paper takes the norm along the image height and ignores the mask; this is the intended definition.)
    """

    primary = "mErr"
    higher_is_better = False

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)
        self._pixels = 0

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add vectors ``(B, 3, H, W)``, of any length; pixels whose label or prediction is NaN do not count."""
        known = ~(label.isnan() | prediction.isnan()).any(dim=1)
        a = torch.nn.functional.normalize(prediction.movedim(1, -1)[known].double(), dim=-1)
        b = torch.nn.functional.normalize(label.movedim(1, -1)[known].double(), dim=-1)
        angle = torch.rad2deg(2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1)))
        self._pixels += angle.numel()
        self._sums += torch.stack([angle.sum(), *((angle < t).sum() for t in (11.25, 22.5, 30.0))]).cpu()

    def compute(self) -> dict[str, float]:
        """``mErr`` in degrees; the shares of pixels within 11.25, 22.5 and 30 degrees."""
        means = (self._sums / self._pixels).tolist() if self._pixels else [float("nan")] * 4
        return dict(zip(("mErr", "within_11.25", "within_22.5", "within_30"), means, strict=True))
