"""The one exception that a person, not a programmer, is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "did_you_mean"]


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that says what is wrong, where, with which value, and what would mend it. Command lines
    print it as it is and exit with status 2; the ROS node reports it and stays unconfigured. A programming error
    is never raised as an ``InputError``, so that its traceback is not hidden.
    """


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``"did you mean 'x'? "`` for the known name that is nearest to a mistyped one; nothing where none is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
