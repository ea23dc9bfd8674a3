"""How fast a run goes, and how much of that time it waits for data: what says whether more loading would help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["PACE_FIGURES", "Pace"]

Item = TypeVar("Item")

PACE_FIGURES = ("steps_per_second", "images_per_second", "waiting", "loading")
"""What a record of the history says of speed; the only part of it that differs between two equal runs."""


class Pace:
    """Counts steps, and the time that is spent between them; what is not training (a checkpoint) is left out.

    On a GPU, which still works while this process waits, ``waiting`` is an upper bound of what data costs.

    Args:
        images: images a step, over all processes.
        loaders: loading processes of this process; 0 = it loads itself.
        clock: seconds.
    """

    def __init__(self, images: int, loaders: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.images, self.loaders, self._clock = images, loaders, clock
        self._whole, self._part = _Count(), _Count()
        self._mark: float | None = None

    def watched(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The same batches; counts how long each is waited for."""
        source = iter(batches)
        while True:
            self._add()
            asked = self._clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            if self._mark is not None:  # the first batch waits for its loaders to start: that is no pace
                self._add(waited=self._clock() - asked)
            self._mark = self._clock()
            yield batch

    def step(self) -> None:
        """One step is done."""
        self._add(steps=1)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is no training: writing a checkpoint, judging."""
        self._add()
        try:
            yield
        finally:
            if self._mark is not None:
                self._mark = self._clock()

    def figures(self, making: float = 0.0) -> dict[str, float]:
        """What a record tells (`PACE_FIGURES`): steps a second since the start; since the last call images a second.

        ``waiting`` is the share of the time in which there was no batch to train on, ``loading`` that in which the
        loading processes were busy, both since the last call.

        Args:
            making: seconds that making all batches took so far, over the loading processes.
        """
        self._add(making=making - self._whole.making)
        part, self._part = self._part, _Count()
        return {
            "steps_per_second": self._whole.steps / max(self._whole.seconds, 1e-9),
            "images_per_second": self.images * part.steps / max(part.seconds, 1e-9),
            **self._shares(part),
        }

    def summary(self) -> dict[str, float]:
        """``images_per_second``, ``waiting`` and ``loading`` of all steps."""
        whole = self._whole
        return {"images_per_second": self.images * whole.steps / max(whole.seconds, 1e-9), **self._shares(whole)}

    def _shares(self, count: _Count) -> dict[str, float]:
        seconds = max(count.seconds, 1e-9)
        waiting = count.waited / seconds
        loading = count.making / (self.loaders * seconds) if self.loaders else waiting
        return {"waiting": min(waiting, 1.0), "loading": min(loading, 1.0)}

    def _add(self, steps: int = 0, waited: float = 0.0, making: float = 0.0) -> None:
        now = self._clock()
        seconds = 0.0 if self._mark is None else now - self._mark
        if self._mark is not None:
            self._mark = now
        for count in (self._whole, self._part):
            count.steps += steps
            count.seconds += seconds
            count.waited += waited
            count.making += making


class _Count:
    def __init__(self) -> None:
        self.steps = 0
        self.seconds = self.waited = self.making = 0.0
