"""Camera messages to RGB arrays, and arrays to message payloads.

Works on the fields of `sensor_msgs/Image` and needs no ROS. What a message claims is checked against what it holds
before anything is decoded, because drivers do send short buffers, odd steps and encodings that nobody expects.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
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
    """How one encoding lies in memory. All are 8 bit, so byte order never matters.

    Attributes:
        channels: bytes a pixel in one row.
        to_rgb: OpenCV conversion to RGB; None if it is RGB already.
        even_width: whether two neighbouring columns share colour.
        even_height: whether two neighbouring rows share colour, in extra rows below the image.
    """

    channels: int
    to_rgb: int | None
    even_width: bool = False
    even_height: bool = False


_UYVY = Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True)
_YUYV = Encoding(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True)

ENCODINGS: Mapping[str, Encoding] = {
    "rgb8": Encoding(3, None),
    "bgr8": Encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": Encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": Encoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": Encoding(1, cv2.COLOR_GRAY2RGB),
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    "nv12": Encoding(1, cv2.COLOR_YUV2RGB_NV12, even_width=True, even_height=True),
    # ROS names the first two pixels of the first two rows, OpenCV those of the second row and column.
    "bayer_rggb8": Encoding(1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": Encoding(1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": Encoding(1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": Encoding(1, cv2.COLOR_BayerGB2RGB),
}
"""Every encoding that `decode_image` takes, by its ROS name."""


def check_image(message: ImageFields, max_pixels: int) -> None:
    """Check an image's fields against each other, in microseconds and without touching the pixels.

    Args:
        message: `sensor_msgs/Image` or anything with its fields.
        max_pixels: largest height x width.

    Raises:
        RejectedFrame: reason ``size_zero``, ``size_huge``, ``encoding``, ``size_odd``, ``step`` or ``data_short``.
    """
    height, width = message.height, message.width
    if height <= 0 or width <= 0:
        raise RejectedFrame("size_zero", f"image is {width} x {height}")
    if height * width > max_pixels:
        raise RejectedFrame("size_huge", f"image is {width} x {height}, more than max_pixels = {max_pixels}")
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise RejectedFrame("encoding", f"encoding {message.encoding[:40]!r} is none of {', '.join(ENCODINGS)}")
    if (encoding.even_width and width % 2) or (encoding.even_height and height % 2):
        raise RejectedFrame("size_odd", f"image is {width} x {height}; {message.encoding} needs even sizes")
    if message.step < width * encoding.channels:
        raise RejectedFrame(
            "step",
            f"step {message.step} is less than the {width * encoding.channels} bytes of a row in {message.encoding}",
        )
    needed = message.step * _rows(message, encoding)
    if len(message.data) < needed:
        raise RejectedFrame("data_short", f"{len(message.data)} bytes of data, {needed} needed")


def decode_image(message: ImageFields) -> NDArray[np.uint8]:
    """Turn a checked message into an RGB image.

    Args:
        message: fields that `check_image` accepted.

    Returns:
        ``(H, W, 3)`` uint8 RGB; for rgb8 a view of the message's own bytes, rows perhaps padded.
    """
    encoding = ENCODINGS[message.encoding]
    rows, width = _rows(message, encoding), message.width
    # Rows are cut by bytes: a step need not be a multiple of the pixel.
    lines = np.frombuffer(message.data, np.uint8, rows * message.step).reshape(rows, message.step)
    pixels = lines[:, : width * encoding.channels]
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
