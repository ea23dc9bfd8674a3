"""Settings that would only fail, or go wrong in silence, later."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import chain

import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.optimisation import OPTIMISERS, SCHEDULES
from densemtl_core.models import build_model
from training.datasets import DATASETS
from training.settings import Settings

__all__ = ["check_settings"]

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")

# key, its value, whether that is allowed, what is
Rule = tuple[str, object, bool, str]


def check_settings(settings: Settings) -> None:
    """Refuse values that no run can use; nothing is read from disk and nothing written.

    Raises:
        InputError: the key, its value, and what it must be.
    """
    # One after the other: a later rule divides by what an earlier one has found to be positive.
    for key, value, allowed, rule in chain(_machine(settings), _run(settings), _optimisation(settings)):
        if not allowed:
            raise InputError(f"{key} is {value}; it must be {rule}")
    tasks = settings.made_tasks()
    with torch.device("meta"):  # refuses what is no network, and costs nothing
        build_model(settings.preset, tasks)
    source = DATASETS.get(settings.data.dataset)
    taught = {settings.self_supervised.task} if settings.self_supervised else set()
    idle = [t.name for t in tasks if source is not None and t.name not in {*source.labels, *taught}]
    if idle and source is not None and not settings.start:
        taught_here = ", ".join(source.labels) or "nothing"
        raise InputError(
            f"tasks has {', '.join(idle)}, but {settings.data.dataset} has labels of {taught_here}: "
            "leave it out, or begin from a run that knows it (start=RUN)"
        )


def _machine(settings: Settings) -> Iterator[Rule]:
    available = torch.cuda.device_count() or os.cpu_count() or 1
    devices, batch = settings.devices, settings.run.batch
    yield "precision", settings.precision, settings.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"
    yield "nodes", settings.nodes, settings.nodes >= 1, "at least 1"
    yield "devices", devices, devices == -1 or 1 <= devices <= available, f"-1 or 1..{available}"
    processes = settings.nodes * (available if devices == -1 else devices)
    share = "at least 1" if processes == 1 else f"a multiple of {processes}, the number of processes"
    yield "run.batch", batch, batch >= 1 and batch % processes == 0, share


def _run(settings: Settings) -> Iterator[Rule]:
    run = settings.run
    for name in ("steps", "log_every", "checkpoint_every", "keep"):
        value = getattr(run, name)
        yield f"run.{name}", value, value >= 1, "at least 1"
    for name in ("seed", "workers", "validate_every"):
        value = getattr(run, name)
        yield f"run.{name}", value, value >= 0, "at least 0"
    yield "run.average", run.average, 0 <= run.average < 1, "at least 0 and below 1"


def _optimisation(settings: Settings) -> Iterator[Rule]:
    how = settings.optimisation
    yield "optimisation.optimiser", how.optimiser, how.optimiser in OPTIMISERS, f"one of {', '.join(OPTIMISERS)}"
    yield "optimisation.schedule", how.schedule, how.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"
    yield "optimisation.lr", how.lr, 0 < how.lr < math.inf, "above 0 and finite"
    own = how.lr if how.objective_lr is None else how.objective_lr
    for name, value in (("encoder_lr", how.encoder_lr), ("objective_lr", own), ("clip", how.clip)):
        yield f"optimisation.{name}", value, 0 <= value < math.inf, "at least 0 and finite"
    yield "optimisation.weight_decay", how.weight_decay, 0 <= how.weight_decay < math.inf, "at least 0 and finite"
    two = len(how.betas) == 2 and all(0 <= beta < 1 for beta in how.betas)
    yield "optimisation.betas", how.betas, two, "two numbers from 0 to below 1"
    # A fused update takes the gradient scaler's factor out itself: before it nobody could clip.
    scaled = how.fused and settings.precision == "16-mixed" and how.clip > 0
    yield "optimisation.fused", how.fused, not scaled, "false with precision 16-mixed, unless optimisation.clip is 0"
    for name in ("step_at", "warmup"):
        value = getattr(how, name)
        yield f"optimisation.{name}", value, 0 <= value <= 1, "a share of the run, 0..1"
