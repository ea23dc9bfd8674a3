"""The supervised objective: the weighted sum of the tasks' losses, averaged over scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.objective import Objective
from densemtl_core.tasks import Task

__all__ = ["SupervisedObjective"]


class SupervisedObjective(Objective):
    """``sum_t w_t mean_s L_t(scale s)``, with the heads before and after the exchange as scales.

    Args:
        tasks: the network's tasks.
        weights: task name to ``w_t``; 1 where not named. (The paper's: semantic 50, depth 1 for two tasks; semantic
            100, depth 1, normals 100, edges 50 for more, with the depth loss on normalised inverse depth.)

    Raises:
        InputError: a weight for a task that is not there, or a negative one.
    """

    def __init__(self, tasks: Sequence[Task], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.weights = {task.name: 1.0 for task in tasks}
        for name, weight in (weights or {}).items():
            if name not in self.weights or weight < 0:
                raise InputError(
                    f"task weight {name}={weight}: it must be >= 0 and name one of {', '.join(self.weights)}"
                )
            self.weights[name] = float(weight)

    def forward(self, outputs: Mapping[str, Sequence[Tensor]], batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a batch.

        Args:
            outputs: task name to raw outputs, one a scale (what the network returns).
            batch: any subset of the labels; a task whose label is absent adds exactly zero.

        Returns:
            The total, and the unweighted loss of every task whose label is there, detached.
        """
        total = batch.image.new_zeros(())
        parts: dict[str, Tensor] = {}
        for task in self.tasks:
            label = batch.labels.get(task.name)
            if label is None:
                continue
            scales = outputs[task.name]
            loss = sum((task.loss(raw, label) for raw in scales), start=batch.image.new_zeros(())) / len(scales)
            total = total + self.weights[task.name] * loss
            parts[task.name] = loss.detach()
        return total, parts
