"""Sizes on a command line."""

from __future__ import annotations

from densemtl_core.errors import InputError
from densemtl_core.runtime.manifest import LARGEST

__all__ = ["LARGEST_AREA", "image_size"]

LARGEST_AREA = 2048 * 4096
"""Pixels of a working size: what is larger than a 4K camera's image would take the memory of any robot."""


def image_size(option: str, text: str, multiple: int = 32) -> tuple[int, int]:
    """``(H, W)`` of ``256x512``.

    Args:
        option: for the message.
        text: that was given.
        multiple: of which both sides must be one; 1: the size is a camera's, at which no network works.

    Raises:
        InputError: no such size, or one that no bundle may have.
    """
    parts = text.lower().split("x")
    sides = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 10]
    if len(parts) != 2 or len(sides) != 2 or not all(side > 0 and side % multiple == 0 for side in sides):
        rule = f", both multiples of {multiple}" if multiple > 1 else ""
        raise InputError(f"{option} is {text!r}; give HEIGHTxWIDTH{rule}, e.g. 256x512")
    height, width = sides
    if multiple > 1 and (max(sides) > LARGEST or height * width > LARGEST_AREA):
        raise InputError(
            f"{option} is {text!r}; a network works at no more than {LARGEST} pixels a side and "
            f"{LARGEST_AREA / 1e6:.1f} million in all"
        )
    return height, width
