"""Camera messages to RGB arrays, and arrays to message payloads.

Works on the fields of `sensor_msgs/Image` and needs no ROS. What a message claims is checked against what it holds
before anything is decoded, because drivers do send short buffers, odd steps and encodings that nobody expects.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["ENCODINGS", "Encoding", "ImageFields", "RejectedFrame", "check_image", "decode_image", "fill_image"]


class RejectedFrame(Exception):  # noqa: N818 - an outcome that is counted, not a fault
    """A frame that cannot be used.

    Attributes:
        reason: short name under which such frames are counted, ``data_short`` say.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ImageFields(Protocol):
    """The fields of `sensor_msgs/Image` that matter here."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


@dataclass(frozen=True)
class Encoding:
    """How one encoding lies in memory.

    Attributes:
        channels: samples a pixel in one row.
        to_rgb: OpenCV conversion to RGB; None if it is RGB already.
        even_width: whether two neighbouring columns share colour.
        even_height: whether two neighbouring rows share colour, in extra rows below the image.
        sample_bytes: 1, or 2 whose high byte is used: a 16 bit sample spans 0 to 65535, whatever the sensor's depth.
        smallest: least height and width; a mosaic takes its colours from neighbours.
    """

    channels: int
    to_rgb: int | None
    even_width: bool = False
    even_height: bool = False
    sample_bytes: int = 1
    smallest: int = 1

    def row_bytes(self, width: int) -> int:
        """Bytes of one row without padding."""
        return width * self.channels * self.sample_bytes


_BGR = Encoding(3, cv2.COLOR_BGR2RGB)
_BGRA = Encoding(4, cv2.COLOR_BGRA2RGB)
_MONO = Encoding(1, cv2.COLOR_GRAY2RGB)
_UYVY = Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True)
_YUYV = Encoding(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True)

_EIGHT_BIT = {
    "rgb8": Encoding(3, None),
    "bgr8": _BGR,
    "rgba8": Encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _BGRA,
    "mono8": _MONO,
    # OpenCV's names for its own arrays, which hold blue first; rviz shows them so too.
    "8UC1": _MONO,
    "8UC3": _BGR,
    "8UC4": _BGRA,
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    "nv12": Encoding(1, cv2.COLOR_YUV2RGB_NV12, even_width=True, even_height=True),
    "nv21": Encoding(1, cv2.COLOR_YUV2RGB_NV21, even_width=True, even_height=True),
    # ROS names the first two pixels of the first two rows, OpenCV those of the second row and column.
    "bayer_rggb8": Encoding(1, cv2.COLOR_BayerBG2RGB, smallest=3),
    "bayer_bggr8": Encoding(1, cv2.COLOR_BayerRG2RGB, smallest=3),
    "bayer_gbrg8": Encoding(1, cv2.COLOR_BayerGR2RGB, smallest=3),
    "bayer_grbg8": Encoding(1, cv2.COLOR_BayerGB2RGB, smallest=3),
}
_SIXTEEN_BIT = ("rgb", "bgr", "mono", "bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg")

ENCODINGS: Mapping[str, Encoding] = _EIGHT_BIT | {
    f"{name}16": replace(_EIGHT_BIT[f"{name}8"], sample_bytes=2) for name in _SIXTEEN_BIT
}
"""Every encoding that `decode_image` takes, by its ROS name."""

_DEPTH = ("16UC1", "32FC1")


def check_image(message: ImageFields, max_pixels: int) -> None:
    """Check an image's fields against each other, in microseconds and without touching the pixels.

    Args:
        message: `sensor_msgs/Image` or anything with its fields.
        max_pixels: largest height x width.

    Raises:
        RejectedFrame: reason ``size_zero``, ``size_huge``, ``encoding``, ``size_odd``, ``size_small``, ``step`` or
            ``data_short``.
    """
    height, width = message.height, message.width
    size = f"width {width} x height {height}"
    if height <= 0 or width <= 0:
        raise RejectedFrame("size_zero", f"{size}: both must be above 0")
    if height * width > max_pixels:
        raise RejectedFrame("size_huge", f"{size} is more than max_pixels = {max_pixels}")
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise RejectedFrame("encoding", _unknown(message.encoding))
    if (encoding.even_width and width % 2) or (encoding.even_height and height % 2):
        sides = "width and height" if encoding.even_height else "width"
        raise RejectedFrame("size_odd", f"{size}: {message.encoding} needs an even {sides}")
    if min(height, width) < encoding.smallest:
        raise RejectedFrame("size_small", f"{size}: {message.encoding} needs at least {encoding.smallest} each way")
    row = encoding.row_bytes(width)
    if message.step < row:
        raise RejectedFrame("step", f"step {message.step} is less than the {row} bytes of a row in {message.encoding}")
    rows = _rows(message, encoding)
    if len(message.data) < message.step * rows:
        raise RejectedFrame(
            "data_short",
            f"{len(message.data)} bytes of data, {message.step * rows} needed: step {message.step} x {rows} rows",
        )


def decode_image(message: ImageFields) -> NDArray[np.uint8]:
    """Turn a checked message into an RGB image.

    YUV is ITU-R BT.601 in video range (16 to 235), as cameras send it. A mosaic is interpolated linearly.

    Args:
        message: fields that `check_image` accepted.

    Returns:
        ``(H, W, 3)`` uint8 RGB; for rgb8 a view of the message's own bytes, rows perhaps padded.
    """
    encoding = ENCODINGS[message.encoding]
    rows, width = _rows(message, encoding), message.width
    # Rows are cut by bytes: a step need not be a multiple of the pixel.
    lines = np.frombuffer(message.data, np.uint8, rows * message.step).reshape(rows, message.step)
    pixels = lines[:, : encoding.row_bytes(width)]
    if encoding.sample_bytes == 2:
        halves = np.ascontiguousarray(pixels).reshape(rows, -1, 2)
        pixels = cv2.extractChannel(halves, 0 if message.is_bigendian else 1)
    if encoding.channels > 1:
        pixels = pixels.reshape(rows, width, encoding.channels)
    if encoding.to_rgb is None:
        return pixels
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), encoding.to_rgb), np.uint8)


def fill_image(message: Any, array: NDArray[Any], encoding: str) -> None:
    """Write an array into a fresh `sensor_msgs/Image`.

    Args:
        message: a message whose ``data`` is still empty; its header is left alone.
        array: ``(H, W)`` or ``(H, W, C)`` in the dtype that the encoding names.
        encoding: ROS name of the encoding.
    """
    array = np.ascontiguousarray(array)
    message.height, message.width = array.shape[:2]
    message.encoding = encoding
    message.is_bigendian = int(sys.byteorder == "big" and array.itemsize > 1)
    # Not strides[0]: NumPy leaves the stride of an axis of length one undefined.
    message.step = array.nbytes // array.shape[0]
    # The one fast way: assigning an ndarray or bytes checks or copies byte by byte, up to 350 ms at 1080p.
    message.data.frombytes(array.data.cast("B"))


def _rows(message: ImageFields, encoding: Encoding) -> int:
    return message.height * 3 // 2 if encoding.even_height else message.height


def _unknown(name: str) -> str:
    if name in _DEPTH:
        return f"encoding {name!r} is that of a depth image: remap image to the camera's colour topic"
    return f"encoding {name[:40]!r} is none of {' '.join(ENCODINGS)}"
