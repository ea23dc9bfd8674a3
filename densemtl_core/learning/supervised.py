"""The supervised objective: the weighted sum of the tasks' losses, averaged over scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from densemtl_core.data.sample import Sample
from densemtl_core.learning.objective import Objective
from densemtl_core.learning.task_weights import FixedWeights, TaskWeights
from densemtl_core.tasks import Task

__all__ = ["SupervisedObjective"]


class SupervisedObjective(Objective):
    """``sum_t w_t mean_s L_t(scale s)``, with the heads before and after the exchange as scales.

    Args:
        tasks: the tasks that learn from labels.
        weights: task name to ``w_t``, 1 where not named; or a module that gives the total itself, as learned weights
            do. (The paper's: semantic 50, depth 1 for two tasks; semantic 100, depth 1, normals 100, edges 50 for
            more, with the depth loss on normalised inverse depth.)

    Raises:
        InputError: a weight for a task that is not there, or a negative one.
    """

    def __init__(self, tasks: Sequence[Task], weights: Mapping[str, float] | TaskWeights | None = None) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.weigh = weights if isinstance(weights, TaskWeights) else FixedWeights(tasks, weights)

    def forward(self, outputs: Mapping[str, Sequence[Tensor]], batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a batch.

        Args:
            outputs: task name to raw outputs, one a scale (what the network returns).
            batch: any subset of the labels; a task whose label is absent adds exactly zero.

        Returns:
            The total, and the unweighted loss of every task whose label is there, detached.
        """
        losses: dict[str, Tensor] = {}
        for task in self.tasks:
            label = batch.labels.get(task.name)
            if label is not None:
                label = task.through_camera(label, batch.intrinsics)
                scales = outputs[task.name]
                zero = batch.image.new_zeros(())
                losses[task.name] = sum((task.loss(raw, label) for raw in scales), start=zero) / len(scales)
        return self.weigh(losses), {name: loss.detach() for name, loss in losses.items()}
