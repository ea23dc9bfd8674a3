"""One-to-one matching of detected and true boundary pixels, at all thresholds at once.

Bits: a set of thresholds is a row of 64-bit words, and one operation on the row works on all of them (`bit_rows`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Bits", "Indices", "bit_counts", "bit_rows", "match", "offsets_within"]

Bits = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.intp]


def bit_rows(passed: npt.NDArray[Any], thresholds: int) -> Bits:
    """The first ``passed`` thresholds as bits.

    Args:
        passed: ``(N,)`` integers in [0, thresholds].
        thresholds: how many there are.

    Returns:
        ``(N, ceil(thresholds / 64))``.
    """
    words = -(-thresholds // 64)
    table = np.zeros((thresholds + 1, words), np.uint64)
    for k in range(thresholds):
        table[k + 1 :, k // 64] |= np.uint64(1 << k % 64)
    rows: Bits = table[passed]
    return rows


def bit_counts(bits: Bits, thresholds: int) -> npt.NDArray[np.int64]:
    """How many rows of ``(N, W)`` have each threshold's bit, ``(thresholds,)``."""
    octets = np.ascontiguousarray(bits.astype("<u8", copy=False)).view(np.uint8)
    counts: npt.NDArray[np.int64] = np.unpackbits(octets, axis=1, bitorder="little").sum(axis=0, dtype=np.int64)
    return counts[:thresholds]


def offsets_within(radius: float) -> Indices:
    """Pixel steps ``(dy, dx)`` no longer than ``radius`` pixels, the shortest first, ``(K, 2)``."""
    r = int(radius)
    dy, dx = np.mgrid[-r : r + 1, -r : r + 1].reshape(2, -1)
    square = dy * dy + dx * dx
    order = np.argsort(square, kind="stable")
    near = order[square[order] <= radius * radius]
    steps: Indices = np.stack([dy, dx], axis=1)[near].astype(np.intp)
    return steps


def _some(bits: Bits) -> npt.NDArray[np.bool_]:
    """Which rows have a bit, ``(N,)``; column by column, as numpy is slow along an axis of two."""
    joined = bits[:, 0]
    for k in range(1, bits.shape[1]):
        joined = joined | bits[:, k]
    some: npt.NDArray[np.bool_] = joined != 0
    return some


def _rows(bits: Bits, numbers: Indices) -> Bits:
    """``bits[numbers]``: numpy's plain indexing takes ten times as long for rows of two words."""
    rows: Bits = bits.take(numbers, axis=0)
    return rows


class _Incidence:
    """Which pairs the pixels of one side are in.

    Args:
        pixel: ``(pairs,)``, the pixel of each pair.
        pixels: how many pixels there are.
    """

    def __init__(self, pixel: Indices, pixels: int) -> None:
        self._pixel = pixel
        self._pairs = np.argsort(pixel, kind="stable")
        self._starts = np.searchsorted(pixel[self._pairs], np.arange(pixels + 1))

    def of(self, chosen: npt.NDArray[np.bool_]) -> Indices:
        """The numbers of all pairs of the chosen pixels, ascending."""
        pixels = np.flatnonzero(chosen)
        first = self._starts[pixels]
        lengths = self._starts[pixels + 1] - first
        ends = np.cumsum(lengths)
        if not len(ends) or ends[-1] * 8 > len(self._pixel):  # a glance at each pair is quicker than sorting many
            return np.flatnonzero(chosen[self._pixel])
        return np.sort(self._pairs[np.repeat(first - ends + lengths, lengths) + np.arange(ends[-1])])


