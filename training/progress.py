"""How a run shows itself: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from densemtl_core.learning.pace import PACE_FIGURES
from training.bottleneck import pace_text

__all__ = ["ProgressLine"]

log = logging.getLogger("densemtl.train")


class ProgressLine:
    """Context manager; `show` takes a record of the history.

    Args:
        steps: of the whole run.
        first: steps done before.
    """

    def __init__(self, steps: int, first: int = 0) -> None:
        self.steps, self.first = steps, first
        self._live: Progress | None = None

    def __enter__(self) -> ProgressLine:
        if sys.stderr.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._live = Progress(*columns)
            self._live.start()
            self._task = self._live.add_task("starting", total=self.steps, completed=self.first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, record: Mapping[str, float]) -> None:
        """Show step, losses, speed, and the share of the time that it waited for data."""
        losses = "  ".join(f"{k} {v:.3f}" for k, v in record.items() if k not in ("step", *PACE_FIGURES))
        text = f"{losses}  {record['steps_per_second']:.2f} it/s, {pace_text(record)}"
        if self._live is not None:
            self._live.update(self._task, completed=record["step"], description=text)
        else:
            log.info("step %d/%d  %s", record["step"], self.steps, text)
