"""Learning from a target domain's frames without labels, beside a source domain's with labels.

A step of an adapted run sees a batch of each. The supervised objective scores the source as ever; every
`AdaptationTerm` adds something that it can say without the target's labels. All of it is one loss with one backward
pass, so that resuming, several processes and mixed precision are the trainer's ordinary ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.fourier_style import fourier_style
from densemtl_core.learning.objective import Objective

__all__ = ["Adaptation", "AdaptationStep", "AdaptationTerm", "TargetObjective", "predict"]

Outputs = Mapping[str, Sequence[Tensor]]


def predict(model: nn.Module, image: Tensor, autocast: torch.dtype | None = None) -> dict[str, list[Tensor]]:
    """A network's raw outputs in float32, computed in a lower precision where one is given."""
    if autocast is None:
        outputs = model(image)
    else:
        with torch.autocast(image.device.type, dtype=autocast):
            outputs = model(image)
    return {task: [raw.float() for raw in raws] for task, raws in outputs.items()}


@dataclass
class AdaptationStep:
    """What the terms of one step share; what several of them ask for is computed once.

    Attributes:
        model: the network that learns, in training mode.
        source: labelled batch.
        source_outputs: what the network gave for it.
        target: batch of the target domain, whose labels, if it has any, nobody reads.
        teacher: the moving average of the network, in evaluation mode; None if the run keeps none.
        autocast: type in which networks compute; None = float32.
    """

    model: nn.Module
    source: Sample
    source_outputs: Outputs
    target: Sample
    teacher: nn.Module | None = None
    autocast: torch.dtype | None = None

    @cached_property
    def target_outputs(self) -> dict[str, list[Tensor]]:
        """What the network gives for the target's images, with a gradient."""
        return self.outputs(self.target.image)

    def outputs(self, image: Tensor) -> dict[str, list[Tensor]]:
        """What the network gives for other images, with a gradient."""
        return predict(self.model, image, self.autocast)


class AdaptationTerm(nn.Module, ABC):
    """One thing that can be learnt from a target domain without its labels."""

    @abstractmethod
    def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a step.

        Returns:
            What to add to the loss, and figures for people, detached.
        """

    def groups(self) -> list[dict[str, Any]]:
        """Parameters with rates of their own, as groups of an optimiser with ``peak`` and, if need be, ``schedule``.

        Parameters that are in no group are trained as the objective's are.
        """
        return []


class TargetObjective(AdaptationTerm):
    """An objective that needs no labels, on the target's frames: the photometric one of a video, say.

    Args:
        objective: scores what the network gives for the target's images.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
        """See `AdaptationTerm.forward`."""
        loss, parts = self.objective(step.target_outputs, step.target)
        return loss, parts


class Adaptation(nn.Module):
    """The sum of several terms.

    Args:
        terms: name to term; figures that share a name are told apart by the term's.
        restyle: largest share of frequencies in which source pictures take over the target's amplitudes
            (`densemtl_core.learning.fourier_style`), drawn anew for every batch; None leaves them as they are.

    Raises:
        InputError: ``restyle`` is out of range.
    """

    def __init__(self, terms: Mapping[str, AdaptationTerm], restyle: float | None = None) -> None:
        super().__init__()
        if restyle is not None and not 0 <= restyle <= 0.5:
            raise InputError(f"adaptation: restyle is {restyle}; it must be in 0..0.5 (published: 0.01 to 0.09)")
        self.terms, self.restyle = nn.ModuleDict(terms), restyle

    @torch.no_grad()
    def restyled(self, source: Sample, target: Sample) -> Sample:
        """The source's batch in the target's light and colours, if that is wanted; everything else as it is."""
        if self.restyle is None:
            return source
        share = self.restyle * float(torch.rand(()))
        return replace(source, image=fourier_style(source.image, target.image, share))

    def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
        """See `AdaptationTerm.forward`."""
        total = step.source.image.new_zeros(())
        figures: dict[str, Tensor] = {}
        for name, term in self.terms.items():
            loss, own = term(step)
            total = total + loss
            figures.update({key if key not in figures else f"{name}/{key}": value for key, value in own.items()})
        return total, figures

    def groups(self) -> list[dict[str, Any]]:
        """All terms' groups."""
        return [group for term in self.terms.values() for group in term.groups()]  # type: ignore[operator]
