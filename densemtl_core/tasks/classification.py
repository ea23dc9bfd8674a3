"""Tasks that say which of a list of classes each pixel belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from densemtl_core.metrics import MeanIoU, Metric
from densemtl_core.tasks.base import Output, Task, self_information

__all__ = ["ClassificationTask", "distinct_colours"]

IGNORE = 255


@dataclass(frozen=True)
class ClassificationTask(Task):
    """Classes by cross-entropy.

    Attributes:
        class_names: names in id order.
        palette: RGB colour a class, 0..255.
    """

    picture: ClassVar[str] = "classes"
    classifies: ClassVar[bool] = True

    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        # Configurations and JSON give lists.
        object.__setattr__(self, "class_names", tuple(self.class_names))
        colours = self.palette or distinct_colours(len(self.class_names))
        object.__setattr__(self, "palette", tuple(tuple(int(v) for v in c) for c in colours))
        if not 2 <= len(self.class_names) <= IGNORE:
            raise ValueError(
                f"task {self.name!r}: class_names has {len(self.class_names)} names; it needs 2 to {IGNORE}"
            )
        if len(self.palette) != len(self.class_names):
            raise ValueError(
                f"task {self.name!r}: {len(self.class_names)} class names but {len(self.palette)} palette colours"
            )

    @property
    def channels(self) -> int:
        """One logit a class."""
        return len(self.class_names)

    def outputs(self) -> tuple[Output, ...]:
        """Class ids, and the probability of the chosen class."""
        return (
            Output(self.name, 1, "uint8", "class id"),
            Output(f"{self.name}_confidence", 1, "float32", "probability", "linear"),
        )

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """Most probable class and its probability."""
        top, ids = raw.max(dim=1)
        # softmax at the maximum is 1 / sum exp(x - max): the full softmax is never stored
        confidence = 1.0 / (raw - top.unsqueeze(1)).exp().sum(dim=1)
        return {self.name: ids.to(torch.uint8), f"{self.name}_confidence": confidence}

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Cross-entropy over labelled pixels."""
        raw = self.resize(raw, label.shape[-2:])
        if weight is None:
            nll = torch.nn.functional.cross_entropy(raw, label, ignore_index=IGNORE, reduction="sum")
        else:
            each = torch.nn.functional.cross_entropy(raw, label, ignore_index=IGNORE, reduction="none")
            nll = (each * weight[:, 0]).sum()
        return nll / (label != IGNORE).sum().clamp(min=1)

    def alignment_map(self, raw: Tensor, reference: Tensor) -> Tensor:
        """Self-information of each class (ADVENT)."""
        return self_information(raw)

    def pseudo_label(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The class of the largest mean probability, believed as far as that probability."""
        mean = torch.stack([raw.softmax(dim=1) for raw in views]).mean(0)
        confidence, ids = mean.max(dim=1, keepdim=True)
        return ids[:, 0], confidence

    def metric(self) -> Metric:
        """Mean IoU."""
        return MeanIoU(self.channels)

    def picture_options(self) -> dict[str, Any]:
        """The palette."""
        return {"palette": self.palette}


def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """``count`` RGB colours that are easy to tell apart: hues a golden angle from one another."""
    colours = []
    for index in range(count):
        hue, value = (index * 0.61803398875) % 1.0 * 6.0, 255 - 70 * (index % 3)
        fall, part = int(hue), hue - int(hue)
        rising, falling, low = (
            round(value * (0.25 + 0.75 * part)),
            round(value * (1 - 0.75 * part)),
            round(value * 0.25),
        )
        wheel = [
            (value, rising, low), (falling, value, low), (low, value, rising),
            (low, falling, value), (rising, low, value), (value, low, falling),
        ]  # fmt: skip
        colours.append(wheel[fall])
    return tuple(colours)
