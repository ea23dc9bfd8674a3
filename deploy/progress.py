"""How far a long command is: a line a stage with the time since the start, and frames counted within a stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

__all__ = ["Progress"]

CLEAR = "\r\033[K"


class Progress:
    """Tells stages and counts; on a terminal a count is a line that changes, elsewhere a line every few seconds.

    Args:
        stream: to write to; None: nothing is told.
        every: seconds between two lines of a count where the stream is no terminal.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self, stream: TextIO | None = None, *, every: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._every, self._clock = stream, every, clock
        self._begun = self._told = clock()
        self._terminal = stream is not None and stream.isatty()
        self._live = False
        self._what, self._total = "", 0

    def stage(self, what: str, total: int = 0) -> None:
        """Begin a stage.

        Args:
            what: it does.
            total: how many `done` will count to; 0: nothing is counted.
        """
        self._what, self._total = what, total
        self.tell(f"{self._elapsed()} {what}{f': {total} frames' if total else ''} ...")
        self._told = self._clock()

    def done(self, count: int) -> None:
        """So many of the stage's frames are done."""
        line = f"{self._elapsed()} {self._what}: {count} of {self._total} frames"
        if self._stream is not None and self._terminal:
            self._stream.write(f"{CLEAR}{line}")
            self._stream.flush()
            self._live = True
        elif self._clock() - self._told >= self._every:
            self.tell(line)
            self._told = self._clock()

    def tell(self, line: str) -> None:
        """Write a line that stays."""
        if self._stream is None:
            return
        self.clear()
        print(line, file=self._stream, flush=True)

    def clear(self) -> None:
        """Take the changing line away, before somebody else writes."""
        if self._live and self._stream is not None:
            self._stream.write(CLEAR)
            self._stream.flush()
            self._live = False

    def _elapsed(self) -> str:
        return f"[{self._clock() - self._begun:4.0f} s]"
