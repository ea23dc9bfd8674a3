"""The training loop: one code for a laptop's CPU, one GPU, many GPUs and many nodes (Lightning Fabric).

A run is exact: interrupted anywhere, even in the middle of writing a checkpoint, and resumed, it gives on a CPU bit for
bit the losses of a run that was never interrupted. Three things make it so: the order of the data is a function of
(seed, step), a checkpoint holds everything else that a step reads, and it appears whole or not at all.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.adaptation import Adaptation, AdaptationStep, predict
from densemtl_core.learning.batch_stream import BatchStream, batch_stream
from densemtl_core.learning.device_batches import on_device
from densemtl_core.learning.interruption import Interruption
from densemtl_core.learning.objective import Objective
from densemtl_core.learning.optimisation import Optimisation, load_optimiser, make_optimiser, set_rates
from densemtl_core.learning.pace import Pace
from densemtl_core.learning.process_means import process_means
from densemtl_core.learning.run_files import (
    HISTORY,
    checkpoints,
    newest_checkpoint,
    read_history,
    set_aside_later,
    write_checkpoint,
)
from densemtl_core.learning.state_files import random_state, read_state, restore_random_state
from densemtl_core.learning.weight_average import WeightAverage
from densemtl_core.learning.written_files import write_whole, writing
from densemtl_core.models import DenseMTL

__all__ = ["RunSettings", "Trainer"]

log = logging.getLogger(__name__)


# The fields of a batched sample; a wrapper for several processes looks into tuples, but not into a `Sample`.
Fields = tuple[Tensor, Mapping[str, Tensor], Tensor | None, str]


class Learner(nn.Module):
    """The network and its objective as one module: one wrapper for all processes' gradients.

    Args:
        model: the network.
        objective: scores its outputs.
        adaptation: what it learns from a target domain, if there is one.
        teacher: the moving average of the network, if there is one. It does not learn: it is no part of this module.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        adaptation: Adaptation | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.adaptation = model, objective, adaptation
        self._teacher = (teacher,)  # a tuple hides it from nn.Module

    def forward(self, fields: Fields, target_fields: Fields | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """A batch, and one of the target domain, to the total loss and its parts."""
        batch, device = Sample(*fields), fields[0].device.type
        target = None if target_fields is None else Sample(*target_fields)
        # Losses are taken in full precision: half a percent of a depth, or the difference of two pictures, is less
        # than what bfloat16 can tell apart.
        lower = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        with torch.autocast(device, enabled=False):
            if self.adaptation is not None and target is not None:
                batch = self.adaptation.restyled(batch, target)
            outputs = predict(self.model, batch.image, lower)
            total, parts = self.objective(outputs, batch)
            if self.adaptation is not None and target is not None:
                step = AdaptationStep(self.model, batch, outputs, target, self._teacher[0], lower)
                more, figures = self.adaptation(step)
                total, parts = total + more, {**parts, **figures}
        return total, parts


@dataclass
class RunSettings:
    """How long and how a run trains.

    Attributes:
        steps: updates.
        batch: global batch size, over all processes.
        seed: of weights, order and dropout.
        workers: loading processes a training process.
        average: decay of the moving average of the weights; 0 = none.
        log_every: steps between two records.
        checkpoint_every: steps between two checkpoints; the last step always has one.
        keep: newest checkpoints that are kept.
        validate_every: steps between two validations; 0 = only at the end.
        channels_last: weights and images in memory with a pixel's channels side by side. Faster on most processors
            and GPUs, by most in lower precision; rounded otherwise.
    """

    steps: int = 1000
    batch: int = 8
    seed: int = 0
    workers: int = 1
    average: float = 0.0
    log_every: int = 20
    checkpoint_every: int = 200
    keep: int = 2
    validate_every: int = 0
    channels_last: bool = False


class Trainer:
    """Trains a network in place and keeps its run folder.

    Args:
        fabric: launched; says on which devices, in which precision.
        model: on any device.
        objective: gives the loss; what it has to learn is learnt beside the network.
        settings: of the run.
        optimisation: learning rates and the like.
        folder: for ``checkpoints/`` and ``history.jsonl``.
        record: called on the first process with every record of the history, for a progress line or curves.
        adaptation: what the network learns from a target domain; `fit` then needs its frames.
        begun: the network has learnt something before, which a moving average should not forget at once.

    Attributes:
        step: updates done.
        average: the moving average of the weights, if there is one.
        pace: how fast `fit` goes, and how much of that time it waits for data.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: DenseMTL,
        objective: Objective,
        settings: RunSettings,
        optimisation: Optimisation,
        folder: Path,
        record: Callable[[Mapping[str, float]], None] = lambda record: None,
        adaptation: Adaptation | None = None,
        begun: bool = False,
    ) -> None:
        if settings.steps < 1 or settings.batch < 1 or settings.log_every < 1 or settings.checkpoint_every < 1:
            raise InputError("steps, batch, log_every and checkpoint_every must be at least 1")
        self.fabric, self.objective, self.adaptation, self.settings = fabric, objective, adaptation, settings
        self.folder, self.record = folder, record
        self.optimisation = optimisation
        self.pace = Pace(settings.batch, settings.workers)
        if settings.channels_last:
            model.to(memory_format=torch.channels_last)
        encoder = set(model.encoder.parameters())
        rest = (p for p in model.parameters() if p not in encoder)
        groups = [] if adaptation is None else adaptation.groups()
        grouped = {p for group in groups for p in group["params"]}
        own = [p for p in (adaptation.parameters() if adaptation is not None else ()) if p not in grouped]
        optimiser = make_optimiser(
            optimisation, model.encoder.parameters(), rest, [*objective.parameters(), *own], groups
        )
        # The average is taken of the bare network: Fabric's wrapper only changes how it is called.
        self.bare = model
        self.average = WeightAverage(model, settings.average, not begun) if settings.average else None
        teacher = None if self.average is None else self.average.model.to(fabric.device)
        self.learner, self.optimiser = fabric.setup(Learner(model, objective, adaptation, teacher), optimiser)
        self.step = 0

    @property
    def judged(self) -> DenseMTL:
        """The network that validation judges: the average of the weights where there is one."""
        return self.bare if self.average is None else self.average.model  # type: ignore[return-value]

    def fit(
        self,
        dataset: Dataset[Sample],
        target: Dataset[Sample] | None = None,
        validate: Callable[[], object] = lambda: None,
        after_checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        """Train from `step` to the end.

        Args:
            dataset: of unbatched samples.
            target: of the target domain's, where the run adapts to one; its batches are as large.
            validate: called every ``validate_every`` steps, on every process; it may not draw random numbers.
            after_checkpoint: called after each checkpoint, on every process.

        Raises:
            KeyboardInterrupt: it was interrupted; the step was done and a checkpoint of it written (with one process:
                several would not stop at the same step).
            FloatingPointError: the loss is not finite; the message names the step, the losses and the samples.
        """
        settings, fabric = self.settings, self.fabric
        if (target is None) != (self.adaptation is None):
            raise ValueError("an adaptation and a target data set go together")
        batches = self._stream(dataset, settings.seed)
        # Another order than the source's: where both have as many samples, pairs would come back epoch after epoch.
        targets = None if target is None else self._stream(target, settings.seed + 1, "the target")
        loaded = 1 if targets is None else 2
        pace = self.pace = Pace(settings.batch, loaded * settings.workers)
        pairs = zip(self._moved(batches), repeat(None) if targets is None else self._moved(targets), strict=False)
        self.learner.train()
        alone = fabric.world_size == 1
        with closing(batches), closing(targets or batches), Interruption(alone) as interruption:
            for batch, target_batch in pace.watched(pairs):
                total, parts = self._update(batch, target_batch)
                pace.step()
                last = self.step == settings.steps
                if self.step % settings.log_every == 0 or last:
                    figures = {"loss": total.detach(), **parts}
                    means = process_means(fabric, figures)
                    making = batches.making + (0.0 if targets is None else targets.making)
                    self._write_record({"step": self.step, **means, **pace.figures(making)})
                due = self.step % settings.checkpoint_every == 0 or last
                if due:
                    with pace.paused():
                        self.save()
                        after_checkpoint()
                if settings.validate_every and self.step % settings.validate_every == 0 and not last:
                    with pace.paused():
                        validate()
                    self.learner.train()
                if interruption.asked:
                    if not due:
                        self.save()
                    raise KeyboardInterrupt

    def _stream(self, dataset: Dataset[Sample], seed: int, what: str = "the data set") -> BatchStream:
        settings, fabric = self.settings, self.fabric
        return batch_stream(
            dataset, settings.batch, seed, range(self.step, settings.steps), workers=settings.workers,
            rank=fabric.global_rank, ranks=fabric.world_size, what=what, pinned=fabric.device.type == "cuda",
        )  # fmt: skip

    def _moved(self, batches: Iterable[Sample]) -> Iterator[Sample]:
        return on_device(batches, self.fabric.device, self.settings.channels_last)

    def _update(self, batch: Sample, target: Sample | None) -> tuple[Tensor, dict[str, Tensor]]:
        try:
            total, parts = self.learner(_fields(batch), None if target is None else _fields(target))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            # The published decoder normalises image-wide means: of a single image they are one value a channel.
            raise InputError(
                f"run.batch gives {len(batch.image)} image a process, with which this network cannot normalise; "
                "give at least 2 a process"
            ) from None
        set_rates(self.optimiser, self.step, self.settings.steps, self.optimisation)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(total)
        norm = self._clipped()
        # One look for both, since on a GPU every look waits for it; and before a weight is changed.
        bad = ~torch.isfinite(total) if norm is None else ~(torch.isfinite(total) & torch.isfinite(norm))
        if self.fabric.world_size > 1:  # what one process saw ends all of them: the others would wait for it
            seen: Any = self.fabric.all_reduce(bad.float(), reduce_op="sum")
            bad = seen > 0
        if bad:
            losses = ", ".join(f"{k} {float(v):.4g}" for k, v in parts.items())
            kept = checkpoints(self.folder)
            last = f"the last checkpoint is {kept[-1].name}" if kept else "there is no checkpoint yet"
            what = f"the loss is {total.item()} ({losses})"
            if norm is not None and torch.isfinite(total):
                what = f"the gradient's norm is {norm.item()}, the loss {total.item()} ({losses})"
            raise FloatingPointError(
                f"step {self.step + 1}: {what}; lower optimisation.lr, or look at the "
                f"samples {batch.name[:200]}{'' if target is None else f' and {target.name[:200]}'}; {last}"
            )
        self.optimiser.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.bare)
        return total, parts

    @property
    def _scaler(self) -> Any:
        """Of 16-mixed: scales the loss, and leaves a step out whose gradients overflow; None in other precisions."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def _clipped(self) -> Tensor | None:
        """Limit the gradient; its norm before that, None where the scaler looks after what is not finite."""
        limit = self.optimisation.clip
        if self._scaler is not None and not limit:
            return None  # a fused update takes the scale out itself
        norm = self.fabric.clip_gradients(
            self.learner, self.optimiser, max_norm=limit or math.inf, error_if_nonfinite=False
        )
        return norm if self._scaler is None else None

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of this step, and remove those older than the newest ``keep``."""
        random = self._gathered_random_state()
        if self.fabric.is_global_zero:
            state: dict[str, Any] = {
                "step": self.step,
                "optimiser_kind": self.optimisation.optimiser,
                "model": self.bare.state_dict(),
                "objective": self.objective.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "random": random,
            }
            if self.adaptation is not None:
                state["adaptation"] = self.adaptation.state_dict()
            if self.average is not None:
                state["average"] = {"updates": self.average.updates, "model": self.average.model.state_dict()}
            if self._scaler is not None:
                state["scaler"] = self._scaler.state_dict()
            write_checkpoint(self.folder, self.step, state, self.settings.keep)
        self.fabric.barrier()

    def resume(self, checkpoint: Path | None = None) -> None:
        """Go on from a checkpoint, the newest by default.

        The history's later records are dropped, and later checkpoints renamed: else the next resume would take them for
        this run's. Settings are this run's, the checkpoint's rates are not brought back.

        Raises:
            InputError: there is none, it is damaged, or it is of another network or run.
        """
        if checkpoint is None:
            checkpoint, state = newest_checkpoint(self.folder)
        else:
            state = read_state(checkpoint)
        if state["step"] > self.settings.steps:
            raise InputError(f"checkpoint {checkpoint} is of step {state['step']}, run.steps is {self.settings.steps}")
        kind, ours = state.get("optimiser_kind"), self.optimisation.optimiser
        if kind != ours:
            raise InputError(f"checkpoint {checkpoint} was made with optimisation.optimiser={kind}, not {ours}")
        if ("average" in state) != (self.average is not None):
            kind = "with" if "average" in state else "without"
            raise InputError(f"checkpoint {checkpoint} was made {kind} run.average; resume with the same settings")
        if ("adaptation" in state) != (self.adaptation is not None):
            kind = "with" if "adaptation" in state else "without"
            raise InputError(f"checkpoint {checkpoint} was made {kind} adaptation; resume with the same settings")
        try:
            self.bare.load_state_dict(state["model"])
            self.objective.load_state_dict(state["objective"])
            if self.adaptation is not None:
                self.adaptation.load_state_dict(state["adaptation"])
            load_optimiser(self.optimiser, state["optimiser"])
            if self._scaler is not None and "scaler" in state:
                self._scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.model.load_state_dict(state["average"]["model"])
                self.average.updates = state["average"]["updates"]
        except (RuntimeError, ValueError, KeyError) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(
                f"checkpoint {checkpoint} is of another network or optimiser ({line}); resume with the preset, "
                "tasks and optimiser that it was made with"
            ) from None
        self.step = state["step"]
        if len(state["random"]) == self.fabric.world_size:
            restore_random_state(state["random"][self.fabric.global_rank])
        else:
            log.warning(
                "the checkpoint is of %d processes, this run has %d: random numbers begin anew",
                len(state["random"]),
                self.fabric.world_size,
            )
        self.fabric.barrier()  # every process has read
        if self.fabric.is_global_zero:
            set_aside_later(self.folder, self.step)
            kept = [r for r in read_history(self.folder) if r["step"] <= self.step]
            write_whole(self.folder / HISTORY, "".join(json.dumps(r) + "\n" for r in kept))
        self.fabric.barrier()

    def _gathered_random_state(self) -> list[dict[str, Tensor]]:
        """Every process's, in their order: dropout of each goes on where it was."""
        own = random_state()
        if self.fabric.world_size == 1:
            return [own]
        gathered: Any = self.fabric.all_gather(own)
        return [{name: state[rank] for name, state in gathered.items()} for rank in range(self.fabric.world_size)]

    def _write_record(self, record: Mapping[str, float]) -> None:
        if self.fabric.is_global_zero:
            with writing(self.folder / HISTORY):
                self.folder.mkdir(parents=True, exist_ok=True)
                with open(self.folder / HISTORY, "a") as file:
                    file.write(json.dumps(dict(record)) + "\n")
            self.record(record)


def _fields(batch: Sample) -> Fields:
    return batch.image, batch.labels, batch.intrinsics, batch.name
