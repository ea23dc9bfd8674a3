"""The verdict of `training.sim_to_real`: a row a network, and pictures before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from densemtl_core import render
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.metrics import relative_gain
from densemtl_core.tasks import Task
from training.data_settings import DataSettings
from training.datasets import DATASETS, make_dataset
from training.evaluate import Protocol, as_judged, evaluate_network, label_protocol
from training.panels import label_array
from training.provenance import provenance
from training.settings import Settings
from training.trained_network import TrainedNetwork

__all__ = [
    "BASELINE",
    "Judged",
    "before_after",
    "judge_row",
    "judging",
    "labelled_frames",
    "report",
    "setback",
    "table",
]

BASELINE = "source only"
SHOWN = {"RMSE": ("AbsRel", "AbsRel_median_scaled"), "macroF1": ("odsF",)}
"""Further figures that belong into a table beside a primary one."""
TOLD_EVERY = 10.0
"""Seconds between two lines of progress."""
NOTICED = 0.01
"""What a figure may be worse by, as a share of itself, before it is told."""


@dataclass(frozen=True)
class Judged:
    """What a network scores on the target.

    Attributes:
        title: of its row.
        folder: of its weights.
        scores: task name to figures; empty without labelled frames.
        primary: task name to the name of its primary figure, and whether higher is better.
    """

    title: str
    folder: str
    scores: Mapping[str, Mapping[str, Any]]
    primary: Mapping[str, tuple[str, bool]]


def judge_row(
    title: str,
    folder: Path,
    validation: DataSettings | None,
    classes: str | None,
    tell: Callable[[str], object] = lambda line: None,
) -> Judged:
    """Judge one network on labelled frames of the target, exactly as `training.evaluate` does.

    Args:
        title: of the row.
        folder: run folder, or bundle.
        validation: the frames, at the size at which they are judged; None = nothing to judge by.
        classes: class list to count in; None = the data set's own.
        tell: is told how far it is, at the start and every few seconds.
    """
    if validation is None:
        return Judged(title, str(folder), {}, {})
    network = TrainedNetwork(run=folder)
    tasks, protocol, dataset = labelled_frames(list(network.tasks.values()), validation, classes)
    length = len(dataset)  # type: ignore[arg-type]
    frames = _counted((dataset[i] for i in range(length)), f"judging {title} on the target's labels", length, tell)
    scores = evaluate_network(network, tasks, frames, protocol)
    network.close()
    metrics = {task.name: task.metric() for task in tasks if task.name in scores}
    return Judged(title, str(folder), scores, {name: (m.primary, m.higher_is_better) for name, m in metrics.items()})


def _counted(samples: Iterable[Sample], what: str, length: int, tell: Callable[[str], object]) -> Iterator[Sample]:
    """The same samples; says now and then how many there have been."""
    begun = told = time.monotonic()
    tell(f"{what}: {length} frames")
    for done, sample in enumerate(samples):
        if time.monotonic() - told > TOLD_EVERY:
            told = time.monotonic()
            tell(f"{what}: {done} of {length} frames, {told - begun:.0f} s")
        yield sample


def judging(tasks: Sequence[Task], validation: DataSettings, classes: str | None) -> tuple[list[Task], Protocol]:
    """Which tasks of a network the labels judge, and in which classes.

    Raises:
        InputError: the network's classes cannot be compared with the labels'.
    """
    judged = [task for task in tasks if task.name in DATASETS[validation.dataset].labels]
    return judged, label_protocol(judged, validation.dataset, classes)


def labelled_frames(
    tasks: Sequence[Task], validation: DataSettings, classes: str | None
) -> tuple[list[Task], Protocol, Dataset[Sample]]:
    """What a network is judged on: the tasks that have labels, in which classes, and the frames.

    Raises:
        InputError: the network's classes cannot be compared with the labels', or see `make_dataset`.
    """
    judged, protocol = judging(tasks, validation, classes)
    names = [task.name for task in judged]
    return judged, protocol, make_dataset(validation, names, protocol.classes or "cityscapes19", "val")


def report(
    rows: Sequence[Judged], settings: Settings, validation: DataSettings | None, classes: str | None
) -> dict[str, Any]:
    """Everything that was found, as plain data.

    Args:
        rows: of `judge_row`.
        settings: of the whole.
        validation: what the rows were judged on.
        classes: class list in which they were.

    Returns:
        ``rows``: ``method``, ``folder``, ``scores``, and ``delta``, the mean relative gain in percent over the row
        "source only" (or, without one, the first), null where there is nothing to compare.
    """
    how = settings.adaptation
    reference = next((row for row in rows if row.title == BASELINE), rows[0])
    return {
        "source": settings.data.dataset,
        "target": None if how is None else how.target.dataset,
        "judged_on": None if validation is None else asdict(validation),
        "classes": classes,
        "seed": settings.run.seed,
        "steps": settings.run.steps,
        "delta_against": reference.title,
        "primary": {task: list(value) for row in rows for task, value in row.primary.items()},
        "rows": [
            {"method": row.title, "folder": row.folder, "scores": row.scores, "delta": _delta(row, reference)}
            for row in rows
        ],
        "provenance": provenance(),
    }


def _delta(row: Judged, reference: Judged) -> float | None:
    primary = reference.primary
    mine, theirs = ({t: j.scores.get(t, {}).get(name) for t, (name, _) in primary.items()} for j in (row, reference))
    if not primary or None in mine.values() or not all(theirs.values()):
        return None
    return relative_gain(mine, theirs, {t: higher for t, (_, higher) in primary.items()})


def table(found: Mapping[str, Any]) -> str:
    """The rows as Markdown."""
    if not found["primary"]:
        return (
            "No labelled frames of the target: nothing is judged. panel.png shows before and after, but pictures alone "
            "cannot prove that it is better; twenty labelled frames can (--target-val).\n"
        )
    columns = [
        (task, name, higher if name == primary else None)
        for task, (primary, higher) in found["primary"].items()
        for name in (primary, *SHOWN.get(primary, ()))
        if any(name in row["scores"].get(task, {}) for row in found["rows"])
    ]
    arrow = {True: " ↑", False: " ↓", None: ""}
    heading = [
        f"{task} {name.replace('_', ', ').replace(', scaled', ' scaled')}{arrow[d]}" for task, name, d in columns
    ]
    lines = [["", *heading, f"Delta % to {found['delta_against']}"]]
    for row in found["rows"]:
        values = [row["scores"].get(task, {}).get(name) for task, name, _ in columns]
        figures = ["-" if v is None else f"{v:.3f}" for v in values]
        lines.append([row["method"], *figures, "-" if row["delta"] is None else f"{row['delta']:+.1f}"])
    rule = ["---", *["---:"] * len(heading), "---:"]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))


def setback(found: Mapping[str, Any]) -> str:
    """A line if the adapted network is worse than what it should improve on, and what to do; else nothing.

    Args:
        found: of `report`.
    """
    rows = {row["method"]: row["scores"] for row in found["rows"]}
    told = []
    for reference in (BASELINE, "start"):
        worse = []
        for task, (name, higher) in found["primary"].items():
            before, after = (rows.get(row, {}).get(task, {}).get(name) for row in (reference, "adapted"))
            if before is None or after is None:
                continue
            loss = before - after if higher else after - before
            if loss > NOTICED * abs(before):
                worse.append(f"{task} ({name} {before:.3f} -> {after:.3f})")
        if worse:
            told.append(f"{reference} in {', '.join(worse)}")
    if not told:
        return ""
    return (
        f"adapted is WORSE than {'; and than '.join(told)}: keep that network, or try fewer steps or other sections of "
        "adaptation; docs/sim_to_real.md#when-it-got-worse"
    )


def before_after(
    folders: Mapping[str, Path], frames: DataSettings, classes: str, judged: str | None, labelled: bool, count: int = 3
) -> render.Picture:
    """A few frames of the target as several networks see them, above the labels where there are some.

    Args:
        folders: title to folder of a network; the last one's tasks are shown.
        frames: the target's training frames, or its labelled ones.
        classes: class list of the adapted network, in which labels are shown where they can be told in it.
        judged: class list in which they are judged, and shown otherwise.
        labelled: these are the labelled ones.
        count: frames, evenly spread.
    """
    networks = {title: TrainedNetwork(run=folder) for title, folder in folders.items()}
    tasks = list(networks[list(networks)[-1]].tasks.values())
    wanted = [task.name for task in tasks if labelled and task.name in DATASETS[frames.dataset].labels]
    # As the camera saw them: neither mirrored nor changed.
    plain = replace(frames, frames=[], flip=0.0, colour=0.0, crop=None)
    split, protocol = "val" if labelled else "train", Protocol(None)
    try:
        dataset = make_dataset(plain, wanted, classes, split)
    except InputError:
        if judged is None:
            raise
        dataset, protocol = make_dataset(plain, wanted, judged, split), Protocol(judged)
    length = len(dataset)  # type: ignore[arg-type]
    cells: list[tuple[str, render.Picture]] = []
    for k in range(min(count, length)):
        sample = dataset[(2 * k + 1) * length // (2 * min(count, length))]
        image = render.rgb(sample.image.permute(1, 2, 0).numpy())
        K = None if sample.intrinsics is None else sample.intrinsics.numpy()
        for title, network in networks.items():
            # A network that came from elsewhere may not have all tasks.
            own = [task.name for task in tasks if task.name in network.tasks]
            found = network.predict(np.ascontiguousarray(image), own, K)
            blank = np.zeros_like(image)
            cells.append((title, image))
            cells += [(f"{t.name}, {title}", _painted(network, t, found, blank)) for t in tasks]
        if wanted:
            cells += [(sample.name[-40:], image), *_labels(sample, [as_judged(task, protocol) for task in tasks])]
    for network in networks.values():
        network.close()
    return render.panel(cells, columns=1 + len(tasks))


def _painted(
    network: TrainedNetwork, task: Task, found: Mapping[str, Any], otherwise: render.Picture
) -> render.Picture:
    """What a network found, in the colours of its own classes."""
    return network.tasks[task.name].paint(found[task.name]) if task.name in found else otherwise


def _labels(sample: Sample, tasks: Sequence[Task]) -> Iterator[tuple[str, render.Picture]]:
    for task in tasks:
        label = sample.labels.get(task.name)
        blank = np.zeros((*sample.image.shape[-2:], 3), np.uint8)
        yield f"{task.name}, label", blank if label is None else task.paint(label_array(task, label))
