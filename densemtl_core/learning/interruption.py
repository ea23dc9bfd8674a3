"""Ctrl-C, or a scheduler's SIGTERM, while a network trains."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType, TracebackType

__all__ = ["STOPPING", "Interruption"]

log = logging.getLogger(__name__)

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""SIGTERM is how schedulers (Slurm, Kubernetes) announce that they will kill, some seconds before."""


class Interruption:
    """Either signal asks for the end of the step and a checkpoint; a second one takes effect at once.

    Args:
        alone: there is one process; several would not stop at the same step, and are ended as ever.

    Attributes:
        asked: whether a signal came.
    """

    def __init__(self, alone: bool) -> None:
        # Python lets only the main thread listen.
        self._listens = alone and threading.current_thread() is threading.main_thread()
        self.asked = False
        self._process = os.getpid()

    def __enter__(self) -> Interruption:
        if self._listens:
            self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listens:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a loading process that was born with this handler, and has not put its own in place yet
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.warning("stopping after this step; Ctrl-C again to stop at once")
