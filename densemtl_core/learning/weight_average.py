"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Keeps ``average = d * average + (1 - d) * weights``; running statistics of normalisation are copied.

    The decay grows from zero as ``(1 + n) / (10 + n)`` up to ``decay``, so that early averages forget the random start;
    weights that have learnt something are not forgotten.

    Args:
        model: what is averaged.
        decay: final ``d``, in (0, 1).
        forget: whether the decay grows; if not, it is ``d`` from the first update.

    Attributes:
        model: the averaged copy, in evaluation mode.
        updates: ``n``.
    """

    def __init__(self, model: nn.Module, decay: float, forget: bool = True) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"decay is {decay}; it must be in (0, 1)")
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.forget = decay, forget
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards a network's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.forget else self.decay
        self.updates += 1
        # All tensors in one call: hundreds of small ones would each wait for Python, and on a GPU for a launch.
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - decay)
        buffers = list(self.model.buffers())
        if buffers:  # torch refuses an empty list
            torch._foreach_copy_(buffers, list(model.buffers()))
