"""Camera intrinsics of the published images. Plain arithmetic on the fields of `sensor_msgs/CameraInfo`."""

from __future__ import annotations

import copy
import math
from typing import Any

__all__ = ["image_intrinsics", "scale_camera_info"]

_SHORTEST, _LONGEST = 0.02, 200.0
"""Of focal lengths, as a multiple of the image's side: beyond them it is a mistake, of units most often."""


def scale_camera_info(info: Any, image_size: tuple[int, int], output_size: tuple[int, int]) -> Any:
    """Describe the camera of an output image.

    Pixel centres lie at whole numbers, so that a corner of the image is at -0.5 and a principal point moves as
    ``(c + 0.5) s - 0.5``. Distortion and rectification do not depend on the size.

    Args:
        info: `sensor_msgs/CameraInfo` of the input; left as it is. Its binning and region of interest are applied.
        image_size: ``(height, width)`` of the input image.
        output_size: ``(height, width)`` of the output image.

    Returns:
        A new message of the same type, for an unbinned image without a region of interest; the header is copied.

    Raises:
        ValueError: the camera info is of another size than the image, so that its intrinsics are not the image's; or
            its region of interest lies outside its own image, a matrix has another number of elements, or a focal
            length is none in pixels.
    """
    if len(info.k) != 9 or len(info.p) != 12:
        raise ValueError(
            f"camera_info has a k of {len(info.k)} and a p of {len(info.p)} numbers, not 9 and 12: not used"
        )
    region = info.roi if info.roi.width and info.roi.height else None
    binning_x, binning_y = max(1, info.binning_x), max(1, info.binning_y)
    width = (region.width if region else info.width) // binning_x
    height = (region.height if region else info.height) // binning_y
    if (height, width) != tuple(image_size):
        raise ValueError(
            f"camera_info is of a {width} x {height} image, the image is {image_size[1]} x {image_size[0]}: not used"
        )
    focal = [abs(info.k[0]) / max(1, info.width), abs(info.k[4]) / max(1, info.height)]
    if all(map(math.isfinite, focal)) and all(focal) and not all(_SHORTEST <= f <= _LONGEST for f in focal):
        raise ValueError(
            f"camera_info has focal lengths of {info.k[0]:g} and {info.k[4]:g}, which an image of {info.width} x "
            f"{info.height} pixels cannot have; they are in pixels: not used"
        )
    left, top = (region.x_offset, region.y_offset) if region else (0, 0)
    if region and (left + region.width > info.width or top + region.height > info.height):
        raise ValueError(
            f"camera_info's roi {region.width} x {region.height} at x {left}, y {top} is not inside its own "
            f"{info.width} x {info.height}: not used"
        )
    scale_x = output_size[1] / image_size[1] / binning_x
    scale_y = output_size[0] / image_size[0] / binning_y

    out = copy.deepcopy(info)
    out.height, out.width = output_size
    out.k = _scaled(info.k, 3, left, top, scale_x, scale_y)
    out.p = _scaled(info.p, 4, left, top, scale_x, scale_y)
    out.binning_x = out.binning_y = 0
    out.roi = type(info.roi)()
    return out


def image_intrinsics(info: Any, image_size: tuple[int, int]) -> list[float] | None:
    """The camera matrix of an image.

    Args:
        info: `sensor_msgs/CameraInfo` of the image. Its binning and region of interest are applied.
        image_size: ``(height, width)`` of the image.

    Returns:
        The nine numbers of its ``k``, row by row; None where nobody calibrated the camera, or not into numbers.

    Raises:
        ValueError: as `scale_camera_info`.
    """
    k: list[float] = scale_camera_info(info, image_size, image_size).k
    return [float(x) for x in k] if all(map(math.isfinite, k)) and min(k[0], k[4]) > 0 else None


def _scaled(matrix: Any, columns: int, left: float, top: float, scale_x: float, scale_y: float) -> list[float]:
    """Crop and scale a row-major 3 x ``columns`` projection."""
    out = [float(value) for value in matrix]
    if not out[0]:  # an uncalibrated camera is all zero and stays so
        return out
    for row, (offset, scale) in enumerate(((left, scale_x), (top, scale_y))):
        centre = row * columns + 2
        principal = (out[centre] - offset + 0.5) * scale - 0.5
        out[row * columns : (row + 1) * columns] = [
            value * scale for value in out[row * columns : (row + 1) * columns]
        ]  # focal length, skew and, in P, the baseline term
        out[centre] = principal
    return out
