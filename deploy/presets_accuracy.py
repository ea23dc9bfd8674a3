"""How accurate the presets are, read from the files that trainings left.

Two kinds of file are read. The street world's is what ``python -m training.compare`` writes (``compare.json``): of its
rows, those of one network for all tasks. CamVid's is a list that a person keeps::

    {"rows": [{"preset": "densemtl_edge_s",            # of the network
               "start": "ImageNet's encoder",          # weights that the training began with
               "seed": 0,
               "scores": {"semantic": {"mIoU": 0.668}},
               "dataset": "camvid, val, 360x480, 101 frames",
               "command": "python -m training.train ..."}]}

Rows that differ in their seed alone are averaged; of several starts the best one counts, and is named.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from densemtl_core.errors import InputError

__all__ = ["CAMVID", "STREET", "Accuracies", "Accuracy", "Score", "camvid_accuracy", "street_accuracy"]

ROOT = Path(__file__).resolve().parents[1]
STREET = ROOT / "docs/benchmarks/presets_street.json"
CAMVID = ROOT / "docs/benchmarks/camvid.json"


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


def street_accuracy(file: Path, presets: Sequence[str]) -> Accuracies:
    """Read a ``compare.json``.

    Args:
        file: that need not exist.
        presets: whose rows are wanted.

    Returns:
        What was found, and a note for each preset that was not.

    Raises:
        InputError: there is a file, but not such a one.
    """
    if not file.is_file():
        return _no_file(file, "the street world")
    found: dict[str, Accuracy] = {}
    try:
        report = json.loads(file.read_text())
        judged, command = report["judged_on"], str(report["command"])
        for row in report["rows"]:
            if row["single"] or row["preset"] not in presets or row["preset"] in found or not row["seeds"]:
                continue
            scores = {
                task: Score(str(score["metric"]), float(score["mean"]), _spread(score["std"], row["seeds"]))
                for task, score in row["tasks"].items()
                if score["mean"] is not None  # no number: the training diverged, or nothing was labelled
            }
            start = str(report.get("settings", {}).get("encoder_weights") or "random weights")
            found[row["preset"]] = Accuracy(scores, tuple(row["seeds"]), start)
        size = "x".join(str(side) for side in judged["size"])
        source = (
            f"street world: {judged['dataset']}, {judged['split']}, {size}, {judged['validation_samples']} frames, "
            f"{judged['training_samples']} trained on; `{command}`"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(file, "a compare.json of training.compare", error) from None
    return Accuracies(found, source, _missing(file, "the street world", presets, found))


def camvid_accuracy(file: Path, presets: Sequence[str]) -> Accuracies:
    """Read a list of trainings on CamVid; see `street_accuracy` for the arguments."""
    if not file.is_file():
        return _no_file(file, "CamVid")
    runs: dict[str, dict[str, dict[int, float]]] = {}
    unnamed, told = 0, {}
    try:
        for row in json.loads(file.read_text())["rows"]:
            if "preset" not in row:
                unnamed += 1
                continue
            if row["preset"] in presets:
                seeds = runs.setdefault(row["preset"], {}).setdefault(str(row["start"]), {})
                seeds[int(row["seed"])] = float(row["scores"]["semantic"]["mIoU"])
                told[row["preset"], str(row["start"])] = f"{row['dataset']}, from {row['start']}; `{row['command']}`"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(file, "a list of trainings on CamVid", error) from None
    found, sources = {}, []
    for preset, starts in runs.items():
        start = max(starts, key=lambda name: statistics.mean(starts[name].values()))
        values = list(starts[start].values())
        std = statistics.stdev(values) if len(values) > 1 else None
        found[preset] = Accuracy(
            {"semantic": Score("mIoU", statistics.mean(values), std)}, tuple(sorted(starts[start])), start
        )
        sources.append(f"CamVid, {preset}: {told[preset, start]}")
    notes = _missing(file, "CamVid", presets, found)
    if unnamed:
        notes = (*notes, f"{_shown(file)}: {unnamed} of its rows do not say their preset, and are not read")
    return Accuracies(found, "; ".join(sources), notes)


def _shown(file: Path) -> str:
    """As a reader of the report finds it: from the root of the repository where it lies there."""
    absolute = file.absolute()
    return str(absolute.relative_to(ROOT)) if absolute.is_relative_to(ROOT) else str(file)


def _spread(std: float | None, seeds: Sequence[int]) -> float | None:
    return float(std) if std is not None and len(seeds) > 1 and math.isfinite(std) else None


def _missing(file: Path, where: str, presets: Iterable[str], found: Mapping[str, Accuracy]) -> tuple[str, ...]:
    lacking = [preset for preset in presets if preset not in found]
    return (f"no accuracy on {where} for {', '.join(lacking)}: {_shown(file)} has no finished run",) if lacking else ()


def _no_file(file: Path, where: str) -> Accuracies:
    return Accuracies({}, "", (f"no accuracy on {where}: there is no file {_shown(file)}",))


def _damaged(file: Path, kind: str, error: Exception) -> InputError:
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return InputError(f"{_shown(file)} is not {kind} ({what}); write it again, or leave it out")
