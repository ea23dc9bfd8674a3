"""Figures of a step, over all processes that train together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

__all__ = ["process_means"]


def process_means(fabric: Fabric, figures: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean of every figure over the processes that have it.

    Processes see other samples, and where data is labelled in part, a batch of one may lack a task that another's has:
    then their figures have other names, and to reduce them one by one would pair up different ones.

    Args:
        fabric: of this process; every process has to call.
        figures: name to a scalar without gradient.

    Returns:
        The figures of all processes by name; the same in every process.
    """
    if fabric.world_size == 1:
        return {name: float(value) for name, value in figures.items()}
    names = _names_of_all(fabric, list(figures))
    sums = torch.zeros(2, len(names), dtype=torch.float64, device=fabric.device)
    for i, name in enumerate(names):
        if name in figures:
            sums[0, i], sums[1, i] = figures[name], 1
    reduced: Any = fabric.all_reduce(sums, reduce_op="sum")
    totals, counts = reduced.tolist()  # one wait for the device
    return {name: total / count for name, total, count in zip(names, totals, counts, strict=True)}


def _names_of_all(fabric: Fabric, names: list[str]) -> list[str]:
    """Those of the first process first, in its order; as text, since gathering objects would pickle them."""
    own = json.dumps(names).encode()
    length: Any = fabric.all_reduce(torch.tensor(len(own), device=fabric.device), reduce_op="max")
    padded = torch.tensor(list(own.ljust(int(length))), dtype=torch.uint8, device=fabric.device)
    gathered: Any = fabric.all_gather(padded)
    found = [name for row in gathered.tolist() for name in json.loads(bytes(row))]
    return list(dict.fromkeys(found))
