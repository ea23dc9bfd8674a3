"""How accurate the presets are, read from what ``python -m training.compare`` writes (``compare.json``).

Of its rows those of one network for all tasks count. One file has one budget and one kind of initial weights for all
its presets, so that its scores can be set beside one another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from densemtl_core.errors import InputError

__all__ = ["CAMVID", "STREET", "Accuracies", "Accuracy", "Score", "accuracies"]

ROOT = Path(__file__).resolve().parents[1]
STREET = ROOT / "docs/benchmarks/presets_street.json"
CAMVID = ROOT / "docs/benchmarks/presets_camvid.json"


@dataclass(frozen=True)
class Score:
    """A task's judging metric.

    Attributes:
        metric: its name.
        mean: over the seeds.
        std: sample standard deviation over the seeds; None with one seed.
    """

    metric: str
    mean: float
    std: float | None = None


@dataclass(frozen=True)
class Accuracy:
    """Of one preset on one data set.

    Attributes:
        scores: task name to score.
        seeds: of its trainings.
        start: weights that it began with.
    """

    scores: Mapping[str, Score]
    seeds: tuple[int, ...]
    start: str = ""


@dataclass(frozen=True)
class Accuracies:
    """What a file says.

    Attributes:
        found: preset to its accuracy.
        source: one line for the reader: judged on what, repeated by which command; empty where there is no file.
        notes: one line each about what is missing.
    """

    found: Mapping[str, Accuracy]
    source: str
    notes: tuple[str, ...]


def accuracies(file: Path, where: str, presets: Sequence[str]) -> Accuracies:
    """Read a ``compare.json``.

    Args:
        file: that need not exist.
        where: the data set, as a reader of the report knows it.
        presets: whose rows are wanted.

    Returns:
        What was found, and a note for each preset that was not.

    Raises:
        InputError: there is a file, but not such a one.
    """
    if not file.is_file():
        return Accuracies({}, "", (f"no accuracy on {where}: there is no file {_shown(file)}",))
    found: dict[str, Accuracy] = {}
    try:
        report = json.loads(file.read_text())
        judged, command = report["judged_on"], str(report["command"])
        start = str(report.get("settings", {}).get("encoder_weights") or "random weights")
        for row in report["rows"]:
            if row["single"] or row["preset"] not in presets or row["preset"] in found or not row["seeds"]:
                continue
            scores = {
                task: Score(str(score["metric"]), float(score["mean"]), _spread(score["std"], row["seeds"]))
                for task, score in row["tasks"].items()
                if score["mean"] is not None  # no number: the training diverged, or nothing was labelled
            }
            found[row["preset"]] = Accuracy(scores, tuple(row["seeds"]), start)
        size = "x".join(str(side) for side in judged["size"])
        source = (
            f"{where}: {judged['split']}, {size}, {judged['validation_samples']} frames, "
            f"{judged['training_samples']} trained on, from {start}; `{command}`"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"{_shown(file)} is not a compare.json of training.compare ({what}); write it again, or leave it out"
        ) from None
    return Accuracies(found, source, _missing(file, where, presets, found))


def _shown(file: Path) -> str:
    """As a reader of the report finds it: from the root of the repository where it lies there."""
    absolute = file.absolute()
    return str(absolute.relative_to(ROOT)) if absolute.is_relative_to(ROOT) else str(file)


def _spread(std: float | None, seeds: Sequence[int]) -> float | None:
    return float(std) if std is not None and len(seeds) > 1 and math.isfinite(std) else None


def _missing(file: Path, where: str, presets: Iterable[str], found: Mapping[str, Accuracy]) -> tuple[str, ...]:
    lacking = [preset for preset in presets if preset not in found]
    return (f"no accuracy on {where} for {', '.join(lacking)}: {_shown(file)} has no finished run",) if lacking else ()
