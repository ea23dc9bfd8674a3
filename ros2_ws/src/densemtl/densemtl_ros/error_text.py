"""Errors in the words that a person reads in a log."""

from __future__ import annotations

from densemtl_core.errors import InputError

__all__ = ["one_line"]


def one_line(error: BaseException) -> str:
    """An error in one line: its text alone if it is written for a person, else with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
