"""How weights are changed: optimiser, learning rates, schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from densemtl_core.errors import InputError

__all__ = ["Optimisation", "load_optimiser", "make_optimiser", "rate_factor", "set_rates"]

OPTIMISERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "step", "poly", "constant")


@dataclass
class Optimisation:
    """Optimiser, learning rates, schedule.

    Attributes:
        optimiser: ``adamw``, ``adam`` or ``sgd``.
        lr: peak learning rate of everything but the encoder.
        encoder_lr: peak learning rate of the encoder.
        objective_lr: peak learning rate of what the objective learns itself (a pose network, task uncertainties);
            null = ``lr``.
        betas: of Adam; the first is the momentum of SGD.
        weight_decay: of all weights.
        schedule: ``cosine`` to zero; ``step``, a tenth after ``step_at`` of the run (published); ``poly``, power 0.9;
            ``constant``.
        step_at: share of the run after which ``step`` falls (published: 30k of 40k).
        warmup: share of the run over which the rate rises linearly from near zero.
        clip: largest norm of the gradient of all that is trained, discriminators too; 0 = no limit.
        fused: the update in one pass over memory: faster, by most for large networks, and rounded otherwise. Not
            with ``16-mixed``.
    """

    optimiser: str = "adamw"
    lr: float = 1e-3
    encoder_lr: float = 5e-4
    objective_lr: float | None = None
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    step_at: float = 0.75
    warmup: float = 0.05
    clip: float = 10.0
    fused: bool = False


def make_optimiser(
    how: Optimisation,
    encoder: Iterable[nn.Parameter],
    rest: Iterable[nn.Parameter],
    objective: Iterable[nn.Parameter] = (),
    further: Sequence[Mapping[str, Any]] = (),
) -> torch.optim.Optimizer:
    """An optimiser with the encoder's and the objective's parameters at their own rates.

    Args:
        how: names optimiser and rates.
        encoder: the encoder's parameters.
        rest: the rest of the network's.
        objective: what the objective learns.
        further: groups with settings of their own: ``params``, ``peak``, and where they differ ``betas``,
            ``weight_decay``, ``schedule``, ``warmup``.

    Raises:
        InputError: unknown optimiser or schedule, or further groups for SGD, whose settings are Adam's.
    """
    if how.schedule not in SCHEDULES:
        raise InputError(f"optimisation.schedule is {how.schedule!r}; known: {', '.join(SCHEDULES)}")
    own = how.lr if how.objective_lr is None else how.objective_lr
    objective = list(objective)
    # A task's uncertainty is a number with a meaning: decay would pull it to a unit.
    numbers = [p for p in objective if p.ndim == 0]
    arrays = [p for p in objective if p.ndim > 0]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.requires_grad], "lr": lr, "peak": lr}
        for parameters, lr in ((encoder, how.encoder_lr), (rest, how.lr), (arrays, own), (numbers, own))
    ]
    groups[-1]["weight_decay"] = 0.0
    groups = [g for g in groups if g["params"]] + [dict(g) for g in further]
    if further and how.optimiser == "sgd":
        raise InputError("optimisation.optimiser is sgd; adversarial adaptation needs adam or adamw")
    beta1, beta2 = how.betas
    if how.optimiser == "adamw":
        return torch.optim.AdamW(groups, betas=(beta1, beta2), weight_decay=how.weight_decay, fused=how.fused or None)
    if how.optimiser == "adam":
        return torch.optim.Adam(groups, betas=(beta1, beta2), weight_decay=how.weight_decay, fused=how.fused or None)
    if how.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=beta1, weight_decay=how.weight_decay, fused=how.fused or None)
    raise InputError(f"optimisation.optimiser is {how.optimiser!r}; known: {', '.join(OPTIMISERS)}")


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """What an optimiser remembers of each weight, from a checkpoint; its settings (rates, decay, betas) stay its own.

    Moments are laid out in memory as their weights are. A checkpoint keeps values, not memory formats; a fused update
    takes both for alike, and another order of memory may be rounded otherwise.

    Args:
        optimiser: of the same parameters, in the same groups.
        state: its ``state_dict()``.
    """
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]
    groups = [{**saved, **own} for saved, own in zip(state["param_groups"], settings, strict=True)]
    optimiser.load_state_dict({**state, "param_groups": groups})
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def rate_factor(step: int, steps: int, how: Optimisation) -> float:
    """The learning rate at a step, as a share of its peak.

    Args:
        step: counted from 0.
        steps: of the whole run.
        how: names the schedule.
    """
    rise = round(how.warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    done = (step - rise) / max(1, steps - rise)
    if how.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if how.schedule == "step":
        return 1.0 if step < how.step_at * steps else 0.1
    if how.schedule == "poly":
        return float((1 - done) ** 0.9)
    return 1.0


def set_rates(optimiser: torch.optim.Optimizer, step: int, steps: int, how: Optimisation) -> None:
    """Set every group's learning rate for a step: there is no schedule whose state would have to be kept."""
    factor = rate_factor(step, steps, how)
    for group in optimiser.param_groups:
        own = {name: group[name] for name in ("schedule", "warmup") if name in group}
        group["lr"] = group["peak"] * (rate_factor(step, steps, replace(how, **own)) if own else factor)
