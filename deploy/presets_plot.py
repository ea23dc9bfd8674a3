"""Pareto plots: a picture of points with names, drawn with OpenCV, which is there anyway."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from densemtl_core.render import Picture

__all__ = ["Panel", "Point", "draw"]

Box = tuple[float, float, float, float]

SIZE = (520, 640)
"""``(H, W)`` of a panel in pixels."""

MARGINS = (60, 20, 66, 84)
"""Pixels above, right of, below and left of the axes."""

FINER = 2
"""Drawn so many times as large and averaged: smoother than OpenCV's own edges."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, GREY, GRID = (30, 30, 30), (110, 110, 110), (225, 225, 225)
COLOURS = ((0, 114, 178), (213, 94, 0))
"""Blue and vermilion (Okabe and Ito), which every eye tells apart; the marks differ in shape too."""


@dataclass(frozen=True)
class Point:
    """A network.

    Attributes:
        name: beside the mark.
        x: of the mark, above 0.
        y: of the mark.
        spread: half the length of the bar through it; 0: no bar.
        family: 0, a blue disc; 1, a vermilion square.
        front: whether the line of the front goes through it.
    """

    name: str
    x: float
    y: float
    spread: float = 0.0
    family: int = 0
    front: bool = False


@dataclass(frozen=True)
class Panel:
    """One plot, its x axis logarithmic.

    Attributes:
        title: above it.
        x: what the axis tells, with its unit.
        y: the same.
        points: at least one.
        log_y: whether the y axis is logarithmic too.
    """

    title: str
    x: str
    y: str
    points: Sequence[Point]
    log_y: bool = False


