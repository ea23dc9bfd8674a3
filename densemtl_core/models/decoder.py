"""The published decoder: a U-Net a task, in two parts with the exchange between them.

Lopes, Vu, de Charette, "Cross-task Attention Mechanism for Dense Multi-task Learning" (WACV 2023), section 3; the
atrous pyramid is that of Chen et al., "Rethinking Atrous Convolution" (2017).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.errors import InputError

__all__ = ["AtrousPyramid", "TaskDecoder", "UNetDecoder", "upsample_to"]


def upsample_to(x: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """Nearest-neighbour resize to ``(H, W)``; the plain factor of two wherever sizes are even."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="nearest")


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU; keeps the size."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class TaskDecoder(nn.Module, ABC):
    """What the network asks of a task's decoder: two halves, with the exchange between them.

    Attributes:
        exchange_channels: channels of what `before` returns.
        initial_head: from the features before the exchange to raw output; supervised too.
        side_heads: from the coarser maps of `stages` to further raw outputs; none by default.
    """

    exchange_channels: int
    initial_head: nn.Module
    side_heads: nn.ModuleList

    def __init__(self) -> None:
        super().__init__()
        self.side_heads = nn.ModuleList()

    @abstractmethod
    def before(self, features: Sequence[Tensor]) -> Tensor:
        """Encoder maps to the features ``(B, exchange_channels, h, w)`` that are exchanged."""

    @abstractmethod
    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Exchanged features to raw output ``(B, outputs, h', w')``, at most of the image's ``size``."""

    def stages(self, features: Sequence[Tensor]) -> list[Tensor]:
        """What `before` gives, followed by the coarser maps that `side_heads` read."""
        return [self.before(features)]

    def side_outputs(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Raw outputs of every head before the exchange, the finest first."""
        heads = [self.initial_head, *self.side_heads]
        return [head(stage) for head, stage in zip(heads, stages, strict=True)]

    def _make_side_heads(self, count: int, outputs: int, widths: Sequence[int]) -> None:
        """1x1 heads on coarser maps of these widths, the finest first."""
        if count > len(widths):
            raise InputError(f"side_outputs is {count}; this network's decoders have maps for at most {len(widths)}")
        self.side_heads.extend(nn.Conv2d(width, outputs, 1) for width in widths[:count])


class AtrousPyramid(nn.Module):
    """Five views of one map - 1x1, three dilated 3x3, and the image's mean - joined to ``outputs`` channels."""

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int] = (6, 12, 18), dropout: float = 0.5) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_bn_relu(inputs, outputs), *(conv_bn_relu(inputs, outputs, 3, rate) for rate in rates)]
        )
        self.pooled = conv_bn_relu(inputs, outputs)
        self.project = nn.Sequential(conv_bn_relu((2 + len(rates)) * outputs, outputs), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        mean = self.pooled(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), mean], dim=1))


class ConvBlock(nn.Module):
    """Reflection-padded 3x3 convolution with bias, and ELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        # Reflection needs a second row to look at; a map one pixel high or wide has none.
        mode = "reflect" if min(x.shape[-2:]) > 1 else "replicate"
        return F.elu(self.conv(F.pad(x, (1, 1, 1, 1), mode=mode)))


class UNetDecoder(TaskDecoder):
    """One task's decoder.

    Level i works at the stride of the encoder map i - 1, which it takes as a skip; level 0 at full resolution.
    ``before`` runs the levels down to the exchange level (1, half resolution), ``after`` the rest. Both ends have a
    linear head: the one before the exchange is supervised too.

    Args:
        channels: channels of the encoder's five maps.
        outputs: channels of the task.
        widths: channels of levels 0 to 4.
        side_outputs: further heads, at levels 2, 3, 4.

    Attributes:
        exchange_channels: channels of what ``before`` returns.
    """

    def __init__(
        self,
        channels: Sequence[int],
        outputs: int,
        widths: Sequence[int] = (64, 128, 128, 256, 256),
        side_outputs: int = 0,
    ) -> None:
        super().__init__()
        self.exchange_channels = widths[1]
        self.squeeze = nn.ModuleDict({"4": AtrousPyramid(channels[4], widths[4])})
        self.merge = nn.ModuleDict()
        for level in (4, 3, 2, 1, 0):
            if level < 4:
                self.squeeze[str(level)] = ConvBlock(widths[level + 1], widths[level])
            skip = channels[level - 1] if level else 0
            self.merge[str(level)] = ConvBlock(widths[level] + skip, widths[level])
        self.initial_head = nn.Conv2d(widths[1], outputs, 1)
        self.final_head = nn.Conv2d(widths[0], outputs, 1)
        self._make_side_heads(side_outputs, outputs, widths[2:])

    def before(self, features: Sequence[Tensor]) -> Tensor:
        """Encoder maps to ``(B, exchange_channels, H/2, W/2)``."""
        return self.stages(features)[0]

    def stages(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Encoder maps to those of level 1, ``(B, exchange_channels, H/2, W/2)``, and of levels with a side head."""
        maps = [features[4]]
        for level in (4, 3, 2, 1):
            maps.append(self._level(maps[-1], level, features[level - 1]))
        return maps[::-1][: 1 + len(self.side_heads)]

    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Exchanged features to the raw output ``(B, outputs, H, W)`` at the image size."""
        x = upsample_to(self.squeeze["0"](x), size)
        return self.final_head(self.merge["0"](x))

    def _level(self, x: Tensor, level: int, skip: Tensor) -> Tensor:
        x = upsample_to(self.squeeze[str(level)](x), skip.shape[-2:])
        return self.merge[str(level)](torch.cat([x, skip], dim=1))
