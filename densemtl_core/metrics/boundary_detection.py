"""The edge score of the boundary-detection benchmarks, with a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from densemtl_core.errors import InputError
from densemtl_core.metrics.base import Metric, State
from densemtl_core.metrics.boundary_matching import bit_counts, bit_rows, match, offsets_within
from densemtl_core.metrics.boundary_thinning import suppress_non_maxima, thin

__all__ = ["BoundaryDetection"]

Counts = npt.NDArray[np.int64]


class BoundaryDetection(Metric):
    """odsF, oisF and AP of boundary maps (Martin et al., 2004; Arbelaez et al., 2011).

    The map is reduced to its ridges; at each threshold the ridges that reach it are thinned to one-pixel lines, and
    the pixels of these are matched one to one with the boundary pixels of the ground truth, no farther away than the
    tolerance. The matching is one of the largest possible.

    A detection with no boundary pixel within the tolerance, but an unknown one, does not count. Other unmatched
    detections are false alarms.

    Where this differs from the benchmark's published code: the number of pairs is exactly the largest (the benchmark
    minimises a cost that gives nearly that); labels are thinned; F is taken at the thresholds, not between them; and
    AP goes on to the left of the lowest recall with the precision found there, where the benchmark counts nothing.

    Args:
        thresholds: their number; they lie evenly inside (0, 1): 0.01 to 0.99 for 99.
        max_distance: the tolerance as a share of the image diagonal: 0.0075 is usual, 0.011 on NYUDv2.
        min_pixels: the tolerance is at least this many pixels. On small images the share alone comes to less than a
            pixel, and forgives nothing; the benchmarks' images are large enough to need no minimum.
        suppress: reduce the map to its ridges first. Without it only the thinning narrows a broad response.
        thin_labels: thin the ground truth as the detections are thinned. It changes nothing where the lines are thin
            already; lines with a pixel at both sides of each step (drawn from changes between four-neighbours) have
            pixels that no thinned detection can find, and without it not even a perfect map scores 1 on them.

    Raises:
        InputError: no threshold, a tolerance outside [0, 0.1], or a minimum outside [0, 20] pixels.
    """

    primary = "odsF"
    higher_is_better = True

    def __init__(
        self,
        thresholds: int = 99,
        max_distance: float = 0.0075,
        min_pixels: float = 0.0,
        suppress: bool = True,
        thin_labels: bool = True,
    ) -> None:
        if thresholds < 1:
            raise InputError(f"BoundaryDetection: thresholds is {thresholds}; give at least 1")
        if not 0 <= max_distance <= 0.1:
            raise InputError(
                f"BoundaryDetection: max_distance is {max_distance}; give a share of the diagonal in [0, 0.1]"
            )
        if not 0 <= min_pixels <= 20:
            raise InputError(f"BoundaryDetection: min_pixels is {min_pixels}; give pixels in [0, 20]")
        self.thresholds = np.arange(1, thresholds + 1) / (thresholds + 1)
        self.max_distance, self.min_pixels = max_distance, min_pixels
        self.suppress, self.thin_labels = suppress, thin_labels
        # Rows: matched pairs, detections, true pixels; a column a threshold.
        self._counts: Counts = np.zeros((3, thresholds), np.int64)
        self._best: Counts = np.zeros(3, np.int64)  # the same, each image at its own best threshold

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add edge probabilities and labels in {0, 1}, ``(B, 1, H, W)`` both; a NaN label is unknown.

        Raises:
            InputError: the shapes differ or are not ``(B, 1, H, W)``.
        """
        if prediction.shape != label.shape or label.ndim != 4 or label.shape[1] != 1:
            shapes = f"{tuple(prediction.shape)} and {tuple(label.shape)}"
            raise InputError(f"BoundaryDetection: prediction and label are {shapes}; give (B, 1, H, W) both")
        probabilities = prediction.detach().to("cpu", torch.float32).nan_to_num(0.0).numpy()
        labels = label.detach().to("cpu", torch.float32).numpy()
        for p, t in zip(probabilities[:, 0], labels[:, 0], strict=True):
            counts = self._count(p, t)
            self._counts += counts
            f = np.nan_to_num(_f_measure(counts))
            # Of equally good thresholds the highest: it has the fewest false alarms.
            self._best += counts[:, len(f) - 1 - int(np.argmax(f[::-1]))]

    def _count(self, probability: npt.NDArray[np.float32], label: npt.NDArray[np.float32]) -> Counts:
        """Matched pairs, detections and true pixels of an image ``(H, W)``, at each threshold."""
        n = len(self.thresholds)
        radius = max(self.min_pixels, self.max_distance * float(np.hypot(*label.shape)))
        ridges = suppress_non_maxima(probability) if self.suppress else probability
        # In the precision of the map, so that a probability of 0.1 reaches the threshold 0.1.
        passed = np.searchsorted(self.thresholds.astype(np.float32), ridges.ravel(), side="right")
        lines = thin(bit_rows(passed, n).reshape(*label.shape, -1))
        is_true, unknown = label > 0.5, np.isnan(label)
        if self.thin_labels:
            is_true = thin(is_true[..., None].astype(np.uint64))[..., 0] > 0
        if unknown.any():
            lines[_grown(unknown, radius) & ~_grown(is_true, radius)] = 0
        pairs = match(lines, is_true, radius)
        words = lines.shape[-1]
        truths = np.full(n, is_true.sum())
        return np.stack([bit_counts(pairs.reshape(-1, words), n), bit_counts(lines.reshape(-1, words), n), truths])

    def state(self) -> dict[str, Tensor]:
        """Counts of matched pairs, detections and true pixels.

        ``at_thresholds`` ``(3, thresholds)``, and ``at_best`` ``(3,)`` with each image at its own best threshold.
        """
        return {"at_thresholds": torch.from_numpy(self._counts.copy()), "at_best": torch.from_numpy(self._best.copy())}

    def load(self, state: State) -> None:
        """Take the counts of another with as many thresholds."""
        self._counts, self._best = state["at_thresholds"].cpu().numpy().copy(), state["at_best"].cpu().numpy().copy()

    def curve(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Precision and recall at each threshold, over all that was added; NaN for 0 / 0."""
        pairs, detections, truths = self._counts
        return _ratio(pairs, detections), _ratio(pairs, truths)

    def compute(self) -> dict[str, float]:
        """``odsF`` (best F at one threshold for all images), ``ods_threshold``, ``oisF`` (each image its own), ``AP``.

        All in [0, 1]. NaN where there is no true boundary pixel in the set. Images without one enter with their
        false alarms.
        """
        if not self._counts[2].any():
            return dict.fromkeys(("odsF", "ods_threshold", "oisF", "AP"), float("nan"))
        f = _f_measure(self._counts)
        best = len(f) - 1 - int(np.argmax(f[::-1]))
        return {
            "odsF": float(f[best]),
            "ods_threshold": float(self.thresholds[best]),
            "oisF": float(_f_measure(self._best)),
            "AP": _average_precision(*self.curve()),
        }


def _ratio(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    ratio: npt.NDArray[np.float64] = np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b != 0)
    return ratio


def _f_measure(counts: Counts) -> npt.NDArray[np.float64]:
    """2 pairs / (detections + true pixels), the harmonic mean of precision and recall."""
    pairs, detections, truths = counts
    return _ratio(2 * pairs, detections + truths)


def _average_precision(precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64]) -> float:
    """Mean, over the recalls 0, 0.01, ... 1, of the precision interpolated there; 0 beyond the highest recall."""
    seen = ~np.isnan(precision)
    if not seen.any():
        return 0.0
    recall, precision = recall[seen], precision[seen]
    levels = np.unique(recall)
    best = np.array([precision[recall == r].max() for r in levels])
    return float(np.interp(np.linspace(0, 1, 101), levels, best, right=0.0).mean())


def _grown(region: npt.NDArray[np.bool_], radius: float) -> npt.NDArray[np.bool_]:
    """The pixels within ``radius`` pixels of the region, ``(H, W)`` bool."""
    r = int(radius)
    height, width = region.shape
    padded = np.pad(region, r)
    grown = np.zeros_like(region)
    for dy, dx in offsets_within(radius):
        grown |= padded[r + dy : r + dy + height, r + dx : r + dx + width]
    return grown
