"""An exchange whose every cost grows with the number of tasks: all write to one pool, and read from it.

A pairwise exchange gives task i what task j offers through a matrix of their own, ``W_ij``; T tasks have T(T-1) of
them. Here the matrix is a product, one factor of the writer and one of the reader, so that sums can be shared. For
features ``f_i``, ``C`` channels (``S`` a depthwise-separable convolution, ``*`` element by element):

    o_j  = sigmoid(G_j S(f_j)) * V_j S(f_j)                 what j lets through, C/2 channels
    p_i  = sum_{j != i} W_j o_j                             one sum for all, less what i wrote itself
    f~_i = f_i + ReLU BN R_i (sigmoid(Q_i f_i) * p_i)       the reader, too, says what it takes

Nothing is compared between positions: docs/exchange.md tells what attention gained beside it, and what it cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce

import torch
from torch import Tensor, nn

from densemtl_core.models.decoder import conv_bn_relu
from densemtl_core.models.edge import separable

__all__ = ["PoolExchange"]


class PoolExchange(nn.Module):
    """Tasks write to one pool and read from it what the others wrote.

    Args:
        tasks: task names; with a single one the exchange is the identity.
        channels: ``C``, even.
    """

    def __init__(self, tasks: Iterable[str], channels: int) -> None:
        super().__init__()
        self.tasks = tuple(sorted(tasks))
        self.extract, self.gate, self.write = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.choose, self.read = nn.ModuleDict(), nn.ModuleDict()
        for task in self.tasks if len(self.tasks) > 1 else ():
            self.extract[task] = separable(channels, channels)
            # first half of the outputs: what the sigmoid gates with; second half: what is gated
            self.gate[task] = nn.Conv2d(channels, 2 * (channels // 2), 1)
            self.write[task] = nn.Conv2d(channels // 2, channels, 1, bias=False)
            self.choose[task] = nn.Conv2d(channels, channels, 1)
            self.read[task] = conv_bn_relu(channels, channels)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        if not len(self.read):
            return dict(features)
        written = {t: self.written(t, features[t]) for t in self.tasks}
        pool = reduce(torch.add, written.values())
        return {
            t: x + self.read[t](torch.sigmoid(self.choose[t](x)) * (pool - written[t])) for t, x in features.items()
        }

    def written(self, task: str, feature: Tensor) -> Tensor:
        """What a task puts into the pool, ``(B, C, H, W)``, from its own features alone."""
        gate, value = self.gate[task](self.extract[task](feature)).chunk(2, dim=1)
        into: Tensor = self.write[task](torch.sigmoid(gate) * value)
        return into
