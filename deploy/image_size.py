"""Sizes on a command line."""

from __future__ import annotations

from densemtl_core.errors import InputError

__all__ = ["image_size"]


def image_size(option: str, text: str, multiple: int = 32) -> tuple[int, int]:
    """``(H, W)`` of ``256x512``.

    Args:
        option: for the message.
        text: that was given.
        multiple: of which both sides must be one.

    Raises:
        InputError: no such size.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) > 0 and int(p) % multiple == 0 for p in parts):
        rule = f", both multiples of {multiple}" if multiple > 1 else ""
        raise InputError(f"{option} is {text!r}; give HEIGHTxWIDTH{rule}, e.g. 256x512")
    return int(parts[0]), int(parts[1])
