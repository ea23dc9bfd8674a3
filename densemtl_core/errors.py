"""The one exception that a person, not a programmer, is meant to read."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that says what is wrong, where, with which value, and what would mend it. Command lines
    print it as it is and exit with status 2; the ROS node reports it and stays unconfigured. A programming error
    is never raised as an ``InputError``, so that its traceback is not hidden.
    """
