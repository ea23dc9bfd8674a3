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
_PNG_HEADER = b"\0\0\0\x0dIHDR"
_JPEG = b"\xff\xd8\xff"
_START_OF_SCAN = b"\xff\xda"
_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
"""JPEG markers that are not followed by a length."""
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SCANS = 100
"""Of one JPEG. A progressive one has about ten; each costs a pass over the image, and may be a few bytes long."""
_ZEROS = bytes(65536)
_DEPTH_HEADER = 12
"""Bytes that compressed_depth_image_transport puts before its PNG."""


def check_compressed(data: Any, max_pixels: int, format_name: str = "") -> tuple[int, int]:
    """Check kind, size and end of a compressed image without decoding it.

    Args:
        data: the bytes of ``sensor_msgs/CompressedImage.data``.
        max_pixels: largest height x width.
        format_name: the message's ``format``. It tells depth and mosaics from pictures; for all else the data decide,
            since drivers write what they like there.

    Returns:
        ``(height, width)`` that the header claims.

    Raises:
        RejectedFrame: reason ``data_short``, ``encoding``, ``corrupt``, ``size_zero`` or ``size_huge``.
    """
    _check_format(format_name)
    view = memoryview(data).cast("B")
    if len(view) == 0:
        raise RejectedFrame("data_short", "0 bytes of data, a JPEG or PNG needed")
    if view[:8] == _PNG:
        size = _png_size(view)
    elif view[:3] == _JPEG:
        size = _jpeg_size(view)
        _check_jpeg_end(view)
    elif view[_DEPTH_HEADER : _DEPTH_HEADER + 8] == _PNG:
        raise RejectedFrame("encoding", "data is a compressedDepth image: remap image to the camera's colour topic")
    else:
        raise RejectedFrame("encoding", f"data begins with {bytes(view[:4]).hex(' ')}: neither JPEG nor PNG")
    if size is None:
        raise RejectedFrame("corrupt", f"{len(view)} bytes of data have no readable JPEG or PNG header")
    if 0 in size:
        raise RejectedFrame("size_zero", f"width {size[1]} x height {size[0]} in the header: both must be above 0")
    if size[0] * size[1] > max_pixels:
        raise RejectedFrame("size_huge", f"width {size[1]} x height {size[0]} is more than max_pixels = {max_pixels}")
    return size


def decode_compressed(data: Any) -> NDArray[np.uint8]:
    """Decode a checked JPEG or PNG.

    Args:
        data: bytes that `check_compressed` accepted.

    Returns:
        ``(H, W, 3)`` uint8 RGB. Never turned by an EXIF orientation: camera_info describes the sensor. Grey becomes
        three equal channels, of 16 bit the high byte is kept, alpha is dropped.

    Raises:
        RejectedFrame: reason ``corrupt``.
    """
    packed = bytes(data)
    (_check_chunks if packed[:8] == _PNG else _check_scans)(packed)
    try:
        # The flag also keeps a 16 bit or grey file to 8 bit and three channels.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(packed, np.uint8), flags)
    except cv2.error as error:
        text = " ".join(str(error.err).split())
        raise RejectedFrame("corrupt", f"cannot decode the {len(data)} bytes of data as JPEG or PNG: {text}") from None
    if bgr is None:
        raise RejectedFrame("corrupt", f"cannot decode the {len(data)} bytes of data as JPEG or PNG")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _check_scans(jpeg: bytes) -> None:
    scans = jpeg.count(_START_OF_SCAN)
    if scans > _MOST_SCANS:
        raise RejectedFrame("corrupt", f"{scans} scans in a JPEG, at most {_MOST_SCANS} are decoded")


def _check_chunks(png: bytes) -> None:
    """Refuse a PNG with a chunk that is longer than the file: OpenCV 5 allocates what the chunk claims, gigabytes."""
    at = 8
    while png[at + 4 : at + 8] != b"IEND":
        length = int.from_bytes(png[at : at + 4], "big")
        at += 12 + length
        if at >= len(png):
            raise RejectedFrame(
                "corrupt", f"{len(png)} bytes of data, a PNG whose chunk of {length} bytes goes to its end: it was cut"
            )


def _check_format(name: str) -> None:
    """Refuse what is packed as a picture and is none, by ``ORIGINAL; CODEC compressed [PIXELS]``."""
    original, _, packing = name[:80].partition(";")
    if "compressedDepth" in packing or original in ("16UC1", "32FC1"):
        raise RejectedFrame(
            "encoding", f"format {name[:80]!r} is that of a depth image: remap image to the camera's colour topic"
        )
    # image_transport packs a mosaic as if it were grey.
    if original.startswith("bayer_") and "bgr" not in packing and "rgb" not in packing:
        raise RejectedFrame(
            "encoding", f"format {name[:80]!r} is a mosaic packed as grey: compress the debayered colour topic instead"
        )


def _png_size(view: memoryview) -> tuple[int, int] | None:
    if len(view) < 24 or view[8:16] != _PNG_HEADER:
        return None
    return int.from_bytes(view[20:24], "big"), int.from_bytes(view[16:20], "big")


def _check_jpeg_end(view: memoryview) -> None:
    """Refuse a JPEG without an end marker. Zeros may follow it: drivers send whole buffers."""
    end = len(view)
    block = b""
    while end > 0 and block == _ZEROS[: len(block)]:
        block = bytes(view[max(0, end - len(_ZEROS)) : end])
        end -= len(_ZEROS)
    if not block.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise RejectedFrame("corrupt", f"{len(view)} bytes of data, a JPEG without its end FF D9: it was cut")


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
            # Decoders skip 00 where this walk would jump, and so could find another size than it does.
            if marker == 0 or length < 2:
                return None
            at += 2 + length
    return None
