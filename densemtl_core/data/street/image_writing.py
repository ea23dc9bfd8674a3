"""Arrays to PNG and JPEG files; a full disk is an error, not a silent half of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["rgb8", "write_image"]


def rgb8(image: Tensor) -> NDArray[np.uint8]:
    """``(3, H, W)`` RGB in [0, 1] to ``(H, W, 3)`` uint8."""
    pixels: NDArray[np.uint8] = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels


def write_image(path: Path, pixels: NDArray[Any]) -> None:
    """Write an image in the format of its suffix; missing folders are made.

    Args:
        path: ``.png``, or ``.jpg`` (quality 95).
        pixels: ``(H, W)`` uint8 or uint16, or ``(H, W, 3)`` uint8 RGB.

    Raises:
        OSError: it cannot be written.
    """
    ordered = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    done, data = cv2.imencode(path.suffix, ordered, [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else [])
    if not done:
        raise OSError(f"{path}: pixels of shape {pixels.shape} and {pixels.dtype} cannot be encoded")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
