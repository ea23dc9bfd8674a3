"""Depth as a coloured, labelled point cloud, one point a pixel of the mask.

A point takes 20 bytes: x, y, z, rgb as four-byte numbers at multiples of four, then two single bytes and two that only
keep the next point aligned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["FIELDS", "POINT_STEP", "as_message", "pack_points", "pixel_rays"]

POINT_STEP = 20
"""Bytes a point."""

_UINT8, _FLOAT32 = 2, 7  # datatypes of sensor_msgs/PointField
FIELDS: tuple[tuple[str, int, int], ...] = (
    ("x", 0, _FLOAT32),
    ("y", 4, _FLOAT32),
    ("z", 8, _FLOAT32),
    ("rgb", 12, _FLOAT32),
    ("class_id", 16, _UINT8),
    ("confidence", 17, _UINT8),
)
"""Name, offset in bytes and `sensor_msgs/PointField` datatype; the last one only where there is a confidence."""


def pixel_rays(k: Sequence[float], size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Directions of the pixels' rays at depth 1; kept for the cameras used last.

    Args:
        k: nine numbers of the camera matrix of an image of this size, row by row. Pixel centres lie at whole numbers.
        size: ``(height, width)``.

    Returns:
        x / z as ``(1, W)``, or ``(H, W)`` for a matrix with skew, and y / z as ``(H, 1)``; float32, read-only.

    Raises:
        ValueError: the matrix is not that of a calibrated camera.
    """
    numbers = tuple(float(value) for value in np.ravel(np.asarray(k, np.float64)))
    if len(numbers) != 9:
        raise ValueError(f"camera matrix: {len(numbers)} numbers instead of 9; points need the camera's intrinsics")
    if not (all(map(math.isfinite, numbers)) and numbers[0] > 0 and numbers[4] > 0):
        raise ValueError(
            f"camera matrix: focal lengths fx = {numbers[0]:g}, fy = {numbers[4]:g} of an uncalibrated camera; "
            "publish a calibrated camera_info"
        )
    return _rays(numbers, (int(size[0]), int(size[1])))


@lru_cache(maxsize=8)
def _rays(k: tuple[float, ...], size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    fx, skew, cx, _, fy, cy = k[:6]
    y = ((np.arange(size[0]) - cy) / fy)[:, None]
    x = ((np.arange(size[1]) - cx) / fx)[None, :]
    if skew:
        x = x - skew / fx * y
    rays = x.astype(np.float32), y.astype(np.float32)
    for ray in rays:
        ray.flags.writeable = False  # they are handed out again and again
    return rays


def pack_points(
    depth: NDArray[np.float32],
    k: Sequence[float],
    rgb: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    confidence: NDArray[np.uint8] | None = None,
    stride: int = 1,
) -> NDArray[np.uint32]:
    """Lay out the points of one frame as `FIELDS` says.

    Args:
        depth: ``(H, W)`` metres along the optical z axis; a pixel that is not finite and above 0 has no point.
        k: nine numbers of the camera matrix of an ``(H, W)`` image, row by row.
        rgb: ``(H, W, 3)`` uint8 RGB; in another size it is scaled.
        mask: ``(H, W)`` uint8 class ids.
        confidence: ``(H, W)`` uint8 probability x 255; None = not known, its byte is 0.
        stride: 1 = every pixel, 2 = every second row and column, and so on.

    Returns:
        ``(ceil(H / stride), ceil(W / stride), 5)`` little-endian words of four bytes: the pixel (row v, column u) of
        the cloud is that of ``mask[::stride, ::stride]``. x right, y down, z forward in metres; all three are NaN
        where there is no point.

    Raises:
        ValueError: no calibrated camera matrix, arrays of different sizes, or a stride below 1.
    """
    height, width = depth.shape
    if stride < 1:
        raise ValueError(f"stride: {stride} is less than 1")
    for name, array in (("mask", mask), ("confidence", confidence)):
        if array is not None and array.shape != (height, width):
            raise ValueError(f"{name}: shape {array.shape} is not the depth's, {(height, width)}")
    x, y = pixel_rays(k, (height, width))
    if rgb.shape[:2] != (height, width):
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if stride > 1:
        depth, rgb, mask = depth[::stride, ::stride], rgb[::stride, ::stride], mask[::stride, ::stride]
        x, y = x[::stride, ::stride] if len(x) > 1 else x[:, ::stride], y[::stride]
        confidence = None if confidence is None else confidence[::stride, ::stride]

    # NaN passes through the products; infinity would not (times 0 at the centre, and infinite points elsewhere).
    depth = np.asarray(depth, np.float32)
    z = np.where((depth > 0) & (depth < np.inf), depth, np.float32(np.nan))
    # As PCL and rviz read it: 0x00rrggbb in the bits of a float. With a fourth byte of 255 a red above 127 would be a
    # NaN, and a reader that skips NaNs would leave such points out.
    colour = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGRA).view("<u4")[..., 0]
    colour &= 0x00FFFFFF
    nothing = np.zeros(mask.shape, np.uint8)
    sure = nothing if confidence is None else np.ascontiguousarray(confidence)
    labels = cv2.merge([np.ascontiguousarray(mask), sure, nothing, nothing])
    # OpenCV interleaves four times as fast as NumPy writes into every fifth word; it only moves the bits.
    words = cv2.merge([z * x, z * y, z, colour.view("<f4"), labels.view("<f4")[..., 0]])
    return np.asarray(words).view("<u4").reshape(*depth.shape, POINT_STEP // 4)


def as_message(header: Any, words: NDArray[np.uint32], fields: Sequence[tuple[str, int, int]] = FIELDS) -> Any:
    """Make a `sensor_msgs/PointCloud2`, organised like the mask, with points that are NaN.

    Args:
        header: of the input image, so that cloud and images pair exactly; its frame must be the optical one.
        words: of `pack_points`.
        fields: what readers are told of; without the last one where the confidence is not known.
    """
    from sensor_msgs.msg import PointCloud2, PointField  # here, so that the arithmetic works where ROS is not installed

    message = PointCloud2()
    message.header = header
    message.height, message.width = words.shape[:2]
    message.fields = [PointField(name=name, offset=offset, datatype=kind, count=1) for name, offset, kind in fields]
    message.is_bigendian = False
    message.point_step = POINT_STEP
    message.row_step = POINT_STEP * words.shape[1]
    message.is_dense = False
    # The one fast way: assigning an array checks or copies byte by byte.
    message.data.frombytes(words.data.cast("B"))
    return message
