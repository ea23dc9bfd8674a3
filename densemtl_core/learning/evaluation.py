"""Judge a network on labelled samples with every task's own metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from densemtl_core.data.sample import Sample
from densemtl_core.metrics import Metric, join_states
from densemtl_core.models import DenseMTL
from densemtl_core.tasks import Task, decode

__all__ = ["evaluate", "gather_metrics", "judge"]


@torch.no_grad()
def judge(model: DenseMTL, tasks: Sequence[Task], batches: Iterable[Sample], quick: bool = False) -> dict[str, Metric]:
    """Show labelled samples to the final heads, at the labels' resolution.

    Args:
        model: left in the mode in which it came.
        tasks: the tasks to judge.
        batches: labelled batches; a task is judged on those that carry its label.
        quick: leave out the scores that take long (`Metric.quick`).

    Returns:
        Task name to a metric that has seen all of them.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    metrics = {task.name: task.metric().quick() if quick else task.metric() for task in tasks}
    for batch in batches:
        raw = model(batch.image.to(device), intermediate=False)
        size = (batch.image.shape[-2], batch.image.shape[-1])
        full = {task.name: task.resize(raw[task.name][0].float(), size) for task in tasks}
        decoded = decode(tasks, full, None if batch.intrinsics is None else batch.intrinsics.to(device))
        for task in tasks:
            if task.name in batch.labels:
                task.score(metrics[task.name], decoded, batch.labels[task.name].to(device))
    model.train(training)
    return metrics


def evaluate(
    model: DenseMTL, tasks: Sequence[Task], batches: Iterable[Sample], quick: bool = False
) -> dict[str, dict[str, float]]:
    """Score a network; see `judge`.

    Returns:
        Task name to its scores (`densemtl_core.metrics.Metric.compute`).
    """
    return {name: metric.compute() for name, metric in judge(model, tasks, batches, quick).items()}


def gather_metrics(fabric: Fabric, metrics: Mapping[str, Metric]) -> None:
    """Let every process's metrics hold what all processes have seen: each judges a part of the set.

    Args:
        fabric: of this process; all processes must call this, with metrics of the same making.
        metrics: changed in place.
    """
    if fabric.world_size == 1:
        return
    for metric in metrics.values():
        gathered = {name: _from_all(fabric, value) for name, value in metric.state().items()}
        parts = range(fabric.world_size)
        metric.load(join_states([{name: values[rank] for name, values in gathered.items()} for rank in parts]))


def _from_all(fabric: Fabric, value: Tensor) -> list[Tensor]:
    """One process's tensor each; processes may have seen different numbers of images."""
    gather: Any = fabric.all_gather
    if not value.is_floating_point():
        return list(gather(value).cpu())
    rows = gather(torch.tensor(len(value))).flatten().tolist()
    padded = value.new_zeros((max(rows), *value.shape[1:]))
    padded[: len(value)] = value
    return [part[:count] for part, count in zip(gather(padded).cpu(), rows, strict=True)]
