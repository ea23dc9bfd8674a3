"""Pictures of a stream: a titled panel with a legend, a strip of moments, a short video."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from densemtl_core import render
from densemtl_ros.stream_check import INPUT, Moment

__all__ = ["Album", "cells", "legend", "panel", "strip", "write_picture", "write_video"]

Picture = NDArray[np.uint8]
VIDEO_WIDTH = 320
TITLES = {
    "depth": "depth (yellow near, dark far, white beyond range)",
    "normals": "normals (x y z as r g b)",
    "edges": "edge probability",
}
LEAST_SHARE = 0.005
"""Of an image, for a class to be named."""


class Album:
    """Keeps what pictures need of a stream and no more.

    Args:
        seconds: how long the stream will be.
        most: how many moments to keep, evenly in time, scaled down to `VIDEO_WIDTH`.

    Attributes:
        moments: the small moments, oldest first.
        whole: one moment from the middle of the stream in full size, or None before the first.
    """

    def __init__(self, seconds: float, most: int = 120) -> None:
        self.moments: list[Moment] = []
        self.whole: Moment | None = None
        self._spacing = int(seconds * 1e9 / most)
        self._half = int(seconds * 1e9 / 2)

    def add(self, moment: Moment) -> None:
        """Keep a complete moment if its turn has come."""
        first = self.moments[0].stamp if self.moments else moment.stamp
        if self.whole is None or moment.stamp - first <= self._half:
            self.whole = moment
        if not self.moments or moment.stamp - self.moments[-1].stamp >= self._spacing:
            # Every n-th pixel, not an average: an average of class ids or of depths across an edge is a wrong value.
            step = -(-moment.images[INPUT].shape[1] // VIDEO_WIDTH)
            small = {topic: image[::step, ::step].copy() for topic, image in moment.images.items()}
            self.moments.append(Moment(moment.stamp, small))


def cells(moment: Moment, tasks: Mapping[str, Any]) -> list[tuple[str, Picture]]:
    """Paint one moment.

    Args:
        moment: with the input image and all outputs.
        tasks: the bundle's tasks by name, each with ``picture`` and ``picture_options``.

    Returns:
        (title, ``(H, W, 3)`` uint8 RGB): input, class colours, overlay, depth, normals, edges.
    """
    image, colours = moment.images[INPUT], moment.images["semantic/color"]
    edges = moment.images["edges/image"].astype(np.float32) / 255.0
    arrays = {"depth": moment.images["depth/image"], "normals": moment.images["normals/image"], "edges": edges}
    return [
        ("input", image),
        ("semantic", colours),
        ("overlay", render.overlay(image, colours)),
        *((t, render.picture(tasks[t].picture, array, **tasks[t].picture_options)) for t, array in arrays.items()),
    ]


def legend(ids: NDArray[np.uint8], names: Sequence[str], palette: Sequence[Sequence[int]], width: int) -> Picture:
    """Name the colours of the classes that cover at least half a percent of an image, the largest first.

    Args:
        ids: ``(H, W)`` uint8 class ids.
        names: class names in id order.
        palette: RGB a class.
        width: of the result in pixels.

    Returns:
        ``(h, width, 3)`` uint8 RGB.
    """
    share = np.bincount(ids.ravel(), minlength=256) / ids.size
    there = [i for i in np.argsort(-share) if share[i] >= LEAST_SHARE and i < len(names)]
    entries = [(f"{names[i]} {_percent(share[i])}", palette[i]) for i in there]
    if share[255] >= LEAST_SHARE:
        entries.append((f"unlabelled {_percent(share[255])}", (0, 0, 0)))
    row, gap, font, scale = 26, 18, cv2.FONT_HERSHEY_SIMPLEX, 0.5
    places, x, y = [], 8, 0
    for text, _ in entries:
        wide = 22 + cv2.getTextSize(text, font, scale, 1)[0][0] + gap
        if x + wide > width and x > 8:
            x, y = 8, y + row
        places.append((x, y))
        x += wide
    canvas = np.full((y + row, width, 3), 24, np.uint8)
    for (text, colour), (left, top) in zip(entries, places, strict=True):
        cv2.rectangle(canvas, (left, top + 6), (left + 14, top + 20), [int(c) for c in colour], cv2.FILLED)
        cv2.rectangle(canvas, (left, top + 6), (left + 14, top + 20), (120, 120, 120), 1)
        cv2.putText(canvas, text, (left + 22, top + 18), font, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return canvas


def _percent(share: float) -> str:
    """Never 0 % of what is there."""
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"


def panel(moment: Moment, tasks: Mapping[str, Any], width: int = 480, columns: int = 3) -> Picture:
    """All pictures of one moment with the legend below."""
    grid = render.panel([(TITLES.get(t, t), picture) for t, picture in cells(moment, tasks)], columns, width)
    semantic = tasks["semantic"]
    ids = moment.images["semantic/image"]
    return np.vstack([grid, legend(ids, semantic.class_names, semantic.palette, grid.shape[1])])


def strip(moments: Sequence[Moment], tasks: Mapping[str, Any], width: int = 240, columns: int = 6) -> Picture:
    """Moments side by side, evenly chosen: input, class colours, depth, normals and edges from top to bottom."""
    chosen = [moments[i] for i in np.unique(np.linspace(0, len(moments) - 1, columns).round().astype(int))]
    painted = [[c for c in cells(m, tasks) if c[0] != "overlay"] for m in chosen]
    rows = []
    for row in range(len(painted[0])):
        for moment, column in zip(chosen, painted, strict=True):
            title, picture = column[row]
            rows.append((f"{(moment.stamp - moments[0].stamp) / 1e9:.1f} s" if row == 0 else title, picture))
    return render.panel(rows, columns=len(chosen), width=width)


def write_picture(path: Path, picture: Picture) -> None:
    """Write a PNG so that a reader sees the old file or the whole new one."""
    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not ok:
        raise OSError(f"{path}: the picture {picture.shape} cannot be encoded")
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_bytes(data.tobytes())
    os.replace(fresh, path)


def write_video(path: Path, moments: Sequence[Moment], tasks: Mapping[str, Any]) -> bool:
    """Write the moments as an MPEG-4 video at the speed at which they happened.

    Returns:
        False where this OpenCV cannot write it, or there are fewer than two moments; then there is no file.
    """
    if len(moments) < 2:
        return False
    rate = (len(moments) - 1) * 1e9 / (moments[-1].stamp - moments[0].stamp)
    fresh = path.with_name(f".part.{path.name}")
    writer = None
    try:
        for moment in moments:
            frame = render.panel(cells(moment, tasks), columns=3, width=VIDEO_WIDTH)
            frame = frame[: frame.shape[0] // 2 * 2]
            if writer is None:
                size = (frame.shape[1], frame.shape[0])
                writer = cv2.VideoWriter(str(fresh), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
                if not writer.isOpened():
                    return False
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        if fresh.stat().st_size == 0:
            return False
        os.replace(fresh, path)
        return True
    except OSError:
        return False
    finally:
        if writer is not None:
            writer.release()
        fresh.unlink(missing_ok=True)
