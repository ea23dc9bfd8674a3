"""Pictures as PNG or JPEG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from densemtl_core.errors import InputError
from densemtl_core.learning.written_files import write_whole

__all__ = ["encoded", "png", "write_picture"]

QUALITY = 88
"""Of a JPEG, 0..100."""


def png(pixels: NDArray[Any]) -> bytes:
    """``(H, W, 3)`` uint8 RGB, or ``(H, W)`` uint8 or uint16, as a PNG's bytes.

    Raises:
        InputError: OpenCV does not encode it, which it says by a value that is easily overlooked.
    """
    done, data = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    if not done:
        raise InputError(f"a picture of shape {pixels.shape} and {pixels.dtype} cannot be encoded as PNG")
    return bytes(data)


def encoded(pixels: NDArray[Any], suffix: str) -> bytes:
    """``(H, W, 3)`` uint8 RGB as a file's bytes: a JPEG where the suffix says so, else a PNG."""
    if suffix.lower() not in (".jpg", ".jpeg"):
        return png(pixels)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(data)


def write_picture(path: Path, pixels: NDArray[Any]) -> None:
    """Write a picture for `png`, whole or not at all.

    Raises:
        UnwritableError: the disk is full, say.
    """
    write_whole(path, png(pixels))
