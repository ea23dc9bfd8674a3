"""What a preset costs before it is compiled: its parameters, and the arithmetic of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from deploy.untrained import untrained_network

__all__ = ["COUNTED_AT", "Cost", "cost"]

COUNTED_AT = (512, 1024)
"""``(H, W)`` of the frame whose arithmetic is counted: the size at which the paper's figures are told."""


@dataclass(frozen=True)
class Cost:
    """Of a network with the four tasks of the paper and 19 classes.

    Attributes:
        parameters: how many.
        flop: of a forward pass in evaluation mode; multiply and add counted apart.
        exchange_flop: of these, in the exchange between the tasks; 0 where there is none.
    """

    parameters: int
    flop: int
    exchange_flop: int


@cache
def cost(preset: str, size: tuple[int, int] = COUNTED_AT) -> Cost:
    """Count without computing: on shapes alone, so the largest network takes no longer than the smallest.

    Args:
        preset: a key of `densemtl_core.models.PRESETS`.
        size: ``(H, W)`` of the frame.

    Raises:
        InputError: unknown preset.
    """
    with torch.device("meta"):
        model, _ = untrained_network(preset, settled=False)
        image = torch.empty(1, 3, *size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    exchange = counter.get_flop_counts().get(f"{type(model).__name__}.exchange", {})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, counter.get_total_flops(), sum(exchange.values()))
