"""Exchanges that were tried beside the published one and `EdgeExchange`: one interface, each with one idea.

Every class maps task name to features ``(B, C, H, W)``, in and out, and is made from task names and ``C``, as
`CrossTaskExchange` is. What they cost and what they gained: docs/exchange.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.models.decoder import conv_bn_relu, upsample_to
from densemtl_core.models.edge import EdgeDecoder, EdgeExchange, separable
from densemtl_core.models.exchange import CrossTaskAttention, CrossTaskExchange

__all__ = [
    "CoarseEdgeDecoder",
    "DensePoolExchange",
    "DepthwiseExchange",
    "GatedSharedExchange",
    "LowRankExchange",
    "MultiHeadExchange",
    "PoolExchange",
    "PooledKeysExchange",
    "SilentExchange",
    "TokenPoolExchange",
]


class SilentExchange(EdgeExchange):
    """`EdgeExchange` without attention: gated features and their fusion alone."""

    def __init__(self, tasks: Iterable[str], channels: int) -> None:
        super().__init__(tasks, channels)
        others = len(self.tasks) - 1
        for task in self.tasks if others else ():
            self.fusion[task] = conv_bn_relu(others * (channels // 2), channels)
            for unused in ("key", "value"):
                delattr(self.offer[task], unused)
        self.query, self.alpha = nn.ModuleDict(), nn.ParameterDict()

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        gated = {}
        for j in self.tasks:
            offer = self.offer[j]
            gate, value = offer.gate(offer.extract(features[j])).chunk(2, dim=1)
            gated[j] = torch.sigmoid(gate) * value
        return {
            i: features[i] + self.fusion[i](torch.cat([gated[j] for j in self.sources(i)], dim=1)) for i in self.tasks
        }


class GatedSharedExchange(nn.Module):
    """PAD-Net's gate, 3x3 and with all channels, but once a source for all its readers; then one fusion a target."""

    def __init__(self, tasks: Iterable[str], channels: int) -> None:
        super().__init__()
        self.tasks = tuple(sorted(tasks))
        self.gate = nn.ModuleDict({t: nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False) for t in self.tasks})
        others = (len(self.tasks) - 1) * channels
        self.fusion = nn.ModuleDict({t: conv_bn_relu(others, channels) for t in self.tasks})

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        gated = {}
        for j in self.tasks:
            gate, value = self.gate[j](features[j]).chunk(2, dim=1)
            gated[j] = torch.sigmoid(gate) * value
        return {
            i: features[i] + self.fusion[i](torch.cat([gated[j] for j in self.tasks if j != i], dim=1))
            for i in self.tasks
        }


