"""Curves and pictures of a run for TensorBoard (``tensorboard --logdir runs``); only local files are written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from densemtl_core.learning.written_files import writing
from densemtl_core.render import Picture
from training.picture_files import write_picture

__all__ = ["Curves"]


class Curves:
    """Context manager around the event files of one run folder.

    Args:
        folder: the run folder.
        first: steps done before; later events of an interrupted run are hidden.

    Raises:
        UnwritableError: from every method: a file cannot be written, the disk is full, say.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self.folder, self._events = folder, folder / "tensorboard"
        self._first = first

    def __enter__(self) -> Curves:
        # The events are written by a thread, whose errors come back with the next call: no traceback of its own.
        self._before, threading.excepthook = threading.excepthook, self._hook
        try:
            with writing(self._events):
                purge = self._first + 1 if self._first else None
                self._writer = SummaryWriter(str(self._events), purge_step=purge)
        except BaseException:
            threading.excepthook = self._before
            raise
        return self

    def _hook(self, arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.exc_value, OSError):
            self._before(arguments)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with writing(self._events):
                    self._writer.flush()
            with contextlib.suppress(OSError):  # told by the flush, or of less interest than what ended the run
                self._writer.close()
        finally:
            threading.excepthook = self._before

    def losses(self, record: Mapping[str, float]) -> None:
        """Add a record of the history."""
        with writing(self._events):
            for name, value in record.items():
                if name != "step":
                    self._writer.add_scalar(f"train/{name}", value, int(record["step"]))

    def scores(self, step: int, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Add validation scores: task name to metric name to value."""
        with writing(self._events):
            for task, values in scores.items():
                for name, value in values.items():
                    self._writer.add_scalar(f"validation/{task}/{name}", value, step)

    def picture(self, step: int, picture: Picture) -> None:
        """Add the panel, and keep it as ``panels/step_*.png`` for people without TensorBoard."""
        write_picture(self.folder / "panels" / f"step_{step:08d}.png", picture)
        with writing(self._events):
            self._writer.add_image("validation", picture, step, dataformats="HWC")
            self._writer.flush()