class _Graph:
    """Pairs (detected pixel, true pixel) that are near enough, sorted by distance.

    ``detected`` and ``truth`` number the pixels of each pair. All pairs of one offset lie together (``cuts`` parts
    them), and no pixel occurs twice among them. ``sizes`` are the numbers of detected and of true pixels.
    """

    def __init__(self, detected: Indices, truth: Indices, cuts: Indices, sizes: tuple[int, int]) -> None:
        self.detected, self.truth, self.cuts, self.sizes = detected, truth, cuts, sizes
        self.of_detected, self.of_truth = _Incidence(detected, sizes[0]), _Incidence(truth, sizes[1])
        self._to_detected, self._to_truth = _Spread(truth, detected, sizes[1]), _Spread(detected, truth, sizes[0])

    def subset(self, keep: Indices) -> _Graph:
        """The pairs with these ascending numbers; the numbers of the pixels stay."""
        return _Graph(self.detected[keep], self.truth[keep], np.searchsorted(keep, self.cuts), self.sizes)

    def to_detected(self, truth: Bits, like: Bits, through: Bits | None = None) -> Bits:
        """The detections that have one of these true pixels in reach, or are paired with one in ``through``."""
        return self._to_detected(truth, like, through)

    def to_truth(self, detected: Bits, like: Bits, through: Bits | None = None) -> Bits:
        """The true pixels that have one of these detections in reach, or are paired with one in ``through``."""
        return self._to_truth(detected, like, through)


class _Spread:
    """One step of a breadth-first search: the bits of the pixels on one side, handed to those on the other."""

    def __init__(self, source: Indices, target: Indices, sources: int) -> None:
        self._order = np.argsort(target, kind="stable")
        self._source, self._target = source[self._order], target[self._order]
        self._of_source = _Incidence(self._source, sources)

    def __call__(self, bits: Bits, like: Bits, through: Bits | None) -> Bits:
        reached = np.zeros_like(like)
        live = self._of_source.of(_some(bits))  # a front is mostly small: touch only its pairs
        if not len(live):
            return reached
        values, target = _rows(bits, self._source[live]), self._target[live]
        if through is not None:
            values &= _rows(through, self._order[live])
        starts = np.flatnonzero(np.concatenate([[True], target[1:] != target[:-1]]))
        reached[target[starts]] = np.bitwise_or.reduceat(values, starts, axis=0)
        return reached


def _pairs_in_reach(detected_at: Indices, is_true: npt.NDArray[np.bool_], radius: float) -> tuple[_Graph, int]:
    """All pairs within the radius, and the number of true pixels; detections are numbered as in ``detected_at``."""
    r = int(radius)
    steps = offsets_within(radius)
    height, width = is_true.shape
    row = width + 2 * r
    inside = np.full(height * width, -1, np.intp)
    inside[detected_at] = np.arange(len(detected_at))
    numbers = np.pad(inside.reshape(height, width), r, constant_values=-1).ravel()
    y, x = np.nonzero(is_true)
    near = numbers[(y + r) * row + x + r + (steps[:, :1] * row + steps[:, 1:])]  # (offset, true pixel)
    offset, truth = np.nonzero(near >= 0)
    cuts = np.searchsorted(offset, np.arange(len(steps) + 1))
    return _Graph(near[offset, truth], truth, cuts, (len(detected_at), len(y))), len(y)


def _take(graph: _Graph, seekers: Bits, goals: Bits) -> tuple[Indices, Bits]:
    """Give every seeking detection the nearest goal still there, and clear both.

    Args:
        graph: the pairs.
        seekers: bits of the detected pixels, changed in place.
        goals: bits of the true pixels, changed in place.

    Returns:
        The numbers of the pairs that were looked at, and the bits that were made of each.
    """
    live = graph.of_detected.of(_some(seekers))
    live = live[_some(goals)[graph.truth[live]]]
    live = live[_some(_rows(seekers, graph.detected[live]) & _rows(goals, graph.truth[live]))]
    made = np.zeros((len(live), goals.shape[1]), np.uint64)
    cuts = np.searchsorted(live, graph.cuts)
    for i in np.flatnonzero(np.diff(cuts)):
        part = slice(cuts[i], cuts[i + 1])
        pairs = live[part]
        d, t = graph.detected[pairs], graph.truth[pairs]
        both = _rows(seekers, d) & _rows(goals, t)
        seekers[d] ^= both  # within one offset no pixel occurs twice, so nothing is written over
        goals[t] ^= both
        made[part] = both
    return live, made


