"""Angular error of surface normals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from densemtl_core.metrics.base import Metric, State

__all__ = ["NormalError"]

LIMITS = (11.25, 22.5, 30.0)
"""Degrees."""

NO_DIRECTION = 90.0
"""Degrees that a prediction without a direction is off."""


class NormalError(Metric):
    """Mean angle between predicted and true normals, over pixels whose normal is known.

    A prediction without a direction there (NaN, infinite or a zero vector) is a miss: it counts as 90 degrees, what a
    random direction gives on average, and lies within no limit. A network cannot gain by refusing pixels.

    The angle is ``2 atan2(|a - b|, |a + b|)``, which keeps its precision where arccos loses it. (The released code
    of the paper takes the norm along the image height and ignores the mask; this is the intended definition.)
    """

    primary = "mErr"
    higher_is_better = False

    def __init__(self) -> None:
        self._angle_sums: list[float] = []  # degrees, one an image: exact to add up in any order
        self._counts = torch.zeros(1 + len(LIMITS), dtype=torch.int64)  # known pixels, and those within each limit

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add vectors ``(B, 3, H, W)``, of any length; pixels whose label is no direction do not count."""
        for p, t in zip(prediction, label, strict=True):
            truth, known = _directions(t)
            found, answered = _directions(p)
            a, b = found[known], truth[known]
            angle = torch.rad2deg(2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1)))
            angle = angle.where(answered[known], NO_DIRECTION)
            self._angle_sums.append(float(angle.sum()))
            self._counts += torch.stack([known.sum(), *((angle < limit).sum() for limit in LIMITS)]).cpu()

    def state(self) -> dict[str, Tensor]:
        """``angle_sums`` ``(N,)`` degrees, one an image; ``pixels`` ``(4,)`` counts: known, and within each limit."""
        return {"angle_sums": torch.tensor(self._angle_sums, dtype=torch.float64), "pixels": self._counts.clone()}

    def load(self, state: State) -> None:
        """Take the images of another."""
        self._angle_sums, self._counts = state["angle_sums"].tolist(), state["pixels"].cpu().clone()

    def compute(self) -> dict[str, float]:
        """``mErr`` in degrees; the shares of pixels within 11.25, 22.5 and 30 degrees."""
        pixels, *within = self._counts.tolist()
        sums = [math.fsum(self._angle_sums), *within]
        means = [s / pixels for s in sums] if pixels else [float("nan")] * len(sums)
        return dict(zip(("mErr", "within_11.25", "within_22.5", "within_30"), means, strict=True))


def _directions(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Of ``(3, H, W)``: unit vectors ``(H, W, 3)`` in double precision, and where ``(H, W)`` there is a direction."""
    v = vectors.movedim(0, -1).double()
    length = v.norm(dim=-1)
    return v / length[..., None], length.isfinite() & (length > 0)
