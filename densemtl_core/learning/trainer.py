"""The training loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from densemtl_core.data.sample import Sample
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.models import DenseMTL

__all__ = ["Optimisation", "train"]

log = logging.getLogger(__name__)


@dataclass
class Optimisation:
    """How the weights are changed.

    Attributes:
        lr: peak learning rate of decoders, exchange and heads.
        encoder_lr: peak learning rate of the encoder.
        weight_decay: of AdamW.
        warmup: share of the steps over which the rate rises from zero; it then falls to zero along a cosine.
        clip: largest gradient norm.
    """

    lr: float = 1e-3
    encoder_lr: float = 5e-4
    weight_decay: float = 1e-4
    warmup: float = 0.05
    clip: float = 10.0


def train(
    model: DenseMTL,
    objective: SupervisedObjective,
    batches: Iterable[Sample],
    steps: int,
    optimisation: Optimisation | None = None,
    log_every: int = 20,
) -> list[dict[str, float]]:
    """Train in place.

    Args:
        model: put into training mode.
        objective: gives the loss.
        batches: one batch a step; it must have at least ``steps``.
        steps: number of updates.
        optimisation: learning rates and the like.
        log_every: steps between two log lines.

    Returns:
        One record a log line: step, loss, the tasks' losses, seconds since the start.

    Raises:
        FloatingPointError: the loss is not finite; the message names the step and the tasks' losses.
    """
    how = optimisation or Optimisation()
    device = next(model.parameters()).device
    encoder = set(model.encoder.parameters())
    groups = [
        {"params": [p for p in model.parameters() if p in encoder], "lr": how.encoder_lr},
        {"params": [p for p in model.parameters() if p not in encoder], "lr": how.lr},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[how.encoder_lr, how.lr],
        total_steps=steps + 1,
        pct_start=how.warmup,
    )
    model.train()
    history: list[dict[str, float]] = []
    start = time.monotonic()
    for step, batch in zip(range(1, steps + 1), batches, strict=False):
        labels = {name: label.to(device) for name, label in batch.labels.items()}
        batch = Sample(batch.image.to(device), labels, batch.intrinsics, batch.name)
        total, parts = objective(model(batch.image), batch)
        if not torch.isfinite(total):
            losses = ", ".join(f"{k} {float(v):.4g}" for k, v in parts.items())
            raise FloatingPointError(f"step {step}: the loss is {total.item()} ({losses}); batch: {batch.name[:120]}")
        optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), how.clip)
        optimiser.step()
        schedule.step()
        if step % log_every == 0 or step == steps:
            record = {"step": float(step), "loss": total.item(), **{k: float(v) for k, v in parts.items()}}
            record["seconds"] = time.monotonic() - start
            history.append(record)
            losses = "  ".join(f"{k} {float(v):.3f}" for k, v in parts.items())
            rate = step / record["seconds"]
            log.info("step %d/%d  loss %.3f  %s  %.2f it/s", step, steps, record["loss"], losses, rate)
    return history
