"""Ctrl-C while a network trains."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType

__all__ = ["Interruption"]

log = logging.getLogger(__name__)


class Interruption:
    """Ctrl-C asks for the end of the step and a checkpoint; a second one takes effect at once.

    Args:
        alone: there is one process; several would not stop at the same step, and are ended as ever.

    Attributes:
        asked: whether it was pressed.
    """

    def __init__(self, alone: bool) -> None:
        # Python lets only the main thread listen.
        self._listens = alone and threading.current_thread() is threading.main_thread()
        self.asked = False

    def __enter__(self) -> Interruption:
        if self._listens:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.warning("stopping after this step; Ctrl-C again to stop at once")
