"""What the node can publish of one frame: which task each topic needs, and how its array is made.

A table, so that the publishers, the tasks asked of the network and the documentation agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from densemtl_core import render
from densemtl_ros.point_cloud import pack_points

__all__ = ["OUTPUTS", "POINTS", "FrameResult", "Output", "output_size"]

UNLABELLED = 255


@dataclass(frozen=True)
class FrameResult:
    """Everything that the pictures of one frame are made of.

    Attributes:
        image: ``(h, w, 3)`` uint8 RGB camera image, in the camera's size.
        prediction: arrays by name, in the output's size.
        palette: RGB colour a class.
        confidence_threshold: class probability below which a pixel is unlabelled.
        overlay_opacity: 0 shows only the image, 1 only the colours.
        intrinsics: camera matrix in the output's pixels, nine numbers row by row; None = unknown.
    """

    image: NDArray[np.uint8]
    prediction: Mapping[str, NDArray[Any]]
    palette: tuple[tuple[int, int, int], ...] = ()
    confidence_threshold: float = 0.0
    overlay_opacity: float = 0.5
    intrinsics: list[float] | None = None

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """``(H, W)`` uint8 class ids, 255 where the confidence is below the threshold or not a number."""
        ids = np.asarray(self.prediction["semantic"], np.uint8)
        if self.confidence_threshold <= 0:
            return ids
        sure = self.prediction["semantic_confidence"] >= self.confidence_threshold
        return np.where(sure, ids, np.uint8(UNLABELLED))

    @cached_property
    def confidence(self) -> NDArray[np.uint8]:
        """``(H, W)`` uint8 probability x 255 of the class."""
        return _probability(self.prediction["semantic_confidence"])

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """``(H, W, 3)`` uint8 RGB class colours; unlabelled is black."""
        return render.classes(self.mask, self.palette)


@dataclass(frozen=True)
class Output:
    """One image topic.

    Attributes:
        topic: name below the node's own.
        switch: the boolean parameter that offers it.
        tasks: what the network must predict for it.
        encoding: ROS image encoding.
        make: the array of one frame, in that encoding's shape and dtype.
        needs_intrinsics: whether it is made of `FrameResult.intrinsics` too.
    """

    topic: str
    switch: str
    tasks: tuple[str, ...]
    encoding: str
    make: Callable[[FrameResult], NDArray[Any]]
    needs_intrinsics: bool = False


def output_size(image_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size ``(height, width)`` of the outputs for an image of size ``(height, width)``; never zero."""
    return max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale))


def _probability(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Probability x 255, rounded; not a number is 0 = not sure at all."""
    # OpenCV, for a third of NumPy's time; its largest of NaN and 0 is 0, or it rounds the NaN to 0.
    bounded = cv2.min(cv2.max(np.asarray(values, np.float32), 0.0), 1.0)
    return np.asarray(cv2.convertScaleAbs(bounded, alpha=255.0), np.uint8)


def _overlay(result: FrameResult) -> NDArray[np.uint8]:
    height, width = result.mask.shape
    image = result.image
    if image.shape[:2] != (height, width):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    # Where no class is known the camera image stays as it is.
    paint = np.where((result.mask == UNLABELLED)[..., None], image, result.colours)
    return render.overlay(image, paint, result.overlay_opacity)


OUTPUTS: tuple[Output, ...] = (
    Output("semantic/image", "publish.semantic", ("semantic",), "mono8", lambda r: r.mask),
    Output(
        "semantic/confidence",
        "publish.semantic_confidence",
        ("semantic",),
        "mono8",
        lambda r: r.confidence,
    ),
    Output("semantic/color", "publish.semantic_color", ("semantic",), "rgb8", lambda r: r.colours),
    Output("overlay/image", "publish.overlay", ("semantic",), "rgb8", _overlay),
    # NaN = unknown and +inf = beyond range go out as they are (REP 117).
    Output(
        "depth/image", "publish.depth", ("depth",), "32FC1", lambda r: np.asarray(r.prediction["depth"], np.float32)
    ),
    Output(
        "normals/image",
        "publish.normals",
        ("normals",),
        "32FC3",
        lambda r: np.asarray(r.prediction["normals"], np.float32),
    ),
    Output(
        "normals/color",
        "publish.normals_color",
        ("normals",),
        "rgb8",
        lambda r: render.normals(r.prediction["normals"]),
    ),
    Output("edges/image", "publish.edges", ("edges",), "mono8", lambda r: _probability(r.prediction["edges"])),
)
"""Every image topic of the node."""

POINTS = Output(
    "points",
    "publish.points",
    ("depth", "semantic"),
    "",
    lambda r: pack_points(r.prediction["depth"], r.intrinsics, r.image, r.mask, r.confidence),
    needs_intrinsics=True,
)
"""The point cloud, which is no image."""
