"""The published exchange (mTEB): every task reads every other one through cross-task attention (xTAM).

For a target task i and a source task j (Lopes et al., WACV 2023, section 3; ``C`` channels, attention at 1/s):

    g        = ReLU(Conv3(f_j))
    q, k, v  = phi_q(down_s f_i), phi_k(pool_s g), phi_v(pool_s g)          phi = ReLU BN Conv1
    corr     = alpha * up_s(softmax(q . k / sqrt(C)) v)                     alpha a channel, zero at the start
    self     = sigmoid(Conv3 g) * Conv3 g                                   C -> C/2
    f_{j->i} = ReLU BN Conv1([self, corr])
    f~_i     = f_i + ReLU BN Conv1(concat_{j != i} f_{j->i})

The numbers are those formulas; the computing differs. Attention goes through ``scaled_dot_product_attention``, so the
n x n matrix (256 MiB a direction at 512 x 1024) never exists; all directions into one target share one such call; the
two gating convolutions run as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.models.decoder import conv_bn_relu

__all__ = ["CrossTaskAttention", "CrossTaskExchange"]


class CrossTaskAttention(nn.Module):
    """xTAM in one direction: what target i takes from source j.

    Its forward pass is cut in two, so that the exchange can run the attention of several directions in one call:
    `project` gives queries, keys, values and the extracted source; `join` takes what attention made of them.

    Args:
        channels: ``C``, even.
        downscale: ``s``, how much coarser than the features attention works.
    """

    def __init__(self, channels: int, downscale: int = 4) -> None:
        super().__init__()
        self.downscale = downscale
        self.extract = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))
        self.query = conv_bn_relu(channels, channels)
        self.key = conv_bn_relu(channels, channels)
        self.value = conv_bn_relu(channels, channels)
        self.alpha = nn.Parameter(torch.zeros(1, channels, 1, 1))
        # first half of the outputs: what the sigmoid gates with; second half: what is gated
        self.gate = nn.Conv2d(channels, 2 * (channels // 2), 3, padding=1, bias=False)
        self.merge = conv_bn_relu(channels // 2 + channels, channels)

    def project(self, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries from the target; keys and values from the extracted source.

        Args:
            target: ``(B, C, H, W)``.
            source: ``(B, C, H, W)``.

        Returns:
            q, k, v as ``(B, C, h, w)`` (for sizes that s does not divide, q has one more row or column than k and v)
            and the extracted source g ``(B, C, H, W)``.
        """
        s = self.downscale
        g = self.extract(source)
        pooled = F.max_pool2d(g, min(s, *g.shape[-2:]), stride=s) if s > 1 else g
        return self.query(target[..., ::s, ::s]), self.key(pooled), self.value(pooled), g

    def join(self, attended: Tensor, g: Tensor) -> Tensor:
        """Attention's result ``(B, C, h, w)`` and the extracted source to ``f_{j->i}`` ``(B, C, H, W)``."""
        corr = self.alpha * F.interpolate(attended, size=g.shape[-2:], mode="nearest")
        gate, value = self.gate(g).chunk(2, dim=1)
        return self.merge(torch.cat([torch.sigmoid(gate) * value, corr], dim=1))

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """The whole direction: ``f_{j->i}`` ``(B, C, H, W)`` from ``f_i`` and ``f_j`` of that shape."""
        q, k, v, g = self.project(target, source)
        return self.join(attend([q], [k], [v])[0], g)


def attend(queries: list[Tensor], keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
    """Single-head attention over positions, for any number of directions in one call.

    Args:
        queries: one ``(B, C, h, w)`` a direction, all of one shape.
        keys: one ``(B, C, h', w')`` a direction.
        values: as ``keys``.

    Returns:
        One ``(B, C, h, w)`` a direction; ``softmax(q . k / sqrt(C)) v`` with the softmax over source positions.
    """

    def tokens(maps: list[Tensor]) -> Tensor:  # (directions, B, positions, C)
        return torch.stack(maps).flatten(3).transpose(2, 3).contiguous()

    mixed = F.scaled_dot_product_attention(tokens(queries), tokens(keys), tokens(values))
    return [m.transpose(1, 2).reshape(q.shape) for m, q in zip(mixed, queries, strict=True)]


class CrossTaskExchange(nn.Module):
    """mTEB: refine every task's features with those of all others.

    Tasks are known by name and kept in alphabetical order inside, so neither the weights nor the result depend on
    the order in which a caller lists them.

    Args:
        tasks: at least one name; with a single one the exchange is the identity.
        channels: ``C``.
        downscale: ``s``.
    """

    def __init__(self, tasks: Iterable[str], channels: int, downscale: int = 4) -> None:
        super().__init__()
        self.tasks = tuple(sorted(tasks))
        self.directions = nn.ModuleDict()
        self.fusion = nn.ModuleDict()
        for target in self.tasks if len(self.tasks) > 1 else ():
            sources = self.sources(target)
            self.directions[target] = nn.ModuleDict({j: CrossTaskAttention(channels, downscale) for j in sources})
            self.fusion[target] = conv_bn_relu(len(sources) * channels, channels)

    def sources(self, target: str) -> tuple[str, ...]:
        """The tasks that a target reads, in the order in which its fusion convolution takes them."""
        return tuple(t for t in self.tasks if t != target)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        if not len(self.directions):
            return dict(features)
        return {target: feature + self._taken(target, features) for target, feature in features.items()}

    def _taken(self, target: str, features: Mapping[str, Tensor]) -> Tensor:
        # A target's directions share one attention call. All targets' together would be no faster, and would keep
        # every extracted source of every direction alive at once: three times the peak memory with four tasks.
        sources = self.sources(target)
        xtam: list[CrossTaskAttention] = [self.directions[target][j] for j in sources]  # type: ignore[index, misc]
        parts = [module.project(features[target], features[j]) for module, j in zip(xtam, sources, strict=True)]
        queries, keys, values, extracted = (list(part) for part in zip(*parts, strict=True))
        attended = attend(queries, keys, values)
        joined = [module.join(a, g) for module, a, g in zip(xtam, attended, extracted, strict=True)]
        fused: Tensor = self.fusion[target](torch.cat(joined, dim=1))
        return fused
