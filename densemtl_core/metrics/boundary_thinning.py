"""From a map of boundary probabilities to lines one pixel wide."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from densemtl_core.metrics.boundary_matching import Bits

__all__ = ["suppress_non_maxima", "thin"]

# The eight neighbours of a pixel, round the clock from the north, as (dy, dx).
_NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def suppress_non_maxima(probability: npt.NDArray[np.float32], sigma: float = 2.0) -> npt.NDArray[np.float32]:
    """Keep the ridges of a probability map and set the rest to zero.

    The direction across a ridge is that of the strongest curvature of the map, blurred. A pixel stays where it is
    within 1 % of both values one pixel away in that direction (interpolated), so that a plateau stays whole and is
    left to the thinning.

    Args:
        probability: ``(H, W)`` in [0, 1].
        sigma: of the Gaussian blur for the direction, pixels.

    Returns:
        ``(H, W)``; probabilities that stay are unchanged.
    """
    blurred = cv2.GaussianBlur(probability, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    padded = np.pad(blurred.astype(np.float64), 1, mode="edge")
    middle = padded[1:-1, 1:-1]
    xx = padded[1:-1, 2:] - 2 * middle + padded[1:-1, :-2]
    yy = padded[2:, 1:-1] - 2 * middle + padded[:-2, 1:-1]
    xy = (padded[2:, 2:] + padded[:-2, :-2] - padded[2:, :-2] - padded[:-2, 2:]) / 4

    y, x = np.nonzero(probability > 0)
    # The Hessian's larger eigenvalue has the direction atan2(2 xy, xx - yy) / 2, the smaller one is across that. The
    # strongest curvature is the one whose sign the trace has: downward on a ridge, upward on its foot.
    xx, yy, xy = xx[y, x], yy[y, x], xy[y, x]
    sign_of_trace = np.where(xx + yy > 0, 1.0, -1.0)
    angle = np.arctan2(sign_of_trace * 2 * xy, sign_of_trace * (xx - yy)) / 2
    dy, dx = np.sin(angle), np.cos(angle)
    own = probability[y, x]
    keep = np.ones(len(y), bool)
    for sign in (1, -1):
        keep &= own * 1.01 >= _interpolate(probability, y + sign * dy, x + sign * dx)
    ridges = np.zeros_like(probability)
    ridges[y[keep], x[keep]] = own[keep]
    return ridges


def _interpolate(
    values: npt.NDArray[np.float32], y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Bilinear samples of ``(H, W)`` at the points; beyond the border the value of the border."""
    y, x = y.clip(0, values.shape[0] - 1), x.clip(0, values.shape[1] - 1)
    top, left = y.astype(np.intp), x.astype(np.intp)
    below, right = (top + 1).clip(max=values.shape[0] - 1), (left + 1).clip(max=values.shape[1] - 1)
    v, u = y - top, x - left
    upper = values[top, left] * (1 - u) + values[top, right] * u
    lower = values[below, left] * (1 - u) + values[below, right] * u
    result: npt.NDArray[np.float64] = upper * (1 - v) + lower * v
    return result


def thin(bits: Bits) -> Bits:
    """Thin binary images to lines one pixel wide, one image a bit (Guo and Hall, 1989, algorithm A1).

    Two half steps, one for the south-eastern and one for the north-western rim, remove the pixels whose absence
    parts nothing and shortens no line, until none is left. Lines without a superfluous pixel stay as they are.

    Args:
        bits: ``(H, W, words)``.

    Returns:
        ``(H, W, words)``, a subset; eight-connected components are kept.
    """
    height, width, words = bits.shape
    padded = np.pad(bits, ((1, 1), (1, 1), (0, 0))).reshape(-1, words)
    row = width + 2
    around = np.array([dy * row + dx for dy, dx in _NEIGHBOURS])
    active = np.flatnonzero(padded.any(axis=1))
    while len(active):
        changed = np.zeros(len(padded), bool)
        for half in (0, 4):  # the second half step is the first, turned by 180 degrees
            near = [padded[active + around[(k + half) % 8]] for k in range(8)]
            gone = padded[active] & _removable(near)
            hit = gone.any(axis=1)
            padded[active[hit]] ^= gone[hit]
            changed[active[hit]] = True
        # A pixel can only become removable when one beside it went.
        touched = np.flatnonzero(changed)
        active = np.unique((touched[:, None] + around).ravel())
        active = active[padded[active].any(axis=1)]
    return padded.reshape(height + 2, row, words)[1:-1, 1:-1].copy()


def _removable(near: Sequence[Bits]) -> Bits:
    """Guo and Hall's condition, from the eight neighbours' bits, round the clock from the north."""
    n, ne, e, se, s, sw, w, nw = near
    # Exactly one run of neighbours around the pixel: removing it parts nothing.
    a, b, c, d = ~n & (ne | e), ~e & (se | s), ~s & (sw | w), ~w & (nw | n)
    one_run = ((a ^ b) & ~(c | d)) | ((c ^ d) & ~(a | b))
    # Two pairings of the neighbours; the smaller number of occupied pairs is two or three: no end and no interior.
    first, second = (nw | n, ne | e, se | s, sw | w), (n | ne, e | se, s | sw, w | nw)
    rim = _two_of(*first) & _two_of(*second) & ~(_all_of(*first) & _all_of(*second))
    removable: Bits = one_run & rim & ~((n | ne | ~se) & e)
    return removable


def _two_of(a: Bits, b: Bits, c: Bits, d: Bits) -> Bits:
    """At least two of the four."""
    left: Bits = a | b
    right: Bits = c | d
    both: Bits = left & right
    two: Bits = (a & b) | both | (c & d)
    return two


def _all_of(a: Bits, b: Bits, c: Bits, d: Bits) -> Bits:
    every: Bits = a & b & c & d
    return every
