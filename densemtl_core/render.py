"""Predictions as pictures: what a person looks at. NumPy and OpenCV only, so that a robot can carry it.

Every function takes and returns NumPy arrays in ``(H, W)`` or ``(H, W, C)`` order; pictures are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PICTURES",
    "Picture",
    "classes",
    "depth",
    "linear_rgb",
    "normals",
    "overlay",
    "panel",
    "picture",
    "probability",
    "rgb",
    "scalar",
]

Picture = NDArray[np.uint8]


def classes(ids: NDArray[Any], palette: Sequence[Sequence[int]]) -> Picture:
    """Paint class ids with a palette.

    Args:
        ids: ``(H, W)`` integer class ids; an id outside the palette (255 = unlabelled, say) is painted black.
        palette: RGB colour per class, 0..255.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
    painted: Picture = table[np.asarray(ids).astype(np.uint8)]
    return painted


def depth(metres: NDArray[Any], near: float = 1.0, far: float = 80.0) -> Picture:
    """Paint metric depth: near is bright yellow, far is dark, on a logarithmic scale.

    Args:
        metres: ``(H, W)`` depth in metres; NaN (unknown) is painted black, +inf (no surface) white.
        near: depth in metres of the bright end.
        far: depth in metres of the dark end.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    metres = np.asarray(metres, np.float32)
    finite = np.isfinite(metres)
    z = np.clip(np.where(finite, metres, far), near, far)
    level = 1.0 - np.log(z / near) / np.log(far / near)
    out = _colour_map((level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    out[np.isposinf(metres)] = 255
    out[np.isnan(metres) | np.isneginf(metres)] = 0
    return out


def scalar(values: NDArray[Any], low: float = 0.0, high: float = 1.0) -> Picture:
    """Paint any scalar field between two bounds; NaN is black.

    Args:
        values: ``(H, W)``.
        low: value of the dark end.
        high: value of the bright end.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    values = np.asarray(values, np.float32)
    level = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    out = _colour_map((level * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    out[np.isnan(values)] = 0
    return out


def normals(vectors: NDArray[Any]) -> Picture:
    """Paint unit vectors with the simulators' usual map, ``round((0.5 n + 0.5) 255)``; NaN is black.

    Args:
        vectors: ``(H, W, 3)`` unit vectors.

    Returns:
        ``(H, W, 3)`` uint8: x, y, z as red, green, blue.
    """
    vectors = np.asarray(vectors, np.float32)
    # NaN has no uint8 value: paint such pixels black afterwards instead of relying on a cast.
    scaled = cv2.convertScaleAbs(np.nan_to_num(np.clip(vectors, -1, 1)), alpha=127.5, beta=127.5)
    out: Picture = np.asarray(scaled, np.uint8)
    out[np.isnan(vectors).any(axis=-1)] = 0
    return out


def probability(p: NDArray[Any]) -> Picture:
    """Paint a probability in [0, 1] as grey, white = 1; NaN is black. ``(H, W)`` to ``(H, W, 3)`` uint8."""
    level = (np.clip(np.nan_to_num(np.asarray(p, np.float32)), 0, 1) * 255).round().astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=-1)


def rgb(image: NDArray[Any]) -> Picture:
    """Paint an ``(H, W, 3)`` colour image in [0, 1] as it is; NaN is black."""
    return (np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0, 1) * 255).round().astype(np.uint8)


def linear_rgb(image: NDArray[Any]) -> Picture:
    """Paint an ``(H, W, 3)`` image of linear RGB in [0, 1], reflectance say, encoded for a screen; NaN is black."""
    return rgb(np.sqrt(np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0, 1)))


PICTURES: Mapping[str, Callable[..., Picture]] = {
    "classes": classes,
    "depth": depth,
    "scalar": scalar,
    "normals": normals,
    "probability": probability,
    "rgb": rgb,
    "linear_rgb": linear_rgb,
}
"""The ways of painting that a task (or a bundle's manifest) may name."""


def picture(kind: str, values: NDArray[Any], **options: Any) -> Picture:
    """Paint ``values`` the way named ``kind``.

    Args:
        kind: a key of `PICTURES`.
        values: what that function takes.
        **options: further arguments of that function (``palette``, ``far``, ...).

    Raises:
        ValueError: no such way of painting.
    """
    if kind not in PICTURES:
        raise ValueError(f"unknown picture {kind!r}; known: {', '.join(sorted(PICTURES))}")
    painted: Picture = PICTURES[kind](values, **options)
    return painted


def overlay(image: Picture, paint: Picture, opacity: float = 0.5) -> Picture:
    """Blend a picture over a camera image of the same size; ``opacity`` 0 shows only the image, 1 only the paint."""
    if image.shape != paint.shape:
        raise ValueError(f"overlay: image is {image.shape}, picture is {paint.shape}; they must be the same")
    return np.asarray(cv2.addWeighted(paint, opacity, image, 1.0 - opacity, 0.0), np.uint8)


def panel(cells: Sequence[tuple[str, Picture]], columns: int | None = None, width: int = 480) -> Picture:
    """Lay titled pictures out in a grid.

    Args:
        cells: (title, ``(H, W, 3)`` uint8 RGB) in reading order; each is scaled to the first one's shape.
        columns: cells a row; all in one row by default.
        width: width of one cell in pixels.

    Returns:
        One ``(H', W', 3)`` uint8 RGB picture.
    """
    if not cells:
        raise ValueError("panel needs at least one picture, got none")
    columns = min(columns or len(cells), len(cells))
    height = max(1, round(width * cells[0][1].shape[0] / cells[0][1].shape[1]))
    bar = 24
    rows = -(-len(cells) // columns)
    canvas = np.full((rows * (height + bar), columns * width, 3), 24, np.uint8)
    for index, (title, cell) in enumerate(cells):
        top, left = (index // columns) * (height + bar), (index % columns) * width
        how = cv2.INTER_AREA if cell.shape[1] > width else cv2.INTER_NEAREST
        canvas[top + bar : top + bar + height, left : left + width] = cv2.resize(
            cell, (width, height), interpolation=how
        )
        cv2.putText(canvas, title, (left + 8, top + 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return canvas


def _colour_map(level: Picture, which: int) -> Picture:
    return np.asarray(cv2.applyColorMap(level, which)[..., ::-1], np.uint8).copy()
