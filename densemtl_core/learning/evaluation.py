"""Judge a network on labelled samples with every task's own metric."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from densemtl_core.data.sample import Sample
from densemtl_core.models import DenseMTL
from densemtl_core.tasks import Task, decode

__all__ = ["evaluate"]


@torch.no_grad()
def evaluate(model: DenseMTL, tasks: Sequence[Task], batches: Iterable[Sample]) -> dict[str, dict[str, float]]:
    """Score the final heads at the labels' resolution.

    Args:
        model: left in the mode in which it came.
        tasks: the tasks to judge.
        batches: labelled batches; a task is judged on those that carry its label.

    Returns:
        Task name to its scores (`densemtl_core.metrics.Metric.compute`).
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    metrics = {task.name: task.metric() for task in tasks}
    for batch in batches:
        raw = model(batch.image.to(device), intermediate=False)
        size = (batch.image.shape[-2], batch.image.shape[-1])
        decoded = decode(tasks, {task.name: task.resize(raw[task.name][0], size) for task in tasks})
        for task in tasks:
            if task.name in batch.labels:
                task.score(metrics[task.name], decoded, batch.labels[task.name].to(device))
    model.train(training)
    return {name: metric.compute() for name, metric in metrics.items()}