class MultiHeadExchange(EdgeExchange):
    """`EdgeExchange` with its attention in several heads."""

    heads = 4

    def _mix(self, queries: list[Tensor], keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
        def tokens(maps: list[Tensor]) -> Tensor:  # (directions, B, heads, positions, C / heads)
            return torch.stack([m.unflatten(1, (self.heads, -1)).flatten(3) for m in maps]).transpose(3, 4)

        mixed = F.scaled_dot_product_attention(tokens(queries), tokens(keys), tokens(values))
        return [m.transpose(2, 3).reshape(q.shape) for m, q in zip(mixed, queries, strict=True)]

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        s, others = self.downscale, len(self.tasks) - 1
        offers = {j: self.offer[j](features[j]) for j in self.tasks}
        queries = {i: self.query[i](features[i][..., ::s, ::s]) for i in self.tasks}
        pairs = [(i, j) for i in self.tasks for j in self.sources(i)]
        attended = self._mix(
            [queries[i] for i, _ in pairs], [offers[j][0] for _, j in pairs], [offers[j][1] for _, j in pairs]
        )
        mixed = {}
        for index, i in enumerate(self.tasks):
            corr = torch.cat(attended[index * others : (index + 1) * others], dim=1) * self.alpha[i]
            corr = F.interpolate(corr, size=features[i].shape[-2:], mode="nearest")
            mixed[i] = features[i] + self.fusion[i](torch.cat([*(offers[j][2] for j in self.sources(i)), corr], dim=1))
        return mixed


class LowRankExchange(MultiHeadExchange):
    """`EdgeExchange` whose queries, keys and values have a quarter of the channels."""

    heads = 1

    def __init__(self, tasks: Iterable[str], channels: int, rank: int = 16) -> None:
        super().__init__(tasks, channels)
        others = len(self.tasks) - 1
        for task in self.tasks:
            self.query[task] = conv_bn_relu(channels, rank)
            self.offer[task].key, self.offer[task].value = conv_bn_relu(channels, rank), conv_bn_relu(channels, rank)
            self.alpha[task] = nn.Parameter(torch.zeros(1, others * rank, 1, 1))
            self.fusion[task] = conv_bn_relu(others * (channels // 2 + rank), channels)


class PooledKeysExchange(MultiHeadExchange):
    """`EdgeExchange` with a quarter of the keys and values: 1/64 instead of 1/32."""

    heads = 1

    def _mix(self, queries: list[Tensor], keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
        def pooled(maps: list[Tensor]) -> list[Tensor]:
            return [F.avg_pool2d(m, 2, ceil_mode=True) for m in maps]

        return super()._mix(queries, pooled(keys), pooled(values))


class DepthwiseExchange(CrossTaskExchange):
    """The published exchange, every direction for itself, with depthwise-separable convolutions for its 3x3 ones."""

    def __init__(self, tasks: Iterable[str], channels: int, downscale: int = 4) -> None:
        super().__init__(tasks, channels, downscale)
        for direction in (m for m in self.modules() if isinstance(m, CrossTaskAttention)):
            direction.extract = separable(channels, channels)
            direction.gate = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                nn.Conv2d(channels, 2 * (channels // 2), 1, bias=False),
            )


class PoolExchange(nn.Module):
    """One pool that all tasks write to and read from: every cost grows with T.

    The fusion of a pairwise exchange has a matrix a direction, ``W_ij``. Here it is ``R_i W_j``, one factor a writer
    and one a reader; what a task wrote itself is taken out before it reads. The reader says by a gate of its own which
    channels of the pool it takes.
    """

    def __init__(self, tasks: Iterable[str], channels: int, gated: bool = True) -> None:
        super().__init__()
        self.tasks = tuple(sorted(tasks))
        self.write, self.read, self.choose = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.merge = nn.ModuleDict()
        for task in self.tasks:
            self.write[task] = nn.ModuleDict(
                {
                    "extract": separable(channels, channels),
                    "gate": nn.Conv2d(channels, 2 * (channels // 2), 1),
                    "into": nn.Conv2d(channels // 2, channels, 1, bias=False),
                }
            )
            if gated:
                self.choose[task] = nn.Conv2d(channels, channels, 1)
            self.read[task] = conv_bn_relu(channels, channels)

    def written(self, task: str, feature: Tensor) -> tuple[Tensor, Tensor]:
        """What a task writes, and the extracted features."""
        parts: nn.ModuleDict = self.write[task]  # type: ignore[assignment]
        g = parts["extract"](feature)
        gate, value = parts["gate"](g).chunk(2, dim=1)
        return parts["into"](torch.sigmoid(gate) * value), g

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        written = {t: self.written(t, features[t])[0] for t in self.tasks}
        pool = torch.stack(list(written.values())).sum(0)
        mixed = {}
        for t in self.tasks:
            others = pool - written[t]
            if t in self.choose:
                others = others * torch.sigmoid(self.choose[t](features[t]))
            mixed[t] = features[t] + self.read[t](others)
        return mixed


class DensePoolExchange(PoolExchange):
    """`PoolExchange` whose writers gate as PAD-Net does: by a 3x3 convolution of all channels."""

    def __init__(self, tasks: Iterable[str], channels: int) -> None:
        super().__init__(tasks, channels)
        for task in self.tasks:
            parts: nn.ModuleDict = self.write[task]  # type: ignore[assignment]
            parts["extract"] = nn.Identity()
            parts["gate"] = nn.Conv2d(channels, 2 * channels, 3, padding=1)
            parts["into"] = nn.Conv2d(channels, channels, 1, bias=False)


class TokenPoolExchange(PoolExchange):
    """`PoolExchange` and a fixed number of tokens: they gather from every place of every task, and are read by all."""

    def __init__(self, tasks: Iterable[str], channels: int, tokens: int = 32, downscale: int = 4) -> None:
        super().__init__(tasks, channels)
        self.downscale = downscale
        self.latent = nn.Parameter(torch.randn(tokens, channels))
        self.key = nn.ModuleDict({t: conv_bn_relu(channels, channels) for t in self.tasks})
        self.value = nn.ModuleDict({t: conv_bn_relu(channels, channels) for t in self.tasks})
        self.query = nn.ModuleDict({t: conv_bn_relu(channels, channels) for t in self.tasks})
        self.name = nn.Linear(channels, channels)
        self.alpha = nn.ParameterDict({t: nn.Parameter(torch.zeros(1, channels, 1, 1)) for t in self.tasks})

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        s = self.downscale
        written, keys, values = {}, [], []
        for t in self.tasks:
            written[t], g = self.written(t, features[t])
            small = F.max_pool2d(g, min(s, *g.shape[-2:]), stride=s)
            keys.append(self.key[t](small).flatten(2))
            values.append(self.value[t](small).flatten(2))
        k, v = (torch.cat(maps, dim=2).transpose(1, 2) for maps in (keys, values))  # (B, T n, C)
        latent = self.latent.expand(len(k), -1, -1)
        gathered = F.scaled_dot_product_attention(latent, k, v)
        names = self.name(gathered)
        pool = torch.stack(list(written.values())).sum(0)
        mixed = {}
        for t in self.tasks:
            q = self.query[t](features[t][..., ::s, ::s])
            corr = F.scaled_dot_product_attention(q.flatten(2).transpose(1, 2), names, gathered)
            corr = self.alpha[t] * corr.transpose(1, 2).reshape(q.shape)
            others = pool - written[t] + F.interpolate(corr, size=features[t].shape[-2:], mode="nearest")
            others = others * torch.sigmoid(self.choose[t](features[t]))
            mixed[t] = features[t] + self.read[t](others)
        return mixed


class CoarseEdgeDecoder(EdgeDecoder):
    """`EdgeDecoder` cut at 1/16: everything at 1/8 stands after the exchange."""

    def __init__(self, channels: Sequence[int], outputs: int, width: int = 48, side_outputs: int = 0) -> None:
        super().__init__(channels, outputs, width, 0)
        self._make_side_heads(side_outputs, outputs, [])
        self.exchange_channels = channels[2]
        self.start16 = separable(channels[2], channels[2])

    def stages(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The exchanged map ``(B, C, H/16, W/16)``."""
        return [self.start16(features[2])]

    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Exchanged features to the raw output ``(B, outputs, H/2, W/2)``."""
        f8 = features[1]
        return super().after(self.merge8(torch.cat([upsample_to(x, f8.shape[-2:]), f8], dim=1)), features, size)
