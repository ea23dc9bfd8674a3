"""Named networks, and the one function that builds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from densemtl_core.errors import InputError, did_you_mean
from densemtl_core.models.baselines import (
    AtrousDecoder,
    GatingExchange,
    PadNetDecoder,
    ThreeWaysDecoder,
    ThreeWaysEdgeDecoder,
)
from densemtl_core.models.decoder import TaskDecoder, UNetDecoder
from densemtl_core.models.densemtl import DenseMTL
from densemtl_core.models.edge import EdgeDecoder, EdgeExchange, EdgePyramid
from densemtl_core.models.encoder import Encoder
from densemtl_core.models.exchange import CrossTaskExchange
from densemtl_core.models.pool import PoolExchange
from densemtl_core.tasks import Task, make_tasks

__all__ = ["PRESETS", "Preset", "build_model"]

# The published network centres every channel on the same constants; edge backbones expect ImageNet's.
PUBLISHED_MEAN, PUBLISHED_STD = (0.45,) * 3, (0.225,) * 3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preset:
    """A recipe for a network.

    Attributes:
        make_encoder: gives the encoder.
        make_decoder: from the encoder's channels and a task's channels, gives a decoder.
        make_exchange: from task names and feature width, gives the exchange; None where tasks do not meet.
        mean: of RGB in [0, 1], which the network subtracts.
        std: by which it divides.
        text: one line for a person.
    """

    make_encoder: Callable[[], nn.Module]
    make_decoder: Callable[[Sequence[int], int], TaskDecoder]
    make_exchange: Callable[[Sequence[str], int], nn.Module] | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    text: str


def _published(
    backbone: str,
    text: str,
    make_decoder: Callable[..., TaskDecoder] = UNetDecoder,
    make_exchange: Callable[[Sequence[str], int], nn.Module] | None = None,
) -> Preset:
    """In the paper's frame: a ResNet dilated to 1/16."""
    return Preset(
        make_encoder=partial(Encoder, backbone, output_stride=16),
        make_decoder=make_decoder,
        make_exchange=make_exchange,
        mean=PUBLISHED_MEAN,
        std=PUBLISHED_STD,
        text=f"{text}, {backbone}",
    )


def _edge(
    text: str,
    make_exchange: Callable[[Sequence[str], int], nn.Module] | None,
    make_decoder: Callable[..., TaskDecoder] = EdgeDecoder,
    backbone: str = "mobilenetv2_100",
    width: int = 64,
    decoder_width: int = 48,
) -> Preset:
    """In the frame of the edge networks; the small one's sizes by default."""
    return Preset(
        make_encoder=partial(EdgePyramid, backbone, width=width),
        make_decoder=partial(make_decoder, width=decoder_width),
        make_exchange=make_exchange,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        text=text,
    )


_RESNETS = {"r101": "resnet101", "r50": "resnet50", "r18": "resnet18"}

PRESETS: Mapping[str, Preset] = {
    **{
        f"densemtl_{short}": _published(
            backbone,
            "the published network: exchange at 1/2, attention at 1/8",
            make_exchange=partial(CrossTaskExchange, downscale=4),
        )
        for short, backbone in _RESNETS.items()
    },
    "densemtl_edge_s": _edge(
        "MobileNetV2, narrow decoders, exchange at 1/8, attention at 1/32", partial(EdgeExchange, downscale=4)
    ),
    "densemtl_edge_m": _edge(
        "MobileNetV4 medium, exchange through a pool at 1/8",
        PoolExchange,
        backbone="mobilenetv4_conv_medium",
        width=128,
        decoder_width=64,
    ),
    "densemtl_edge_l": _edge(
        "MobileNetV4 large, exchange through a pool at 1/8",
        PoolExchange,
        backbone="mobilenetv4_conv_large",
        width=128,
        decoder_width=96,
    ),
    # What they are compared with (docs/compare.md).
    **{
        f"mtl_{short}": _published(backbone, "plain multi-task, one task = single-task: atrous head", AtrousDecoder)
        for short, backbone in _RESNETS.items()
    },
    **{
        f"padnet_{short}": _published(backbone, "PAD-Net: gating at 1/16", PadNetDecoder, GatingExchange)
        for short, backbone in _RESNETS.items()
    },
    **{
        f"threeways_{short}": _published(backbone, "3-ways PAD-Net: gating at 1/4", ThreeWaysDecoder, GatingExchange)
        for short, backbone in _RESNETS.items()
    },
    "mtl_edge_s": _edge("densemtl_edge_s without exchange; one task = single-task", None),
    "padnet_edge_s": _edge("densemtl_edge_s with PAD-Net's gating at 1/8", GatingExchange),
    "threeways_edge_s": _edge("densemtl_edge_s with gating at 1/4, as 3-ways", GatingExchange, ThreeWaysEdgeDecoder),
    "xtam_edge_s": _edge(
        "densemtl_edge_s with the published exchange at 1/8, attention at 1/32",
        partial(CrossTaskExchange, downscale=4),
    ),
    "xtam_fine_edge_s": _edge(
        "densemtl_edge_s with the published exchange and its attention at 1/8", partial(CrossTaskExchange, downscale=1)
    ),
    "pool_edge_s": _edge("densemtl_edge_s with its exchange through a pool", PoolExchange),
}


def build_model(
    preset: str,
    tasks: Iterable[str | Mapping[str, Any] | Task] = ("semantic", "depth", "normals", "edges"),
    num_classes: int | None = None,
) -> DenseMTL:
    """Build a network with random weights.

    Args:
        preset: a key of `PRESETS`.
        tasks: any number of tasks: kinds (``"semantic"``), plain-data configurations, or `Task` objects. Their order
            is the order of the outputs and has no influence on weights or results.
        num_classes: number of classes, when the semantic task is named only by its kind.

    Returns:
        The network, in training mode. ``model.tasks`` has the task names.

    Raises:
        InputError: unknown preset or task, no or repeated tasks, missing ``num_classes``.

    Example:
        >>> model = build_model("densemtl_edge_s", tasks=("semantic", "depth"), num_classes=19)
        >>> raw = model(torch.rand(2, 3, 256, 512))["semantic"][0]     # (2, 19, 128, 256)
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; {did_you_mean(preset, PRESETS)}known: {', '.join(PRESETS)}")
    recipe = PRESETS[preset]
    made = make_tasks(tasks, num_classes=num_classes)
    encoder = recipe.make_encoder()
    channels: Sequence[int] = encoder.channels  # type: ignore[assignment]
    return DenseMTL(
        encoder=encoder,
        make_decoder=partial(recipe.make_decoder, channels),
        make_exchange=recipe.make_exchange,
        channels={task.name: task.channels for task in made},
        mean=recipe.mean,
        std=recipe.std,
        side_outputs={task.name: getattr(task, "side_outputs", 0) for task in made},
    )
