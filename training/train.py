"""Train a network: ``python -m training.train --config training/configs/street_first.yaml``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import safetensors.torch
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset

from densemtl_core.data import class_list
from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import save_checkpoint
from densemtl_core.learning.evaluation import evaluate
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.trainer import train
from densemtl_core.models import DenseMTL, ModelDescription, build_model
from densemtl_core.models.encoder import Encoder
from densemtl_core.tasks import make_tasks
from training.settings import Settings, read_settings

__all__ = ["main", "run"]

log = logging.getLogger("densemtl.train")


class StreetBatches(Dataset[Sample]):
    """Whole batches of the street world: its fast path makes many frames at once."""

    def __init__(self, world: StreetWorld, batch: int, count: int) -> None:
        self.world, self.batch, self.count = world, batch, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return self.world.batch(range(index * self.batch, (index + 1) * self.batch))


def batches(settings: Settings, split: str, count: int) -> Iterator[Sample]:
    """``count`` batches of a split, made by worker processes."""
    height, width = settings.data.size
    world = StreetWorld(
        seed=settings.data.seed,
        split=split,
        size=(height, width),
        style=settings.data.style,
        length=count * settings.batch,
    )
    frames = StreetBatches(world, settings.batch, count)
    # batch_size=None: the dataset's items are batches already
    loader = DataLoader(frames, batch_size=None, num_workers=settings.data.workers, worker_init_fn=_one_thread)
    return iter(loader)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


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
    except Exception as error:  # torch and safetensors raise many types for a damaged file
        raise InputError(f"encoder weights {file} cannot be read: {str(error).splitlines()[0]}") from None
    backbone = getattr(model.encoder, "backbone", model.encoder)
    assert isinstance(backbone, Encoder)  # noqa: S101  (every preset's encoder is one or holds one)
    backbone.load_backbone(state, str(file))


def run(settings: Settings, out: Path) -> dict[str, dict[str, float]]:
    """Train, evaluate, and write the run folder.

    Args:
        settings: of the run.
        out: folder for ``config.yaml``, ``model.safetensors``, ``model.json``, ``metrics.json``.

    Returns:
        Validation scores.
    """
    torch.manual_seed(settings.seed)
    classes = class_list(settings.class_list)
    tasks = make_tasks(settings.tasks, class_names=classes.classes, palette=classes.palette)
    height, width = settings.data.size
    model = build_model(settings.preset, tasks)
    if settings.encoder_weights:
        load_encoder(model, settings.encoder_weights)
    else:
        log.warning("encoder starts from RANDOM weights; pretrained ones (encoder_weights=FILE) learn much faster")
    objective = SupervisedObjective(tasks, settings.weights)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(settings)))

    frames = settings.steps * settings.batch
    log.info("%s, %s, %d steps, %d frames", settings.preset, "+".join(t.name for t in tasks), settings.steps, frames)
    history = train(model, objective, batches(settings, "train", settings.steps), settings.steps, settings.optimisation)
    save_checkpoint(out, model, ModelDescription(settings.preset, tasks, (height, width)))
    count = -(-settings.data.validation // settings.batch)
    scores = evaluate(model, tasks, batches(settings, "val", count))
    report = {"dataset": f"street world, val, {settings.data.style}, {height}x{width}, {count * settings.batch} frames"}
    (out / "metrics.json").write_text(json.dumps({**report, "scores": scores, "history": history}, indent=1) + "\n")
    for name, values in scores.items():
        log.info("%-9s %s", name, "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML file, e.g. training/configs/street_first.yaml")
    parser.add_argument("--out", default="runs/latest", help="run folder (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads of the network")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the file")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        run(read_settings(given.config, given.overrides), Path(given.out))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
