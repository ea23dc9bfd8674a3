"""What the cross-task exchange is compared with: plain multi-task, PAD-Net and 3-ways PAD-Net.

PAD-Net is that of Xu et al., "PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network" (CVPR 2018), 3-ways
that of Hoyer et al., "Three Ways to Improve Semantic Segmentation with Self-Supervised Depth Estimation" (CVPR 2021).
Each is a decoder and perhaps an exchange for `DenseMTL`, on any backbone. A single-task network is the plain
multi-task one with one task.

Both distil by gating alone: every pixel of a source says how much of it the target may take, and nothing is compared
between positions,

    f~_i = f_i + sum_{j != i} sigmoid(Conv3 f_j) * Conv3 f_j.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.models.decoder import AtrousPyramid, TaskDecoder, UNetDecoder, conv_bn_relu
from densemtl_core.models.edge import EdgeDecoder

__all__ = [
    "AtrousDecoder",
    "GatingExchange",
    "PadNetDecoder",
    "ThreeWaysDecoder",
    "ThreeWaysEdgeDecoder",
]


class GatingExchange(nn.Module):
    """Distillation of PAD-Net: every task adds what each other one lets through its gate.

    Args:
        tasks: task names; with a single one the exchange is the identity.
        channels: ``C``.
    """

    def __init__(self, tasks: Iterable[str], channels: int) -> None:
        super().__init__()
        self.tasks = tuple(sorted(tasks))
        self.gates = nn.ModuleDict()
        for target in self.tasks if len(self.tasks) > 1 else ():
            # The gate and what is gated, as one convolution; the directions share no weights.
            pairs = {j: nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False) for j in self.sources(target)}
            self.gates[target] = nn.ModuleDict(pairs)

    def sources(self, target: str) -> tuple[str, ...]:
        """The tasks that a target reads, alphabetically."""
        return tuple(t for t in self.tasks if t != target)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to ``(B, C, H, W)``, in and out."""
        if not len(self.gates):
            return dict(features)
        return {target: feature + self._taken(target, features) for target, feature in features.items()}

    def _taken(self, target: str, features: Mapping[str, Tensor]) -> Tensor:
        convolutions: nn.ModuleDict = self.gates[target]  # type: ignore[assignment]
        taken = torch.zeros_like(features[target])
        for source in self.sources(target):
            gate, value = convolutions[source](features[source]).chunk(2, dim=1)
            taken = taken + torch.sigmoid(gate) * value
        return taken


