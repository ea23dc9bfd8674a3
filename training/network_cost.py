"""What networks cost: parameters, arithmetic, and time side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from densemtl_core.models import build_model
from densemtl_core.tasks import Task

__all__ = ["Milliseconds", "Network", "count", "time_interleaved"]


@dataclass(frozen=True)
class Network:
    """A preset with its tasks."""

    preset: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Milliseconds:
    """Times of one frame.

    Attributes:
        median: over the rounds.
        low: first quartile.
        high: third quartile.
        rounds: how many.
    """

    median: float
    low: float
    high: float
    rounds: int


def count(networks: Sequence[Network], size: tuple[int, int]) -> dict[str, float]:
    """Cost of running all of some networks on one frame.

    Args:
        networks: one, or those which together do the work.
        size: ``(H, W)`` of the frame.

    Returns:
        ``parameters`` in millions; ``gflop`` of a forward pass in evaluation mode, multiply and add counted apart.
    """
    parameters, flop = 0, 0
    for network in networks:
        with torch.device("meta"):  # shapes are all that counting needs
            model = build_model(network.preset, network.tasks).eval()
            image = torch.empty(1, 3, *size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image)
        parameters += sum(p.numel() for p in model.parameters())
        flop += counter.get_total_flops()
    return {"parameters": parameters / 1e6, "gflop": flop / 1e9}


@torch.no_grad()
def time_interleaved(
    groups: Mapping[str, Sequence[Network]], size: tuple[int, int], rounds: int
) -> dict[str, dict[str, Any]]:
    """Milliseconds a frame, batch of one, one thread: every round runs all groups, starting with another each time.

    Args:
        groups: name to networks that run one after the other; their weights are random, which costs the same.
        size: ``(H, W)`` of the frame.
        rounds: how many, at least 1.

    Returns:
        Name to `Milliseconds` as plain data.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        models = {g: [build_model(n.preset, n.tasks).eval() for n in networks] for g, networks in groups.items()}
        image = torch.rand(1, 3, *size)
        taken: dict[str, list[float]] = {name: [] for name in groups}
        names = list(groups)
        for number in range(-1, rounds):  # the first round only warms up
            for name in names[number % len(names) :] + names[: number % len(names)]:
                start = time.perf_counter()
                for model in models[name]:
                    model(image)
                if number >= 0:
                    taken[name].append(1000 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(before)
    return {name: asdict(_summary(values)) for name, values in taken.items()}


def _summary(values: Sequence[float]) -> Milliseconds:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
    return Milliseconds(median, low, high, len(values))
