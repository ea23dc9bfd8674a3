"""A value of a file that somebody else wrote, and where in the file it stands: every reading says what it must be."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Iterator
from typing import Any

__all__ = ["Field", "FieldError"]

LONGEST = 500
"""Characters of a text."""
LONGEST_SHOWN = 60


class FieldError(ValueError):
    """A value is not what it must be. The message is one line: where, what it is, what it must be."""


class Field:
    """A value of JSON.

    Args:
        value: as the parser gave it.
        where: the way to it, ``tasks.depth.camera.focal`` say; empty for the whole file.
    """

    def __init__(self, value: Any, where: str = "") -> None:
        self.value, self.where = value, where

    def must(self, be: str) -> FieldError:
        """What to raise: the value is something else."""
        return FieldError(f"{self.where or 'the whole'} is {self.short()}; it must be {be}")

    def short(self) -> str:
        """The value on one line of a message."""
        plain = isinstance(self.value, str) and len(self.value) <= LONGEST_SHOWN
        return repr(self.value) if plain else reprlib.repr(self.value)

    def string(self) -> str:
        """Any text."""
        if not isinstance(self.value, str):
            raise self.must("a text")
        return self.value

    def text(self, least: int = 1) -> str:
        """A text of one line that can be printed, of at least so many characters."""
        value = self.string()
        if not value.isprintable() or not least <= len(value) <= LONGEST:
            raise self.must(f"a text of one line, {least} to {LONGEST} characters")
        return value

    def one_of(self, known: Collection[str]) -> str:
        """One of several texts."""
        if not isinstance(self.value, str) or self.value not in known:
            raise self.must(f"one of {', '.join(known)}" if known else "left out")
        return self.value

    def whole(self, least: int, most: int) -> int:
        """A whole number between two bounds, which it may reach."""
        # JSON's true is an int to Python
        if type(self.value) is not int or not least <= self.value <= most:
            raise self.must(f"a whole number from {least} to {most}")
        return self.value

    def number(self, above: float, most: float) -> float:
        """A number above one bound and at most another; never NaN."""
        if type(self.value) not in (int, float) or not above < self.value <= most:
            below = "" if most == math.inf else f" and at most {most:g}"
            raise self.must(f"a number above {above:g}{below}")
        return float(self.value)

    def array(self, least: int = 0, most: int = 1000) -> list[Field]:
        """The elements of an array."""
        if not isinstance(self.value, list | tuple) or not least <= len(self.value) <= most:
            size = f"{least}" if least == most else f"{least} to {most}"
            raise self.must(f"an array of {size} values")
        return [Field(value, f"{self.where}[{k}]") for k, value in enumerate(self.value)]

    def pairs(self) -> Iterator[tuple[str, Field]]:
        """Names and values of an object."""
        if not isinstance(self.value, dict):
            raise self.must("an object of names and values")
        for name, value in self.value.items():
            yield name, Field(value, f"{self.where}.{name}" if self.where else name)

    def members(self, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Field]:
        """Names and values of an object that has all of some names, and no others but optional ones."""
        found = dict(self.pairs())
        prefix = f"{self.where}." if self.where else ""
        for name in required:
            if name not in found:
                raise FieldError(f"{prefix}{name} is missing")
        for name in found:
            if name not in required and name not in optional:
                known = ", ".join([*required, *optional]) or "nothing"
                raise FieldError(f"{prefix}{Field(name).short()} is unknown; known here: {known}")
        return found
