"""The published exchange with its formulas written out: what the package's faster form is measured against."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.models import CrossTaskAttention, CrossTaskExchange, DenseMTL

__all__ = ["PlainDirection", "PlainExchange", "plain_network"]


class PlainDirection(nn.Module):
    """xTAM as its formulas read: see `densemtl_core.models.exchange`."""

    def __init__(self, direction: CrossTaskAttention) -> None:
        super().__init__()
        self.downscale, self.alpha = direction.downscale, direction.alpha
        self.extract, self.query = direction.extract, direction.query
        self.key, self.value, self.merge = direction.key, direction.value, direction.merge
        gate, gated = direction.gate.weight.detach().chunk(2)
        self.register_buffer("gate", gate.clone())
        self.register_buffer("gated", gated.clone())

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """``f_{j->i}`` from ``f_i`` and ``f_j``, all ``(B, C, H, W)``."""
        s = self.downscale
        g = self.extract(source)
        pooled = F.max_pool2d(g, s, s)
        q, k, v = self.query(target[..., ::s, ::s]), self.key(pooled), self.value(pooled)
        scores = q.flatten(2).transpose(1, 2) @ k.flatten(2) / q.shape[1] ** 0.5
        attended = torch.softmax(scores, dim=-1) @ v.flatten(2).transpose(1, 2)
        corr = self.alpha * F.interpolate(attended.transpose(1, 2).reshape(q.shape), size=g.shape[-2:])
        own = torch.sigmoid(F.conv2d(g, self.gate, padding=1)) * F.conv2d(g, self.gated, padding=1)
        joined: Tensor = self.merge(torch.cat([own, corr], dim=1))
        return joined


class PlainExchange(nn.Module):
    """mTEB as its formulas read."""

    def __init__(self, exchange: CrossTaskExchange) -> None:
        super().__init__()
        self.directions = nn.ModuleDict(
            {
                target: nn.ModuleDict({source: PlainDirection(d) for source, d in sources.items()})
                for target, sources in exchange.directions.items()
            }
        )
        self.fusion = exchange.fusion

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        mixed = {}
        for target, feature in features.items():
            taken = [direction(feature, features[source]) for source, direction in self.directions[target].items()]
            mixed[target] = feature + self.fusion[target](torch.cat(taken, dim=1))
        return mixed


def plain_network(model: DenseMTL) -> DenseMTL:
    """The same weights, not copied, in the formulas as they read."""
    plain = copy.copy(model)
    plain._modules = dict(model._modules)
    plain.exchange = PlainExchange(plain.exchange)
    return plain
