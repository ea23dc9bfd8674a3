"""What is odd about a camera's time stamps: zero, in the future, going back."""

from __future__ import annotations

__all__ = ["StampCheck"]

_FUTURE_TOLERANCE = 500_000_000
"""Nanoseconds that a camera's clock may be ahead: two synchronised machines differ by far less."""


class StampCheck:
    """Compares each stamp with the clock and with the stamp before.

    An odd stamp does not make the image wrong: the frame is used, with its own stamp, and the oddity is counted.
    """

    def __init__(self) -> None:
        self._previous: int | None = None

    def problem(self, stamp: int, now: int) -> str | None:
        """Name what is odd about the next frame's stamp.

        Args:
            stamp: the frame's stamp, nanoseconds.
            now: the node's clock, nanoseconds.

        Returns:
            ``stamp_zero``, ``stamp_future``, ``stamp_back`` (a bag began again, or frames came out of order), or None.
        """
        previous, self._previous = self._previous, stamp
        if stamp <= 0:
            return "stamp_zero"
        if previous is not None and stamp < previous:
            return "stamp_back"
        if stamp > now + _FUTURE_TOLERANCE:
            return "stamp_future"
        return None