class AtrousDecoder(TaskDecoder):
    """The head of the single-task and of the plain multi-task network: an atrous pyramid at 1/16, and no skips.

    Only its result is supervised: there is no head before the exchange, because there is no exchange.

    Args:
        channels: of the encoder's five maps.
        outputs: channels of the task.
        width: of everything between.
        side_outputs: none are possible.
    """

    def __init__(self, channels: Sequence[int], outputs: int, width: int = 256, side_outputs: int = 0) -> None:
        super().__init__()
        self._make_side_heads(side_outputs, outputs, [])
        self.exchange_channels = width
        self.pyramid = AtrousPyramid(channels[4], width, rates=(12, 24, 36))
        self.final_head = nn.Sequential(conv_bn_relu(width, width, 3), nn.Conv2d(width, outputs, 1))

    def before(self, features: Sequence[Tensor]) -> Tensor:
        """Encoder maps to ``(B, width, H/16, W/16)``."""
        return self.pyramid(features[4])

    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """To the raw output ``(B, outputs, H, W)``, enlarged bilinearly."""
        return _enlarge(self.final_head(x), size)

    def side_outputs(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """None."""
        return []


class PadNetDecoder(TaskDecoder):
    """PAD-Net's two halves of a task at 1/16: two bottlenecks and the initial head, two bottlenecks and the final one.

    Args:
        channels: of the encoder's five maps.
        outputs: channels of the task.
        width: of the features that are distilled.
        side_outputs: none are possible.
    """

    def __init__(self, channels: Sequence[int], outputs: int, width: int = 256, side_outputs: int = 0) -> None:
        super().__init__()
        self._make_side_heads(side_outputs, outputs, [])
        self.exchange_channels = width
        self.initial = nn.Sequential(Bottleneck(channels[4], width), Bottleneck(width, width))
        self.final = nn.Sequential(Bottleneck(width, width), Bottleneck(width, width))
        self.initial_head = nn.Conv2d(width, outputs, 1)
        self.final_head = nn.Conv2d(width, outputs, 1)

    def before(self, features: Sequence[Tensor]) -> Tensor:
        """Encoder maps to ``(B, width, H/16, W/16)``."""
        return self.initial(features[4])

    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Distilled features to the raw output ``(B, outputs, H, W)``, enlarged bilinearly."""
        return _enlarge(self.final_head(self.final(x)), size)


class ThreeWaysDecoder(UNetDecoder):
    """The published U-Net cut at level 2: levels 4, 3, 2 before the distillation at 1/4, levels 1 and 0 after it.

    Args:
        channels: of the encoder's five maps.
        outputs: channels of the task.
        widths: channels of levels 0 to 4.
        side_outputs: further heads, at levels 3, 4.
    """

    def __init__(
        self,
        channels: Sequence[int],
        outputs: int,
        widths: Sequence[int] = (64, 128, 128, 256, 256),
        side_outputs: int = 0,
    ) -> None:
        super().__init__(channels, outputs, widths)
        self.exchange_channels = widths[2]
        self.initial_head = nn.Conv2d(widths[2], outputs, 1)
        self._make_side_heads(side_outputs, outputs, widths[3:])

    def stages(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Encoder maps to those of level 2, ``(B, exchange_channels, H/4, W/4)``, and of levels with a side head."""
        maps = [features[4]]
        for level in (4, 3, 2):
            maps.append(self._level(maps[-1], level, features[level - 1]))
        return maps[::-1][: 1 + len(self.side_heads)]

    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Distilled features to the raw output ``(B, outputs, H, W)`` at the image size."""
        return super().after(self._level(x, 1, features[0]), features, size)


class ThreeWaysEdgeDecoder(EdgeDecoder):
    """3-ways in the edge presets' frame: the same layers as `EdgeDecoder`, cut at 1/4 instead of 1/8.

    The first half of the convolutions at 1/4 stands before the distillation, the second half and the head after it.

    Args:
        channels: of the pyramid's three maps.
        outputs: channels of the task.
        width: channels at 1/4, which are distilled.
        side_outputs: 1 for a further head, on the pyramid's 1/16 map.
    """

    def __init__(self, channels: Sequence[int], outputs: int, width: int = 48, side_outputs: int = 0) -> None:
        super().__init__(channels, outputs, width, side_outputs)
        self.exchange_channels = width
        self.initial_head = nn.Conv2d(width, outputs, 1)

    def before(self, features: Sequence[Tensor]) -> Tensor:
        """Pyramid maps to ``(B, width, H/4, W/4)``."""
        f4 = features[0]
        x = F.interpolate(super().before(features), size=f4.shape[-2:], mode="bilinear")
        return self.merge4[0](torch.cat([x, f4], dim=1))

    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Distilled features to the raw output ``(B, outputs, H/2, W/2)``."""
        return F.pixel_shuffle(self.final_head(self.merge4[1](x)), 2)


class Bottleneck(nn.Module):
    """Residual block of ResNet-50 (He et al., 2016): 1x1 to a quarter, 3x3, 1x1 back, added to its input.

    Args:
        inputs: channels; where they are not ``outputs``, the input passes a 1x1 convolution too.
        outputs: channels, a multiple of four.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.residual = nn.Sequential(
            conv_bn_relu(inputs, inner),
            conv_bn_relu(inner, inner, 3),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs
        projection = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity() if same else projection

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        return F.relu(self.shortcut(x) + self.residual(x))


def _enlarge(raw: Tensor, size: tuple[int, int]) -> Tensor:
    # Corners aligned, as tasks resize raw outputs to their labels.
    return F.interpolate(raw, size=size, mode="bilinear", align_corners=True)
