"""Train a network.

python -m training.train --config training/configs/street_first.yaml --out runs/mine
python -m training.train --config training/configs/street_first.yaml --out runs/mine --resume last
python -m training.train --config training/configs/street_first.yaml run.steps=20 data.size=[64,128]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import safetensors.torch
import torch
from lightning.fabric import Fabric
from omegaconf import OmegaConf

from densemtl_core.data import class_list
from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import save_checkpoint
from densemtl_core.learning.evaluation import evaluate
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.trainer import Trainer, checkpoints, read_history
from densemtl_core.models import DenseMTL, ModelDescription, build_model
from densemtl_core.models.encoder import Encoder
from densemtl_core.tasks import make_tasks
from training.progress import ProgressLine
from training.settings import Settings, read_settings

__all__ = ["main", "run"]

log = logging.getLogger("densemtl.train")

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def run(settings: Settings, out: Path, resume: str | None = None) -> dict[str, dict[str, float]]:
    """Train, evaluate, and write the run folder.

    Args:
        settings: of the run.
        out: folder for ``config.yaml``, ``checkpoints/``, ``history.jsonl``, and at the end ``model.safetensors``,
            ``model.json``, ``metrics.json``.
        resume: ``last``, or the path of a checkpoint; None starts afresh.

    Returns:
        Validation scores of the final weights (of their moving average, if there is one).
    """
    if resume is None and checkpoints(out):
        raise InputError(f"{out} holds a run already; go on with --resume last, or give another --out")
    _check(settings, out)
    fabric = _fabric(settings)
    if not fabric.is_global_zero:
        log.setLevel(logging.ERROR)  # one process speaks for all
    fabric.seed_everything(settings.run.seed, verbose=False)
    classes = class_list(settings.class_list)
    tasks = make_tasks(settings.tasks, class_names=classes.classes, palette=classes.palette)
    model = build_model(settings.preset, tasks)
    if settings.encoder_weights:
        load_encoder(model, settings.encoder_weights)
    elif resume is None:
        log.warning("encoder starts from RANDOM weights; pretrained ones (encoder_weights=FILE) learn much faster")
    height, width = settings.data.size
    train_set, validation_set = _street(settings, "train"), _street(settings, "val")
    if fabric.is_global_zero:
        if resume is not None:
            _tell_changes(settings, out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(settings)))

    objective = SupervisedObjective(tasks, settings.weights)
    progress = ProgressLine(settings.run.steps)
    trainer = Trainer(fabric, model, objective, settings.run, settings.optimisation, out, progress.show)
    if resume is not None:
        trainer.resume(None if resume == "last" else Path(resume))
        progress.first = trainer.step
        log.info("resumed at step %d", trainer.step)
    log.info("%s, %s, %d steps", settings.preset, "+".join(t.name for t in tasks), settings.run.steps)
    with progress:
        trainer.fit(train_set)
    final = trainer.average.model if trainer.average is not None else model
    scores: dict[str, dict[str, float]] = {}
    if fabric.is_global_zero:
        save_checkpoint(out, final, ModelDescription(settings.preset, tasks, (height, width)))
        scores = evaluate(final, tasks, _validation(validation_set, settings.run.batch))
        frames = len(validation_set)
        dataset = f"street world, val, {settings.data.style}, {height}x{width}, {frames} frames"
        report = {"dataset": dataset, "scores": scores, "history": read_history(out)}
        (out / "metrics.json").write_text(json.dumps(report, indent=1) + "\n")
        for name, values in scores.items():
            log.info("%-9s %s", name, "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
    return scores


def _check(settings: Settings, out: Path) -> None:
    """Refuse what would only fail, or go wrong in silence, later."""
    run, how = settings.run, settings.optimisation
    available = torch.cuda.device_count() or os.cpu_count() or 1
    processes = settings.nodes * (available if settings.devices == -1 else settings.devices)
    rules = {
        "precision": (settings.precision, settings.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        "devices": (
            settings.devices,
            -1 <= settings.devices <= available and settings.devices,
            f"-1 or 1..{available}",
        ),
        "run.steps": (run.steps, run.steps >= 1, "at least 1"),
        "run.batch": (run.batch, run.batch >= 1 and run.batch % processes == 0, f"a multiple of {processes} processes"),
        "run.workers": (run.workers, run.workers >= 0, "at least 0"),
        "optimisation.lr": (how.lr, how.lr > 0, "above 0"),
        "optimisation.encoder_lr": (how.encoder_lr, how.encoder_lr >= 0, "at least 0"),
    }
    for key, (value, allowed, rule) in rules.items():
        if not allowed:
            raise InputError(f"{key} is {value}; it must be {rule}")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")


def _tell_changes(settings: Settings, out: Path) -> None:
    """A resumed run may differ from what it was begun with, but not in silence."""
    file = out / "config.yaml"
    if not file.is_file():
        return
    before, now = OmegaConf.load(file), OmegaConf.structured(settings)
    for group in now:
        old, new = OmegaConf.select(before, str(group)), now[group]
        if old != new:
            log.warning("resumed with other settings: %s was %s, is now %s", group, old, new)


def load_encoder(model: DenseMTL, path: str) -> None:
    """Fill the encoder with pretrained weights from a file."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"encoder weights not found: {file}; leave encoder_weights out to start from random weights")
    try:
        state = (
            safetensors.torch.load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except Exception:  # torch and safetensors raise many types, with advice that is not ours to give
        raise InputError(f"encoder weights {file}: no state dict (.pth of tensors only, or .safetensors)") from None
    backbone = getattr(model.encoder, "backbone", model.encoder)
    assert isinstance(backbone, Encoder)  # noqa: S101  (every preset's encoder is one or holds one)
    backbone.load_backbone(state, str(file))


def _fabric(settings: Settings) -> Fabric:
    processes = settings.devices * settings.nodes
    fabric = Fabric(
        accelerator="auto",
        devices=settings.devices,
        num_nodes=settings.nodes,
        precision=settings.precision,
        strategy="ddp" if processes > 1 or settings.devices == -1 else "auto",
    )
    fabric.launch()
    return fabric


def _street(settings: Settings, split: str) -> StreetWorld:
    height, width = settings.data.size
    length = settings.data.frames if split == "train" else settings.data.validation
    return StreetWorld(
        seed=settings.data.seed,
        split=split,
        size=(height, width),
        style=settings.data.style,
        length=max(length, settings.run.batch),
    )


def _validation(world: StreetWorld, batch: int) -> Iterable[Sample]:
    return (world.batch(range(first, min(first + batch, len(world)))) for first in range(0, len(world), batch))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="YAML file, e.g. training/configs/street_first.yaml")
    parser.add_argument("--out", default="runs/latest", help="run folder (default: %(default)s)")
    parser.add_argument("--resume", metavar="last|CHECKPOINT", help="go on where a run stopped")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved configuration and do nothing")
    parser.add_argument("--threads", type=int, help="CPU threads of the network")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the file")
    given = parser.parse_intermixed_args(arguments)  # key=value may stand anywhere
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        settings = read_settings(given.config, given.overrides)
        if given.dry_run:
            print(OmegaConf.to_yaml(OmegaConf.structured(settings)), end="")
            return 0
        run(settings, Path(given.out), given.resume)
    except (InputError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; go on with --resume last --out {given.out}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
