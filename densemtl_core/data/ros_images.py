"""Camera messages of ROS as arrays: `sensor_msgs/Image` and `sensor_msgs/CompressedImage`, read without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from densemtl_core.errors import InputError

__all__ = ["ENCODINGS", "decode_compressed_message", "decode_image_message"]


@dataclass(frozen=True)
class _Encoding:
    """How the bytes of a row are pixels; all are 8 bit, so byte order never matters.

    Attributes:
        channels: bytes a pixel.
        to_rgb: OpenCV's conversion, None where the bytes are RGB already.
        paired: whether two neighbouring columns share their colour.
    """

    channels: int
    to_rgb: int | None
    paired: bool = False


_UYVY, _YUYV = _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, True), _Encoding(2, cv2.COLOR_YUV2RGB_YUY2, True)

ENCODINGS: Mapping[str, _Encoding] = {
    "rgb8": _Encoding(3, None),
    "bgr8": _Encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": _Encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Encoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": _Encoding(1, cv2.COLOR_GRAY2RGB),
    # ROS names a pattern by the pixels of its first two rows, OpenCV by the second pixels of the second two.
    "bayer_rggb8": _Encoding(1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": _Encoding(1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": _Encoding(1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": _Encoding(1, cv2.COLOR_BayerGB2RGB),
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
}
"""The encodings of `sensor_msgs/Image` that are pictures, by their ROS names."""

_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND"}
"""How a whole JPEG and PNG begin and end: decoders fill what is missing with grey and say nothing."""
_TRAILER = 4096
"""Bytes with which some cameras pad the end."""


def decode_image_message(message: Any, where: str) -> NDArray[np.uint8]:
    """The picture in a `sensor_msgs/Image`.

    Args:
        message: anything with its fields ``height``, ``width``, ``encoding``, ``step`` (bytes a row, padding among
            them) and ``data``.
        where: the message's name, for errors.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        InputError: an encoding that is no picture of 8 bit, or fields that do not fit each other.
    """
    height, width, step, data = message.height, message.width, message.step, message.data
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise InputError(
            f"{where}: encoding {message.encoding[:40]!r} is not known; record a topic in one of {', '.join(ENCODINGS)}"
        )
    if not height or not width or (encoding.paired and width % 2):
        even = ", and its width even" if encoding.paired else ""
        raise InputError(
            f"{where}: the {message.encoding} image is {width}x{height}; each must be at least 1{even}: record it again"
        )
    row = width * encoding.channels
    if step < row:
        raise InputError(f"{where}: step is {step}, less than the {row} bytes of a row of {width} pixels; record again")
    if len(data) < height * step:
        raise InputError(
            f"{where}: holds {len(data)} bytes of data, less than height * step = {height} * {step} = {height * step}; "
            "record it again"
        )
    # Rows are cut by bytes: a step need not be a multiple of the pixel.
    pixels = np.frombuffer(data, np.uint8, height * step).reshape(height, step)[:, :row]
    pixels = pixels.reshape(height, width, encoding.channels) if encoding.channels > 1 else pixels
    if encoding.to_rgb is None:
        return pixels
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), encoding.to_rgb), np.uint8)


def decode_compressed_message(message: Any, where: str) -> NDArray[np.uint8]:
    """The picture in a `sensor_msgs/CompressedImage` (JPEG, PNG or whatever else OpenCV reads).

    Args:
        message: anything with its field ``data``.
        where: the message's name, for errors.

    Returns:
        ``(H, W, 3)`` uint8 RGB, never turned by an EXIF orientation: camera_info describes the sensor.

    Raises:
        InputError: not a picture, or not a whole one.
    """
    data = np.frombuffer(message.data, np.uint8)
    head, tail = data[:8].tobytes(), data[-_TRAILER:].tobytes()
    if any(head.startswith(begin) and end not in tail for begin, end in _ENDS.items()):
        raise InputError(f"{where}: the compressed image ends early after {len(data)} bytes; record it again")
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(data) else None
    except cv2.error:
        bgr = None
    if bgr is None:
        kind = str(getattr(message, "format", ""))[:40]
        raise InputError(
            f"{where}: {len(data)} bytes (format {kind!r}) are no readable image; take another topic, or record again"
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
