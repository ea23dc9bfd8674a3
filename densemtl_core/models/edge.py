"""Parts for the edge: a light pyramid, narrow decoders, and an exchange at 1/8 whose convolutions grow with T.

What differs from the published parts, and why it is cheap:

* the coarse end of the pyramid is decoded once for all tasks (`EdgePyramid`);
* a task's own decoder works at 1/8 and 1/4 with depthwise-separable convolutions; its head writes 1/2 resolution by
  rearranging channels (pixel shuffle), and the rest is bilinear;
* the exchange runs at 1/8 with attention at 1/32, and each task extracts what it offers once for all its readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.models.decoder import TaskDecoder, conv_bn_relu, upsample_to
from densemtl_core.models.encoder import Encoder
from densemtl_core.models.exchange import attend

__all__ = ["EdgeDecoder", "EdgeExchange", "EdgePyramid"]


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3x3 and pointwise 1x1, each with batch normalisation; ReLU at the end."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        conv_bn_relu(inputs, outputs),
    )


class EdgePyramid(nn.Module):
    """An encoder and the part of decoding that all tasks share: maps at 1/4, 1/8 and 1/16.

    Args:
        backbone: timm model name with strides 2, 4, 8, 16, 32.
        width: channels of the 1/8 and 1/16 maps; the 1/4 map has half as many.

    Attributes:
        channels: channels of the three maps, finest first.
    """

    def __init__(self, backbone: str, width: int = 64) -> None:
        super().__init__()
        self.backbone = Encoder(backbone)
        _, c4, c8, c16, c32 = self.backbone.channels
        self.channels = [width // 2, width, width]
        self.context = conv_bn_relu(c32, width)
        self.coarse = conv_bn_relu(c32, width)
        self.lateral16 = conv_bn_relu(c16, width)
        self.merge16 = separable(2 * width, width)
        self.lateral8 = conv_bn_relu(c8, width)
        self.lateral4 = conv_bn_relu(c4, width // 2)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` normalised RGB to maps at 1/4, 1/8, 1/16."""
        _, f4, f8, f16, f32 = self.backbone(image)
        # What kind of scene this is, added everywhere: at 1/32 most receptive fields are still local.
        coarse = self.coarse(f32) + self.context(f32.mean((2, 3), keepdim=True))
        lateral = self.lateral16(f16)
        merged = self.merge16(torch.cat([upsample_to(coarse, lateral.shape[-2:]), lateral], dim=1))
        return [self.lateral4(f4), self.lateral8(f8), merged]


class EdgeDecoder(TaskDecoder):
    """One task's decoder at 1/8 (before the exchange) and 1/4 (after it).

    Args:
        channels: of the pyramid's three maps.
        outputs: channels of the task.
        width: channels at 1/4; at 1/8 the pyramid's width is kept.
        side_outputs: 1 for a further head, on the pyramid's 1/16 map.
    """

    def __init__(self, channels: Sequence[int], outputs: int, width: int = 48, side_outputs: int = 0) -> None:
        super().__init__()
        c4, c8, c16 = channels
        self.exchange_channels = c8
        self.merge8 = nn.Sequential(separable(c16 + c8, c8), separable(c8, c8))
        self.merge4 = nn.Sequential(separable(c8 + c4, width), separable(width, width))
        self.initial_head = nn.Conv2d(c8, outputs, 1)
        self.final_head = nn.Conv2d(width, 4 * outputs, 1)
        # The four sub-pixels of a cell start alike (Aitken et al., 2017): drawn apart they start as a checkerboard,
        # of which training leaves traces.
        with torch.no_grad():
            for parameter in self.final_head.parameters():
                parameter.copy_(parameter[::4].repeat_interleave(4, dim=0))
        self._make_side_heads(side_outputs, outputs, [c16])

    def before(self, features: Sequence[Tensor]) -> Tensor:
        """Pyramid maps to ``(B, exchange_channels, H/8, W/8)``."""
        _, f8, f16 = features
        return self.merge8(torch.cat([upsample_to(f16, f8.shape[-2:]), f8], dim=1))

    def stages(self, features: Sequence[Tensor]) -> list[Tensor]:
        """What `before` gives, and the 1/16 map if it has a head."""
        return [self.before(features), *features[2 : 2 + len(self.side_heads)]]

    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Exchanged features to the raw output ``(B, outputs, H/2, W/2)``."""
        f4 = features[0]
        x = self.merge4(torch.cat([F.interpolate(x, size=f4.shape[-2:], mode="bilinear"), f4], dim=1))
        return F.pixel_shuffle(self.final_head(x), 2)


class EdgeExchange(nn.Module):
    """The idea of the published exchange at a small part of its cost.

    Each task extracts g, its keys, its values and its gated features once, for all readers; a target only adds its
    query, one scale (alpha, zero at the start) a source, and one fusion convolution. So convolutions grow with T and
    only the small token products with T(T-1).

    Args:
        tasks: task names; with a single one the exchange is the identity.
        channels: ``C``.
        downscale: ``s``, how much coarser than the features attention works.
    """

    def __init__(self, tasks: Iterable[str], channels: int, downscale: int = 4) -> None:
        super().__init__()
        self.tasks = tuple(sorted(tasks))
        self.downscale = downscale
        self.offer = nn.ModuleDict()
        self.query = nn.ModuleDict()
        self.fusion = nn.ModuleDict()
        self.alpha = nn.ParameterDict()
        others = len(self.tasks) - 1
        for task in self.tasks if others else ():
            self.offer[task] = _Offer(channels, downscale)
            self.query[task] = conv_bn_relu(channels, channels)
            self.alpha[task] = nn.Parameter(torch.zeros(1, others * channels, 1, 1))
            self.fusion[task] = conv_bn_relu(others * (channels // 2 + channels), channels)

    def sources(self, target: str) -> tuple[str, ...]:
        """The tasks that a target reads, in the order in which its fusion convolution takes them."""
        return tuple(t for t in self.tasks if t != target)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        if not len(self.offer):
            return dict(features)
        s = self.downscale
        offers = {j: self.offer[j](features[j]) for j in self.tasks}
        queries = {i: self.query[i](features[i][..., ::s, ::s]) for i in self.tasks}
        pairs = [(i, j) for i in self.tasks for j in self.sources(i)]
        attended = attend(
            [queries[i] for i, _ in pairs], [offers[j][0] for _, j in pairs], [offers[j][1] for _, j in pairs]
        )
        others = len(self.tasks) - 1
        mixed = {}
        for index, i in enumerate(self.tasks):
            corr = torch.cat(attended[index * others : (index + 1) * others], dim=1) * self.alpha[i]
            corr = F.interpolate(corr, size=features[i].shape[-2:], mode="nearest")
            gated = [offers[j][2] for j in self.sources(i)]
            mixed[i] = features[i] + self.fusion[i](torch.cat([*gated, corr], dim=1))
        return mixed


class _Offer(nn.Module):
    """What one task shows to all others: keys and values at 1/s, gated features at full size."""

    def __init__(self, channels: int, downscale: int) -> None:
        super().__init__()
        self.downscale = downscale
        self.extract = separable(channels, channels)
        self.key = conv_bn_relu(channels, channels)
        self.value = conv_bn_relu(channels, channels)
        self.gate = nn.Conv2d(channels, 2 * (channels // 2), 1)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        g = self.extract(source)
        pooled = F.max_pool2d(g, min(self.downscale, *g.shape[-2:]), stride=self.downscale)
        gate, value = self.gate(g).chunk(2, dim=1)
        return self.key(pooled), self.value(pooled), torch.sigmoid(gate) * value