def _layers(
    graph: _Graph, matched: Bits, useful: Bits, free: Bits, goals: Bits
) -> tuple[list[tuple[Bits, Bits]], Bits]:
    """Breadth-first search among the useful detections from the free true pixels along alternating paths.

    Layer k is the true pixels from which k exchanges lead to a free one, and the detections (not in an earlier
    layer) that have one of these in reach. The search ends when it has found every useful free detection.

    Returns:
        The layers, and the detections that stay useful. What a search to its end does not find is of no use any more:
        no later exchange changes that.
    """
    layers: list[tuple[Bits, Bits]] = []
    truth, unseen = goals, useful.copy()
    while truth.any():
        if not (unseen & free).any():
            return layers, useful
        detected = graph.to_detected(truth, useful) & unseen
        if not detected.any():
            break
        unseen ^= detected
        layers.append((truth, detected))
        truth = graph.to_truth(detected, goals, matched)
    return layers, useful ^ unseen


def _exchange(graph: _Graph, matched: Bits, free: Bits, free_truth: Bits, layers: list[tuple[Bits, Bits]]) -> bool:
    """Follow the layers from the farthest to the free true pixels; all bits are changed in place.

    A free detection takes a true pixel of its layer; the former owner is in the layer below and seeks there next.
    Where several seek the same pixel all but one stay free. In each layer at least one succeeds, so there is a new
    pair in the end.

    Returns:
        Whether pairs were won; false where no free detection is in a layer.
    """
    won = False
    for k in range(len(layers) - 1, -1, -1):
        truth, detected = layers[k]
        seekers = free & detected
        if not seekers.any():
            continue
        won = True
        goals = free_truth if k == 0 else truth.copy()
        free ^= seekers
        pairs, made = _take(graph, seekers, goals)
        free |= seekers
        if k > 0:
            taken = truth & ~goals
            free |= graph.to_detected(taken, free, matched)
            held = graph.of_truth.of(_some(taken))
            matched[held] = _rows(matched, held) & ~_rows(taken, graph.truth[held])
        matched[pairs] |= made
    return won


def match(bits: Bits, is_true: npt.NDArray[np.bool_], radius: float) -> Bits:
    """Which detections have a true pixel of their own, in a largest one-to-one matching.

    Detections first take the nearest true pixel that is free. Then, much as Hopcroft and Karp do, chains of
    exchanges that end at a free true pixel are followed, all thresholds side by side, until there is none: the
    number of pairs is the largest possible at every threshold. (Which of several detections in reach of too few
    true pixels goes without depends on the order of the pixels; the number does not.)

    Args:
        bits: ``(H, W, words)``, the thresholds at which a pixel is detected.
        is_true: ``(H, W)`` bool, the ground truth.
        radius: the largest distance of a pair, pixels.

    Returns:
        ``(H, W, words)``, the thresholds at which the detection is matched.
    """
    words = bits.shape[-1]
    detected_at = np.flatnonzero(bits.any(axis=-1))
    graph, truths = _pairs_in_reach(detected_at, is_true, radius)
    own = bits.reshape(-1, words)[detected_at]
    free, free_truth = own.copy(), np.full((truths, words), ~np.uint64(0), np.uint64)
    matched = np.zeros((len(graph.detected), words), np.uint64)
    pairs, made = _take(graph, free, free_truth)
    matched[pairs] = made
    useful = own
    while True:
        layers, useful = _layers(graph, matched, useful, free, free_truth)
        keep = np.flatnonzero(_some(useful)[graph.detected])
        if len(keep) < 0.8 * len(graph.detected):  # sorting the rest anew has to pay
            graph, matched = graph.subset(keep), _rows(matched, keep)
        if not _exchange(graph, matched, free, free_truth, layers):
            break
    result = np.zeros_like(bits)
    result.reshape(-1, words)[detected_at] = own & ~free
    return result
