"""Whether the peaks of a heat map are where the centres of things are."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from densemtl_core.metrics.base import Metric, State

__all__ = ["CenterDetection", "peaks"]

LEVELS = 19
"""Thresholds at which detections are counted: 0.05, 0.1, ... 0.95."""

MOST_PEAKS = 200
"""The strongest peaks of an image count, no more than these."""


class CenterDetection(Metric):
    """F1 of detected centres at the threshold that is best for the whole set.

    A detection is a local maximum of the predicted heat map; a plateau is one, in its middle. The strongest first, each
    takes the nearest centre that none has taken, if one lies within the tolerance. A map of zeros detects nothing: its
    F1 is 0.

    A map that is cut off at 1 has a plateau around each centre, which costs nothing until those of neighbouring things
    touch: they are one detection then. A Gaussian of deviation s, g times too high, is cut off within
    ``s * sqrt(2 * log(g))`` of its centre.

    Args:
        tolerance: a share of the image diagonal; but at least 1.5 pixels, so that a neighbouring pixel is a hit.
    """

    primary = "centerF1"
    higher_is_better = True

    def __init__(self, tolerance: float = 0.02) -> None:
        self.tolerance = tolerance
        self._counts = torch.zeros(2, LEVELS, dtype=torch.int64)  # hits, detections, at each threshold
        self._centres = torch.zeros(1, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add heat maps, ``(B, 1, H, W)`` both, in [0, 1]; the label is 1 at every centre. NaN labels do not count."""
        for p, t in zip(prediction, label, strict=True):
            reach = max(self.tolerance * math.hypot(*t.shape[-2:]), 1.5)
            centres = torch.nonzero(t[0] >= 1).double().cpu()
            places, heights = peaks(p[0].masked_fill(t[0].isnan(), 0.0), reach / 2)
            self._centres += len(centres)
            level = (heights * (LEVELS + 1)).floor().clamp(max=LEVELS).long()  # passes the first `level` thresholds
            free = torch.ones(len(centres), dtype=torch.bool)
            for place, passed in zip(places, level.tolist(), strict=True):
                self._counts[1, :passed] += 1
                distance = torch.where(free, (centres - place).norm(dim=1), math.inf)
                if len(centres) and float(distance.min()) <= reach:
                    free[int(distance.argmin())] = False
                    self._counts[0, :passed] += 1

    def state(self) -> dict[str, Tensor]:
        """``found`` ``(2, 19)`` hits and detections at each threshold, ``centres`` ``(1,)``: counts."""
        return {"found": self._counts.clone(), "centres": self._centres.clone()}

    def load(self, state: State) -> None:
        """Take the counts of another."""
        self._counts, self._centres = state["found"].cpu().clone(), state["centres"].cpu().clone()

    def compute(self) -> dict[str, float]:
        """``centerF1``, ``precision`` and ``recall`` in [0, 1], at ``threshold``; NaN where there was no centre."""
        centres = int(self._centres)
        if not centres:
            return dict.fromkeys(("centerF1", "precision", "recall", "threshold"), math.nan)
        hits, detections = self._counts.double()
        f1 = 2 * hits / (detections + centres)
        best = int(f1.argmax())
        precision = float(hits[best] / detections[best].clamp(min=1))
        return {
            "centerF1": float(f1[best]),
            "precision": precision,
            "recall": float(hits[best]) / centres,
            "threshold": (best + 1) / (LEVELS + 1),
        }


def peaks(heat: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Local maxima, of which no two are nearer than a radius.

    Neighbouring pixels of one height, such as where a map is cut off at 1, are one maximum, in their middle.

    Args:
        heat: ``(H, W)``.
        radius: pixels.

    Returns:
        ``(N, 2)`` float64 row and column, and ``(N,)`` float64 height, the highest first; N is at most `MOST_PEAKS`.
    """
    heat = heat.double().nan_to_num().cpu()
    beside = max(int(radius), 1)
    highest = F.max_pool2d(heat[None], 2 * beside + 1, 1, beside)[0]
    maximal = ((heat == highest) & (heat >= 1 / (LEVELS + 1))).numpy()
    # Of two maxima side by side each is as high as the other: a component has one height.
    count, component, _, middles = cv2.connectedComponentsWithStats(maximal.astype(np.uint8), connectivity=8)
    levels = np.zeros(count)
    levels[component[maximal]] = heat.numpy()[maximal]
    middles, levels = middles[1:], levels[1:]  # the first is what is no maximum
    order = np.lexsort((middles[:, 0], middles[:, 1], -levels))  # equals from top to bottom, whatever OpenCV's order
    places, heights = torch.from_numpy(middles[order][:, ::-1].copy()), torch.from_numpy(levels[order])
    kept: list[int] = []
    free = torch.ones(len(places), dtype=torch.bool)
    while len(kept) < MOST_PEAKS and bool(free.any()):
        kept.append(int(free.int().argmax()))  # the strongest that is left
        free &= (places - places[kept[-1]]).norm(dim=1) > radius
    return places[kept], heights[kept]
