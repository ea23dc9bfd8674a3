"""How the losses of several tasks become one: fixed weights, or weights learned from each task's uncertainty."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from densemtl_core.errors import InputError
from densemtl_core.tasks import Task

__all__ = ["FixedWeights", "TaskWeights", "UncertaintyWeights"]


class TaskWeights(nn.Module, ABC):
    """From task name to a scalar loss, to one total.

    Attributes:
        names: of the tasks, in the order given.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.names = tuple(task.name for task in tasks)

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weigh and add.

        Args:
            losses: task name to its loss ``()``, for any subset of the tasks. A task that is not there, or whose loss
                is exactly zero (none of its pixels was known), adds exactly zero, with zero gradient everywhere.

        Returns:
            The total, ``()``.
        """

    @abstractmethod
    def factors(self) -> dict[str, float]:
        """What each task's loss is multiplied by at present, for people to see."""


class FixedWeights(TaskWeights):
    """``sum_t w_t L_t``.

    Args:
        tasks: the network's tasks.
        weights: task name to ``w_t``; 1 where not named.

    Raises:
        InputError: a weight for a task that is not there, or one that is negative or not finite.
    """

    weights: Tensor

    def __init__(self, tasks: Sequence[Task], weights: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        given = dict(weights or {})
        for name, weight in given.items():
            if name not in self.names or not 0 <= weight < math.inf:
                raise InputError(
                    f"task weight {name}={weight}: it must be >= 0 and name one of {', '.join(self.names)}"
                )
        # A constant of the configuration, so no part of a checkpoint; a buffer, so on the losses' device.
        values = torch.tensor([float(given.get(name, 1.0)) for name in self.names])
        self.register_buffer("weights", values, persistent=False)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The total, ``()``."""
        total = self.weights.new_zeros(())
        for name, weight in zip(self.names, self.weights, strict=True):
            if name in losses:
                total = total + weight * losses[name]
        return total

    def factors(self) -> dict[str, float]:
        """The weights."""
        return dict(zip(self.names, self.weights.tolist(), strict=True))


class UncertaintyWeights(TaskWeights):
    """Each task weighs as much as its noise allows (Kendall, Gal and Cipolla, CVPR 2018).

    A task has one learned number, the log-variance ``s_t`` of its noise, the same for every image (homoscedastic):

        total = sum_t 1/2 exp(-s_t) L_t + 1/2 s_t        for a regression
        total = sum_t     exp(-s_t) L_t + 1/2 s_t        for a classification (`Task.classifies`)

    At a constant loss the best ``s_t`` is ``ln L_t`` for a regression and ``ln 2 L_t`` for a classification: whatever
    the units of a loss, its weighted value tends to one half. The total may become negative.

    The regression's form is exact for a mean squared error and the classification's approximate; for berHu, L1 or
    cosine losses it is the usual heuristic. Leave ``s_t`` out of weight decay: pulling it to zero sets a unit.

    Args:
        tasks: the network's tasks.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        # By name, so that a checkpoint does not depend on the order in which tasks are listed.
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in sorted(self.names)})
        self._shares = {task.name: 1.0 if task.classifies else 0.5 for task in tasks}

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The total, ``()``."""
        terms = []
        for name, s in self.log_variances.items():
            if name in losses:
                loss = losses[name]
                # Without labels there is nothing to learn about the noise: 1/2 s alone would push s to minus infinity.
                terms.append(torch.where(loss == 0, 0.0, self._shares[name] * torch.exp(-s) * loss + 0.5 * s))
            else:
                terms.append(0.0 * s)  # keeps the parameter in the graph, as training on several devices demands
        return torch.stack(terms).sum()

    def factors(self) -> dict[str, float]:
        """``exp(-s_t)``, halved for regressions."""
        return {name: self._shares[name] * math.exp(-self.log_variances[name].item()) for name in self.names}
