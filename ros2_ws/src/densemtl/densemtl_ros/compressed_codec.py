"""JPEG and PNG camera messages to RGB arrays.

The size is read from the file's own header before it is decoded: a few bytes may claim gigabytes. A JPEG that ends
early is refused, because decoders fill the missing part with grey and say nothing.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from densemtl_ros.image_codec import RejectedFrame

__all__ = ["check_compressed", "decode_compressed"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
"""JPEG markers that are not followed by a length."""
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LONGEST_TRAILER = 4096
"""Zero bytes that some cameras pad the end of a JPEG with."""


def check_compressed(data: Any, max_pixels: int) -> tuple[int, int]:
    """Check kind, size and end of a compressed image without decoding it.

    Args:
        data: the bytes of ``sensor_msgs/CompressedImage.data``.
        max_pixels: largest height x width.

    Returns:
        ``(height, width)`` that the header claims.

    Raises:
        RejectedFrame: reason ``data_short``, ``encoding``, ``corrupt``, ``size_zero`` or ``size_huge``.
    """
    view = memoryview(data).cast("B")
    if len(view) == 0:
        raise RejectedFrame("data_short", "compressed image without data")
    if view[:8] == _PNG:
        size = (int.from_bytes(view[20:24], "big"), int.from_bytes(view[16:20], "big")) if len(view) >= 24 else None
    elif view[:3] == _JPEG:
        size = _jpeg_size(view)
        if not bytes(view[-_LONGEST_TRAILER:]).rstrip(b"\0").endswith(b"\xff\xd9"):
            raise RejectedFrame("corrupt", f"JPEG of {len(view)} bytes has no end: it was cut")
    else:
        raise RejectedFrame("encoding", f"neither JPEG nor PNG: begins with {bytes(view[:4]).hex()}")
    if size is None:
        raise RejectedFrame("corrupt", f"compressed image of {len(view)} bytes has no readable header")
    if 0 in size:
        raise RejectedFrame("size_zero", f"image is {size[1]} x {size[0]}")
    if size[0] * size[1] > max_pixels:
        raise RejectedFrame("size_huge", f"image is {size[1]} x {size[0]}, more than max_pixels = {max_pixels}")
    return size


def decode_compressed(data: Any) -> NDArray[np.uint8]:
    """Decode a checked JPEG or PNG.

    Args:
        data: bytes that `check_compressed` accepted.

    Returns:
        ``(H, W, 3)`` uint8 RGB, never turned by an EXIF orientation: camera_info describes the sensor.

    Raises:
        RejectedFrame: reason ``corrupt``.
    """
    try:
        # The flag also keeps a 16 bit or grey file to 8 bit and three channels.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise RejectedFrame("corrupt", f"cannot decode the compressed image: {error.err}") from None
    if bgr is None:
        raise RejectedFrame("corrupt", f"cannot decode the compressed image of {len(data)} bytes")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _jpeg_size(view: memoryview) -> tuple[int, int] | None:
    """Walk the segments to the start of frame; ``(height, width)``, or None if there is none."""
    at = 2
    while at + 9 <= len(view):
        if view[at] != 0xFF:
            return None
        marker = view[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _NO_LENGTH:
            at += 2
        elif marker in _START_OF_FRAME:
            return int.from_bytes(view[at + 5 : at + 7], "big"), int.from_bytes(view[at + 7 : at + 9], "big")
        else:
            length = int.from_bytes(view[at + 2 : at + 4], "big")
            if length < 2:
                return None
            at += 2 + length
    return None
