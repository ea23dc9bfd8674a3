"""Colours of many surface points at once: ``(3, P)`` tensors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["colour_of", "grey", "mix"]


def mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """``a`` where ``share`` is 0, ``b`` where it is 1."""
    return a * (1 - share) + b * share


def colour_of(column: dict[str, Tensor], names: tuple[str, str, str]) -> Tensor:
    """Three columns of the primitive table as a ``(3, P)`` colour."""
    return torch.stack([column[n] for n in names])


def grey(like: Tensor, *levels: float) -> Tensor:
    """A constant colour shaped like ``(3, P)``."""
    return torch.tensor(levels, device=like.device)[:, None].expand_as(like)
