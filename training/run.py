"""One run: train a network, judge it, keep its folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch.utils.data import Dataset, Subset

from densemtl_core.data.sample import Sample
from densemtl_core.learning.checkpoint import save_checkpoint
from densemtl_core.learning.evaluation import gather_metrics, judge
from densemtl_core.learning.run_files import read_history
from densemtl_core.learning.trainer import Trainer
from densemtl_core.learning.written_files import write_whole
from densemtl_core.models import DenseMTL, ModelDescription, build_model
from training.adaptation import make_adaptation, open_target, target_frames
from training.bottleneck import bottleneck, pace_text
from training.checks import check_settings
from training.curves import Curves
from training.datasets import DATASETS, batches, make_dataset
from training.objectives import make_objective
from training.panels import sample_panel
from training.progress import ProgressLine
from training.run_folder import open_run, refuse_unfit, tell_changes, write_settings
from training.settings import Settings
from training.starting_weights import load_encoder, start_from

__all__ = ["open_training_sets", "run"]

log = logging.getLogger("densemtl.train")


def run(
    settings: Settings, out: Path, resume: str | None = None, size: Sequence[int] | None = None
) -> dict[str, dict[str, float]]:
    """Train, evaluate, and write the run folder.

    Args:
        settings: of the run.
        out: folder for ``config.yaml``, ``provenance.json``, ``checkpoints/``, ``history.jsonl``, ``tensorboard/``,
            ``panels/``, and at the end ``model.safetensors``, ``model.json``, ``metrics.json``.
        resume: ``last``, or the path of a checkpoint; None starts afresh.
        size: ``(H, W)`` of the frames that the network is made for; None: those of the target domain where the run
            adapts to one, else those of ``data``.

    Returns:
        Validation scores of the final weights (of their moving average, if there is one); on other processes than
        the first, nothing.
    """
    check_settings(settings)
    refuse_unfit(out, fresh=resume is None)
    fabric = _fabric(settings)
    if not fabric.is_global_zero:
        log.setLevel(logging.ERROR)  # one process speaks for all
    fabric.seed_everything(settings.run.seed, verbose=False)
    tasks = settings.made_tasks()
    model = build_model(settings.preset, tasks)
    names = [task.name for task in tasks]
    train_set, target_set = open_training_sets(settings)
    validation_set = _validation_set(settings, names)
    objective = make_objective(settings, tasks, fresh=resume is None)
    adaptation = make_adaptation(settings, tasks, fresh=resume is None)
    if resume is None:
        _start(model, settings)
    progress = ProgressLine(settings.run.steps)
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(open_run(out, fresh=resume is None))
        stack.enter_context(progress)
        trainer = Trainer(
            fabric,
            model,
            objective,
            settings.run,
            settings.optimisation,
            out,
            adaptation=adaptation,
            begun=bool(settings.start),
        )
        if resume is not None:
            trainer.resume(None if resume == "last" else Path(resume))
            progress.first = trainer.step
            log.info("resumed at step %d", trainer.step)
        if fabric.is_global_zero:
            # Not before the checkpoint was accepted: a refused resume leaves the folder as it was.
            tell_changes(settings, out)
            write_settings(out, settings)
        curves = stack.enter_context(Curves(out, trainer.step)) if fabric.is_global_zero else None
        log.info(
            "%s, %s, %d of %s, %d steps",
            settings.preset,
            "+".join(names),
            len(train_set),  # type: ignore[arg-type]
            settings.data.dataset,
            settings.run.steps,
        )
        if settings.adaptation is not None and settings.adaptation.self_training is not None:
            log.info("believed: how far pseudo-labels of the target count, 0 to 1, mean of pixels and tasks")

        early = (trainer.step // settings.run.log_every + 2) * settings.run.log_every

        def record(figures: Mapping[str, float]) -> None:
            progress.show(figures)
            if figures["step"] == early < settings.run.steps:  # while it can still be changed
                log.info("%s", _pace(settings, trainer))
            if curves is not None:
                curves.losses(figures)

        def validate(quick: bool = True) -> dict[str, dict[str, float]]:
            if validation_set is None:
                return {}
            # Every process judges a part.
            part = Subset(
                validation_set,
                range(fabric.global_rank, len(validation_set), fabric.world_size),  # type: ignore[arg-type]
            )
            metrics = judge(trainer.judged, tasks, batches(part, settings.run.batch), quick)
            gather_metrics(fabric, metrics)
            if curves is None:
                return {}
            scores = {name: metric.compute() for name, metric in metrics.items()}
            curves.scores(trainer.step, scores)
            curves.picture(trainer.step, sample_panel(trainer.judged, tasks, _shown(validation_set)))
            for name, values in scores.items():
                log.info("%-9s %s", name, "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
            return scores

        trainer.record = record
        trainer.fit(train_set, target_set, validate=validate)
        if trainer.step > progress.first:
            log.info("%s", _pace(settings, trainer))
        scores = validate(quick=False)
    if fabric.is_global_zero:
        made_for = size or _input_size(settings, train_set if target_set is None else target_set)
        save_checkpoint(out, trainer.judged, ModelDescription(settings.preset, tasks, (made_for[0], made_for[1])))
        report = {
            "dataset": _described(settings, validation_set),
            "classes": settings.class_list,
            "seed": settings.run.seed,
            "scores": scores,
            "history": read_history(out),
        }
        write_whole(out / "metrics.json", json.dumps(report, indent=1).replace("NaN", "null") + "\n")
    return scores


def _pace(settings: Settings, trainer: Trainer) -> str:
    """How fast the run went and what bound it, of all its steps."""
    figures, gpu = trainer.pace.summary(), trainer.fabric.device.type != "cpu"
    # Not os.cpu_count: a container, or taskset, may leave this process fewer.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bound = bottleneck(
        figures,
        loaders=trainer.pace.loaders,
        threads=torch.get_num_threads(),
        cores=cores,
        gpu=gpu,
        cached=settings.data.cache is not None,
    )
    return f"{pace_text(figures)}: {bound}"


def _start(model: DenseMTL, settings: Settings) -> None:
    if settings.encoder_weights:
        load_encoder(model, settings.encoder_weights)
    if settings.start:
        start_from(model, settings.start, settings.made_tasks())
    elif not settings.encoder_weights:
        log.warning("encoder starts from RANDOM weights; pretrained ones (encoder_weights=FILE) learn much faster")


def open_training_sets(settings: Settings) -> tuple[Dataset[Sample], Dataset[Sample] | None]:
    """What a run learns from: labelled samples, and the target domain's frames where it adapts to one.

    Raises:
        InputError: see `make_dataset`.
    """
    # What is learnt from video asks for no label.
    unlabelled = settings.self_supervised.task if settings.self_supervised else None
    learnt = [task.name for task in settings.made_tasks() if task.name != unlabelled]
    labelled = make_dataset(settings.data, learnt, settings.class_list, "train")
    if settings.adaptation is None:
        return labelled, None
    return labelled, open_target(target_frames(settings), settings.class_list)


def _validation_set(settings: Settings, names: Sequence[str]) -> Dataset[Sample] | None:
    if settings.data.validation == 0:
        return None
    source = DATASETS.get(settings.data.dataset)
    if source is not None and source.validation is None:
        log.warning("%s has no labelled validation split: nothing is judged", settings.data.dataset)
        return None
    return make_dataset(settings.data, names, settings.class_list, "val")


def _shown(dataset: Dataset[Sample]) -> list[Sample]:
    """Four samples, the same at every validation of every run, evenly spread."""
    length = len(dataset)  # type: ignore[arg-type]
    return [dataset[i * length // min(4, length)] for i in range(min(4, length))]


def _described(settings: Settings, dataset: Dataset[Sample] | None) -> str:
    """What the scores were taken on, for people."""
    data = settings.data
    if dataset is None:
        return f"{data.dataset}: not judged"
    size = "files' own size" if data.size is None else f"{data.size[0]}x{data.size[1]}"
    options = "".join(f", {name} {value}" for name, value in data.options.items())
    return f"{data.dataset}, val, {size}, {len(dataset)} frames{options}"  # type: ignore[arg-type]


def _input_size(settings: Settings, dataset: Dataset[Sample]) -> tuple[int, int]:
    """The frames that the network was made for."""
    data = settings.data if settings.adaptation is None else target_frames(settings)
    height, width = data.size if data.size is not None else dataset[0].image.shape[-2:]
    return int(height), int(width)


def _fabric(settings: Settings) -> Fabric:
    processes = settings.devices * settings.nodes
    fabric = Fabric(
        accelerator="auto",
        devices=settings.devices,
        num_nodes=settings.nodes,
        precision=settings.precision,
        # Labels may be missing from a batch: then a whole decoder has no gradient, which plain DDP takes for a fault.
        strategy="ddp_find_unused_parameters_true" if processes > 1 or settings.devices == -1 else "auto",
    )
    fabric.launch()
    return fabric
