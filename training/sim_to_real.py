"""Simulator to real, from start to verdict: what a network knows before, after adapting, and with the target's labels.

All branches begin at the same weights and take the same number of steps with the same rates:

* ``source``: labelled source alone, which makes the common start (left out where ``start`` names one);
* ``source_only``: more of the same, the fair row to compare with;
* ``adapted``: the same, and the target's frames without their labels;
* ``target_labels``: trained on the target's labels, where it has some: what could be had at best.

Each is a run folder of its own, so that an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from densemtl_core.errors import InputError, did_you_mean
from densemtl_core.learning.batch_stream import batch_stream
from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.learning.run_files import checkpoints, read_history
from densemtl_core.learning.written_files import write_whole
from training.adaptation import make_adaptation, target_frames
from training.checks import check_settings
from training.data_settings import DataSettings
from training.datasets import DATASETS
from training.picture_files import write_picture
from training.run import open_training_sets, run
from training.run_folder import claimed, refuse_unfit
from training.settings import Settings
from training.sim_to_real_report import (
    Judged,
    before_after,
    judge_row,
    judging,
    labelled_frames,
    report,
    setback,
    table,
)
from training.starting_weights import start_folder

__all__ = ["BRANCHES", "Branch", "branches", "packing", "sim_to_real", "validation_of"]

log = logging.getLogger("densemtl.train")

BRANCHES = ("source_only", "adapted", "target_labels")
REPORT = "sim_to_real.json"


@dataclass(frozen=True)
class Branch:
    """One run.

    Attributes:
        name: of its folder.
        title: of its row.
        settings: of the run.
    """

    name: str
    title: str
    settings: Settings


def validation_of(settings: Settings) -> DataSettings | None:
    """Labelled frames of the target domain to judge by; None where there are none.

    Raises:
        InputError: their data set is unknown.
    """
    how = settings.adaptation
    assert how is not None  # noqa: S101  (narrows the type)
    given = how.validation or target_frames(settings)
    source = DATASETS.get(given.dataset)
    if source is None:
        hint, key = did_you_mean(given.dataset, DATASETS), "validation" if how.validation else "target"
        raise InputError(f"adaptation.{key}.dataset is {given.dataset!r}; {hint}known: {', '.join(DATASETS)}")
    if not source.labels or given.validation == 0:
        return None
    return replace(given, frames=[], flip=0.0, colour=0.0, crop=None)


def branches(settings: Settings, out: Path, wanted: Sequence[str] | None = None) -> list[Branch]:
    """What has to be run, in this order.

    Args:
        settings: with an adaptation.
        out: folder of all runs.
        wanted: of `BRANCHES`; None: ``adapted``, and the rows that it can be compared with.

    Raises:
        InputError: no adaptation, an unknown branch, or a branch that cannot be.
    """
    how = settings.adaptation
    if how is None:
        raise InputError("--sim-to-real needs settings with an adaptation, as training/configs/sim_to_real.yaml has")
    if how.rate <= 0 or how.source_steps < 0:
        raise InputError(
            f"adaptation.rate is {how.rate}, source_steps {how.source_steps}; they must be above 0 and at least 0"
        )
    unknown = [name for name in wanted or () if name not in BRANCHES]
    if unknown:
        raise InputError(f"--rows has {unknown[0]!r}; known: {', '.join(BRANCHES)}")
    judged = validation_of(settings) is not None
    target = DATASETS.get(how.target.dataset)
    labelled = target is not None and bool(target.labels)
    if wanted is None:
        wanted = [n for n in BRANCHES if n == "adapted" or (judged and (n == "source_only" or labelled))]
    if "target_labels" in wanted and not labelled:
        raise InputError(f"--rows target_labels: {how.target.dataset} has no labels to train on; leave it out")
    # Every row is judged in the same way at the end; a run of its own judges nothing.
    plain = replace(settings, adaptation=None, data=replace(settings.data, validation=0))
    made: list[Branch] = []
    start = settings.start
    if start is None and how.source_steps:
        begin = replace(plain, run=replace(settings.run, steps=how.source_steps))
        made.append(Branch("source", "start", begin))
        start = str(out / "source")
    begun: dict[str, Any] = {"start": start, "encoder_weights": None if start else settings.encoder_weights}
    if made:
        rates = settings.optimisation
        begun["optimisation"] = replace(rates, lr=how.rate * rates.lr, encoder_lr=how.rate * rates.encoder_lr)
    of_target = replace(target_frames(settings), validation=0, frames=[])
    possible = {
        "source_only": Branch("source_only", "source only", replace(plain, **begun)),
        "adapted": Branch("adapted", "adapted", replace(plain, adaptation=how, **begun)),
        "target_labels": Branch("target_labels", "trained on target labels", replace(plain, data=of_target, **begun)),
    }
    return made + [possible[name] for name in BRANCHES if name in wanted]


def sim_to_real(
    settings: Settings, out: Path, resume: str | None = None, wanted: Sequence[str] | None = None
) -> list[Judged]:
    """Run every branch, judge them on the target, and write table and panel.

    Args:
        settings: with an adaptation.
        out: folder for a run folder each, ``sim_to_real.json``, ``table.md`` and ``panel.png``.
        resume: ``last`` goes on where the command stopped; finished branches are kept.
        wanted: see `branches`.

    Returns:
        A row a branch, and one for the start.

    Raises:
        InputError: what a branch or the verdict needs is missing, or does not fit; told before anything is trained.
    """
    if settings.devices != 1 or settings.nodes != 1:
        raise InputError(
            f"devices={settings.devices}, nodes={settings.nodes}: --sim-to-real runs on one device; on more, train the "
            "adapted row alone, without --sim-to-real"
        )
    todo = branches(settings, out, wanted)
    refuse_unfit(out, fresh=False)
    if checkpoints(out):
        raise InputError(f"{out} holds a single run, not those of --sim-to-real; give another --out")
    if resume is None and any(checkpoints(out / branch.name) for branch in todo):
        raise InputError(f"{out} holds a run already; go on with --resume last, or give another --out")
    _look_ahead(settings, out, todo)
    with claimed(out, ".sim_to_real") as ours:
        if not ours:
            raise InputError(f"another process is at work in {out}; wait for it, or give another --out")
        for number, branch in enumerate(todo, 1):
            folder = out / branch.name
            steps = branch.settings.run.steps
            if _finished(branch, out):
                log.info("[%d/%d] %s: done before", number, len(todo), branch.title)
                continue
            log.info("[%d/%d] %s: %d steps", number, len(todo), branch.title, steps)
            # All of them for the target's frames, on which they are compared.
            size = target_frames(settings).size
            run(branch.settings, folder, "last" if checkpoints(folder) else None, size)
        return _verdict(settings, out, todo)


def _finished(branch: Branch, out: Path) -> bool:
    """Whether a branch has been run to its end; with more steps than before it goes on."""
    folder = out / branch.name
    done = max((record["step"] for record in read_history(folder)), default=0)
    return (folder / "metrics.json").is_file() and done == branch.settings.run.steps


def _look_ahead(settings: Settings, out: Path, todo: Sequence[Branch]) -> None:
    """Open everything that a branch or the verdict will read: what is wrong with it shows now, not after hours."""
    how = settings.adaptation
    assert how is not None  # noqa: S101  (narrows the type)
    tasks = settings.made_tasks()
    for branch in todo:
        check_settings(branch.settings)
        if _finished(branch, out):
            continue
        make_adaptation(branch.settings, tasks, fresh=False)
        for what, dataset in zip(("the data set", "the target"), open_training_sets(branch.settings), strict=True):
            if dataset is not None:
                batch_stream(dataset, settings.run.batch, 0, range(0), what=what)  # refuses what is too short
    if (validation := validation_of(settings)) is not None:
        _, protocol, _ = labelled_frames(tasks, validation, how.classes)
        if settings.start is not None:
            _, begun = load_checkpoint(start_folder(settings.start))
            labelled_frames(begun.tasks, validation, protocol.classes)


def packing(network: Path, target: DataSettings) -> str:
    """The command that makes a bundle of a network.

    Args:
        network: folder of its weights.
        target: frames of the camera, with which INT8 is calibrated if they are plain footage.
    """
    source = DATASETS.get(target.dataset)
    footage = target.root if source is not None and not source.labels and target.root else "YOUR_FRAMES"
    files = ("--checkpoint", str(network), "--int8", "--calibration", footage, "--out", "my.bundle")
    return shlex.join(["python", "deploy/compile.py", *files])


def _verdict(settings: Settings, out: Path, done: Sequence[Branch]) -> list[Judged]:
    """Judge, and write what was found."""
    how = settings.adaptation
    assert how is not None  # noqa: S101  (narrows the type)
    validation = validation_of(settings)
    folders = [(branch.title, out / branch.name) for branch in done]
    if settings.start is not None:
        folders.insert(0, ("start", start_folder(settings.start)))
    classes = how.classes
    if validation is not None:  # what the start would be judged in alone may be other classes
        classes = judging(settings.made_tasks(), validation, classes)[1].classes
    rows = [judge_row(title, folder, validation, classes, log.info) for title, folder in folders]
    found = report(rows, settings, validation, classes)
    write_whole(out / REPORT, json.dumps(found, indent=1).replace("NaN", "null") + "\n")
    text = table(found)
    write_whole(out / "table.md", text)
    print(text, end="")
    if warning := setback(found):
        log.warning("%s", warning)
    adapted = next((folder for title, folder in folders if title == "adapted"), None)
    if adapted is not None:
        before = next((folder for title, folder in folders if title in ("source only", "start")), None)
        networks = {"adapted": adapted} if before is None else {"before": before, "adapted": adapted}
        frames = validation or target_frames(settings)
        picture = before_after(networks, frames, settings.class_list, classes, labelled=validation is not None)
        write_picture(out / "panel.png", picture)
        log.info("pictures before and after: %s", out / "panel.png")
        log.info("the adapted network: %s", adapted)
        log.info(
            "pack it for the robot, in INT8 for your camera's frames: %s", packing(adapted, target_frames(settings))
        )
    return rows
