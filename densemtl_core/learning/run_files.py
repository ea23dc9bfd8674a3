"""What a run leaves in its folder while it trains: checkpoints, and a record of every so many steps."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from densemtl_core.errors import InputError
from densemtl_core.learning.state_files import read_state, write_state

__all__ = ["HISTORY", "checkpoints", "newest_checkpoint", "read_history", "set_aside_later", "write_checkpoint"]

CHECKPOINTS, HISTORY = "checkpoints", "history.jsonl"

log = logging.getLogger(__name__)


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run folder, oldest first."""
    return sorted(p for p in (folder / CHECKPOINTS).glob("step_*") if p.is_dir())


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint of a run folder that can be read, and what it holds.

    Raises:
        InputError: there is none, or the oldest is damaged too.
    """
    found = checkpoints(folder)
    if not found:
        raise InputError(f"nothing to resume: {folder / CHECKPOINTS} has no checkpoint; start without --resume")
    for checkpoint in reversed(found):
        try:
            return checkpoint, read_state(checkpoint)
        except InputError as error:
            if checkpoint == found[0]:
                raise
            log.warning("%s; taking the one before", error)
    raise AssertionError("the loop returns or raises")


def write_checkpoint(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> None:
    """Write one, whole or not at all, and remove those older than the newest ones.

    Args:
        folder: of the run.
        step: that it is of.
        state: what `write_state` takes.
        keep: how many stay.
    """
    for left in (folder / CHECKPOINTS).glob(".step_*"):  # by a process that was killed while it wrote or removed
        shutil.rmtree(left, ignore_errors=True)
    written = write_state(folder / CHECKPOINTS / f"step_{step:08d}", state)
    for old in checkpoints(folder)[:-keep]:
        if old == written:
            continue
        # renamed first: an interrupted removal must not leave half a checkpoint under its name
        doomed = old.with_name(f".{old.name}.old")
        old.rename(doomed)
        shutil.rmtree(doomed)


def set_aside_later(folder: Path, step: int) -> None:
    """Rename checkpoints after a step from which the run goes on: they are of a run that was given up.

    Under their name they would be the newest, for the next resume and for what is kept.
    """
    for later in checkpoints(folder):
        if int(later.name.removeprefix("step_")) > step:
            aside = later.with_name(f"abandoned_{later.name}")
            shutil.rmtree(aside, ignore_errors=True)
            later.rename(aside)
            log.warning("going on from step %d: %s is now %s", step, later.name, aside.name)


def read_history(folder: Path) -> list[dict[str, float]]:
    """The records of a run folder; a last line that was cut off is left out."""
    file = folder / HISTORY
    records: list[dict[str, float]] = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            log.warning("%s: a cut record was left out", file)
    return records
