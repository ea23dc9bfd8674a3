"""Footage of which a few frames cannot be read: a robot's recording is seldom without one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

import torch

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError

__all__ = ["ReadableFrames"]

log = logging.getLogger(__name__)

SHARE = 0.05
"""Of the footage may be unreadable; beyond that it was not copied or recorded as it should be."""


class ReadableFrames(torch.utils.data.Dataset[Sample]):
    """Puts the next frame that can be read in the place of one that cannot: always the same, in every process and run.

    Each unreadable one is told once. For footage without labels only: there one frame is as good as the next, while
    a data set that somebody labelled should be mended.

    Args:
        dataset: unbatched samples.
        broken: faults of `dataset` that are known already, each the line that reading it would raise.

    Raises:
        InputError: more than a twentieth cannot be read (of fewer than forty, more than one), now or when it turns
            out; or the only one.
    """

    def __init__(self, dataset: torch.utils.data.Dataset[Sample], broken: Sequence[str] = ()) -> None:
        self.dataset = dataset
        self.length = len(dataset)  # type: ignore[arg-type]
        self.broken: set[str] = set()  # by message: with neighbouring frames, one bad file spoils several samples
        self._note(*broken)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        index = range(self.length)[index]
        for step in range(self.length):
            try:
                return self.dataset[(index + step) % self.length]
            except InputError as error:
                self._note(str(error))
                last = error
        raise last

    def _note(self, *faults: str) -> None:
        self.broken.update(faults)
        if len(self.broken) > max(1, int(SHARE * self.length)):
            raise InputError(
                f"at least {len(self.broken)} of {self.length} frames cannot be read, more than the {SHARE:.0%} that "
                f"others can stand in for, among them {faults[0]}"
            )
        for fault in faults:
            _tell(fault)


@cache
def _tell(fault: str) -> None:
    log.warning("left out, the next frame stands in: %s", fault)
