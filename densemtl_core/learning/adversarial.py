"""Adversarial adaptation: predictions for real frames learn to look like those for simulated ones.

A discriminator a task and head tells the domains apart by the prediction alone; the network learns to deceive it
(Tsai et al., 2018; Vu et al., 2019; as released with the paper, for every task that says what a discriminator sees of
it).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.errors import InputError
from densemtl_core.learning.adaptation import AdaptationStep, AdaptationTerm
from densemtl_core.models.discriminator import PatchDiscriminator
from densemtl_core.tasks import Task

__all__ = ["AdversarialAlignment"]

SOURCE, TARGET = 0.0, 1.0


class AdversarialAlignment(AdaptationTerm):
    """Output-space alignment at every head.

    Published: two steps with two optimisers, whose gradients are taken at the same weights. So they are one: the
    network's term sees frozen discriminators, the discriminators' sees detached predictions, and the sum of both has
    exactly the gradients of the two.

    Args:
        tasks: that are aligned.
        heads: outputs a task that are, the final one first (published: 2).
        weight: of the network's term, a mean over tasks and heads (published: 0.005).
        width: of the discriminators (published: 64).
        downscale: how much smaller than the image the discriminators' pictures are (published: 1).
        lr: of the discriminators, which are trained by Adam and fall as ``(1 - t)^0.9`` (published: 1e-4).

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        heads: int = 2,
        weight: float = 0.005,
        width: int = 64,
        downscale: int = 1,
        lr: float = 1e-4,
    ) -> None:
        super().__init__()
        if not tasks:
            raise InputError("adversarial adaptation of no task; name at least one")
        if weight < 0 or lr <= 0 or downscale < 1 or heads < 1:
            raise InputError(
                f"adversarial adaptation: weight {weight} must be >= 0, lr {lr} > 0, downscale {downscale} and "
                f"heads {heads} at least 1"
            )
        self.tasks, self.heads, self.weight, self.downscale, self.lr = tuple(tasks), heads, weight, downscale, lr
        self.discriminators = nn.ModuleDict(
            {
                task.name: nn.ModuleList(PatchDiscriminator(task.alignment_channels, width) for _ in range(heads))
                for task in sorted(tasks, key=lambda task: task.name)
            }
        )

    def groups(self) -> list[dict[str, Any]]:
        """All discriminators at their own rate."""
        group: dict[str, Any] = {"params": list(self.parameters()), "lr": self.lr, "peak": self.lr}
        return [group | {"betas": (0.9, 0.99), "weight_decay": 0.0, "schedule": "poly", "warmup": 0.0}]

    def forward(self, step: AdaptationStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a step.

        Returns:
            The sum of both sides' terms; ``adversarial``, the network's without its weight (ln 2 where the
            discriminators guess), and ``discriminator``, theirs (2 ln 2 where they do).

        Raises:
            InputError: the source lacks a task's label, which gives the scale; the images are too small; the network
                has fewer heads than are aligned.
        """
        height, width = step.source.image.shape[-2:]
        size = (height // self.downscale, width // self.downscale)
        if min(size) < 32:
            raise InputError(
                f"adversarial adaptation: images of {width}x{height} are {size[1]}x{size[0]} for the discriminators, "
                "which need 32x32; lower adversarial.downscale or enlarge data.size"
            )
        deceiving, telling = [], []
        for task in self.tasks:
            label = step.source.labels.get(task.name)
            if label is None:
                raise InputError(
                    f"adversarial adaptation of {task.name}: {step.source.name or 'the source'} has no such label"
                )
            label = task.through_camera(label, step.source.intrinsics)
            sources, targets = (outputs[task.name] for outputs in (step.source_outputs, step.target_outputs))
            if len(sources) < self.heads:
                raise InputError(
                    f"adversarial adaptation of {task.name}: {self.heads} heads are to be aligned, but the network has "
                    f"{len(sources)}; set adversarial.heads={len(sources)}"
                )
            judges: Any = self.discriminators[task.name]
            for judge, source, target in zip(judges, sources, targets, strict=False):
                seen_source, seen_target = (
                    task.alignment_map(task.resize(raw, size), label) for raw in (source.detach(), target)
                )
                with _frozen(judge):
                    deceiving.append(_verdict(judge(seen_target), SOURCE))
                telling.append(_verdict(judge(seen_source), SOURCE) + _verdict(judge(seen_target.detach()), TARGET))
        # Each discriminator takes its own loss in full, so theirs is a sum: what one does is not another's affair.
        deceive, tell = torch.stack(deceiving).mean(), torch.stack(telling)
        return self.weight * deceive + tell.sum(), {
            "adversarial": deceive.detach(),
            "discriminator": tell.mean().detach(),
        }


def _verdict(logits: Tensor, domain: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, domain))


@contextlib.contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through, and none stay."""
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