def draw(panels: Sequence[Panel], captions: Sequence[str]) -> Picture:
    """Panels side by side, lines of text below.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    height, width = SIZE
    foot = 20 * len(captions) + 14
    page = np.full((FINER * (height + foot), FINER * width * len(panels), 3), 255, np.uint8)
    for number, panel in enumerate(panels):
        _Drawing(page, number * width).panel(panel)
    below = _Drawing(page, 0)
    for number, line in enumerate(captions):
        below.text(line, (16, height + 16 + 20 * number), 0.42, GREY)
    averaged = cv2.resize(page, (width * len(panels), height + foot), interpolation=cv2.INTER_AREA)
    return np.asarray(averaged, np.uint8)


class _Drawing:
    """A page whose pixels are counted from a panel's upper left corner."""

    def __init__(self, page: Picture, left: float) -> None:
        self.page, self.left = page, left

    def panel(self, panel: Panel) -> None:
        above, right, below, left = MARGINS
        top, bottom, start, end = above, SIZE[0] - below, left, SIZE[1] - right
        x_of, x_ticks = _axis([p.x for p in panel.points], (start, end), True)
        heights = [p.y + sign * p.spread for p in panel.points for sign in (-1, 1)]
        y_of, y_ticks = _axis(heights, (bottom, top), panel.log_y)
        for tick in x_ticks:
            self.line((x_of(tick), top), (x_of(tick), bottom), GRID)
            self.text(_number(tick), (x_of(tick), bottom + 16), 0.42, GREY, centred=True)
        for tick in y_ticks:
            self.line((start, y_of(tick)), (end, y_of(tick)), GRID)
            label = _number(tick)
            self.text(label, (start - 8 - _width(label, 0.42), y_of(tick)), 0.42, GREY)
        self.line((start, bottom), (end, bottom), INK)
        self.line((start, top), (start, bottom), INK)
        self.text(panel.title, (start, 18), 0.52, INK)
        self.text(panel.y, (start, 42), 0.42, INK)
        self.text(panel.x, ((start + end) / 2, bottom + 40), 0.42, INK, centred=True)
        placed = [(x_of(p.x), y_of(p.y)) for p in panel.points]
        taken: list[Box] = [(x - 8, y - 8, x + 8, y + 8) for x, y in placed]
        steps = _steps([place for place, point in zip(placed, panel.points, strict=True) if point.front], end)
        for a, b in steps:
            self.line(a, b, GREY, 2)
            taken.append((min(a[0], b[0]) - 2, min(a[1], b[1]) - 2, max(a[0], b[0]) + 2, max(a[1], b[1]) + 2))
        for (x, y), point in zip(placed, panel.points, strict=True):
            if point.spread:
                upper, lower = y_of(point.y + point.spread), y_of(point.y - point.spread)
                self.line((x, upper), (x, lower), INK)
                taken.append((x - 2, upper, x + 2, lower))
            self.mark((x, y), point.family)
        for (x, y), point in zip(placed, panel.points, strict=True):
            box = _free_place((x, y), _width(point.name, 0.45), taken, (start, top, end, bottom))
            taken.append(box)
            if math.dist((x, y), near := _nearest((x, y), box)) > 22:  # too far to be seen as its own
                self.line((x, y), near, GREY)
            self.text(point.name, (box[0], (box[1] + box[3]) / 2), 0.45, INK)

    def mark(self, place: tuple[float, float], family: int) -> None:
        x, y = self._pixel(place)
        radius = 6 * FINER
        if family:
            cv2.rectangle(self.page, (x - radius, y - radius), (x + radius, y + radius), COLOURS[1], -1, cv2.LINE_AA)
        else:
            cv2.circle(self.page, (x, y), radius, COLOURS[0], -1, cv2.LINE_AA)

    def line(self, a: tuple[float, float], b: tuple[float, float], colour: tuple[int, int, int], wide: int = 1) -> None:
        cv2.line(self.page, self._pixel(a), self._pixel(b), colour, wide * FINER, cv2.LINE_AA)

    def text(
        self,
        words: str,
        place: tuple[float, float],
        size: float,
        colour: tuple[int, int, int],
        *,
        centred: bool = False,
    ) -> None:
        """Words whose left end, or middle, is at a place; in height they are centred there."""
        x, y = place
        if centred:
            x -= _width(words, size) / 2
        (_, high), _ = cv2.getTextSize(words, FONT, size * FINER, FINER)
        left, middle = self._pixel((x, y))
        cv2.putText(self.page, words, (left, middle + high // 2), FONT, size * FINER, colour, FINER, cv2.LINE_AA)

    def _pixel(self, place: tuple[float, float]) -> tuple[int, int]:
        return round((place[0] + self.left) * FINER), round(place[1] * FINER)


def _steps(places: Iterable[tuple[float, float]], end: float) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """What can be had for so much: lines from one point of the front to the next, and on from the last."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(places):
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    if corners:
        corners.append((end, corners[-1][1]))
    return list(itertools.pairwise(corners))


def _width(words: str, size: float) -> float:
    return float(cv2.getTextSize(words, FONT, size * FINER, FINER)[0][0]) / FINER


def _axis(
    values: Iterable[float], pixels: tuple[float, float], logarithmic: bool
) -> tuple[Callable[[float], float], list[float]]:
    """Where a value lies, and the values to be marked."""
    found = list(values)
    to: Callable[[float], float] = math.log10 if logarithmic else float
    low, high = to(min(found)), to(max(found))
    # at least a factor of 2.5 from end to end, or no tick might be among them
    room = max(0.12 * (high - low), 0.21 if logarithmic else 0.02 * max(abs(low), abs(high), 1e-6))
    low, high = low - room, high + room

    def place(value: float) -> float:
        return pixels[0] + (to(value) - low) / (high - low) * (pixels[1] - pixels[0])

    if logarithmic:
        decades = range(math.floor(low), math.ceil(high) + 1)
        # where there is little room, the decades alone
        steps = (1, 2, 5) if high - low < 2.5 else (1,)
        ticks = [step * 10.0**decade for decade in decades for step in steps]
    else:
        step = 10.0 ** math.floor(math.log10((high - low) / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
        ticks = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return place, [tick for tick in ticks if low <= to(tick) <= high]


def _free_place(mark: tuple[float, float], width: float, taken: Sequence[Box], inside: Box) -> Box:
    """A box for a name: of the places around its mark the nearest that hits nothing, else the one that hits least."""
    x, y = mark
    beside = [(11, -8), (8, -26), (8, 10), (-width - 8, -26), (-width - 8, 10), (-width - 11, -8), (-width / 2, -44)]
    further = [(side, up) for up in (-44, 28, -62, 46, -80, 64) for side in (24, -width / 2, -width - 24)]
    boxes = [(x + dx, y + dy, x + dx + width, y + dy + 16) for dx, dy in beside + further]
    within = [b for b in boxes if inside[0] <= b[0] and inside[1] <= b[1] and b[2] <= inside[2] and b[3] <= inside[3]]
    # the first of the least: places stand in the order of their distance
    return min(within or boxes[:1], key=lambda box: sum(_overlap(box, other) for other in taken))


def _nearest(mark: tuple[float, float], box: Box) -> tuple[float, float]:
    """The point of a box that is nearest to a mark."""
    return min(max(mark[0], box[0]), box[2]), min(max(mark[1], box[1]), box[3])


def _overlap(one: Box, other: Box) -> float:
    """Square pixels that both cover."""
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
