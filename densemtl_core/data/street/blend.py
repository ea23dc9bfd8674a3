"""Values of many surface points at once: ``(P,)`` and ``(3, P)`` tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Points", "colour_of", "grey", "mix"]


class Points:
    """Some of the points of the visible surfaces: columns by name, picked out when they are first read.

    Args:
        columns: ``(..., N)`` values of all points, by name.
        places: ``(P,)`` which of them.
    """

    def __init__(self, columns: Mapping[str, Tensor], places: Tensor) -> None:
        self._columns, self._places = columns, places
        self._picked: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._picked:
            self._picked[name] = self._columns[name].index_select(-1, self._places)
        return self._picked[name]


def mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """``a`` where ``share`` is 0, ``b`` where it is 1."""
    return a * (1 - share) + b * share


def colour_of(column: Mapping[str, Tensor], names: tuple[str, str, str]) -> Tensor:
    """Three columns of the primitive table as a ``(3, P)`` colour."""
    return torch.stack([column[n] for n in names])


def grey(like: Tensor, *levels: float) -> Tensor:
    """A constant colour shaped like ``(3, P)``."""
    return torch.tensor(levels, device=like.device)[:, None].expand_as(like)
