"""What a task is: the one object that holds everything in which tasks differ."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from densemtl_core import render
from densemtl_core.errors import InputError
from densemtl_core.metrics import Metric

__all__ = ["Output", "Task", "masked_mean", "self_information"]


@dataclass(frozen=True)
class Output:
    """One named array that a decoded task yields.

    Attributes:
        name: key under which predictions carry it; the task's own name for its main output.
        channels: 1 for ``(H, W)``, more for ``(H, W, C)``.
        dtype: NumPy name of the element type.
        unit: what a value means.
        resample: how it may be enlarged: ``nearest`` where a mean of two values means nothing (ids) or invents
            something (a depth between object and background), else ``linear``.
    """

    name: str
    channels: int
    dtype: str
    unit: str
    resample: str = "nearest"


@dataclass(frozen=True)
class Task(ABC):
    """A dense prediction task.

    A subclass is a frozen dataclass; its fields are its configuration and travel with a checkpoint (`config`).
    The network sees only ``name`` and ``channels``; everything else in the package asks this object.

    Attributes:
        name: unique among the tasks of a model; also the label it reads from a sample.
        kind: the registered name of the class (see `densemtl_core.tasks.register`).
        picture: how a person sees the main output, a key of `densemtl_core.render.PICTURES`.
        classifies: whether `loss` is the negative log-likelihood of a class; otherwise it is an error of a regression.
            Learned task weights (`densemtl_core.learning.task_weights`) read the two differently.
    """

    kind: ClassVar[str]
    picture: ClassVar[str]
    classifies: ClassVar[bool] = False

    name: str

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the network's raw output for this task."""

    @abstractmethod
    def outputs(self) -> tuple[Output, ...]:
        """What `decode` yields; the first is the main output."""

    @abstractmethod
    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """Turn raw output into physical predictions.

        Args:
            raw: ``(B, channels, H, W)``, any float type.

        Returns:
            One tensor an `Output`, ``(B, H, W)`` where it has one channel and ``(B, C, H, W)`` otherwise.
        """

    @abstractmethod
    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Score raw output against a label; unknown label pixels have no influence and no gradient.

        Args:
            raw: ``(B, channels, h, w)``; resized to the label's size first (`resize`).
            label: as `densemtl_core.data.Sample` stores it, with a batch dimension.
            weight: ``(B, 1, H, W)`` in [0, 1], how far each pixel of the label is believed; None = wholly. The loss
                is still divided by what it would be divided by without weights, so that doubt lowers it.

        Returns:
            A scalar; exactly zero when no pixel of the label is known.
        """

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh accumulator that judges the main output (`score` feeds it)."""

    def score(self, metric: Metric, decoded: Mapping[str, Tensor], label: Tensor) -> None:
        """Add one batch of decoded predictions to a metric of this task."""
        main = decoded[self.name]
        metric.update(main if main.ndim == label.ndim else main.unsqueeze(1), label)

    # A camera of known focal length. -------------------------------------------------------------------------------

    def camera_rule(self) -> dict[str, float]:
        """How predictions depend on the camera's focal length; empty where they do not.

        ``focal``: in pixels, of the one camera through which the network sees the world; a prediction for a camera of
        another focal length is multiplied by the ratio of the two. ``limit``: beyond it the product is +inf.
        """
        return {}

    def through_camera(self, label: Tensor, intrinsics: Tensor | None) -> Tensor:
        """A label as the network is to predict it through this camera; the label itself by default.

        Args:
            label: as a sample stores it, with a batch dimension.
            intrinsics: ``(B, 3, 3)`` in pixels of the image that the network sees; None = unknown.
        """
        return label

    def for_camera(self, decoded: dict[str, Tensor], intrinsics: Tensor | None) -> None:  # noqa: B027
        """Turn decoded predictions into those for this camera, in place; the inverse of `through_camera`.

        Args:
            decoded: this task's, and perhaps others'.
            intrinsics: as for `through_camera`; None: the camera is taken for that of `camera_rule`.
        """

    # Learning from frames without labels (`densemtl_core.learning`) asks a task three things more. ------------------

    @property
    def alignment_channels(self) -> int:
        """Channels of `alignment_map`."""
        return self.channels

    def alignment_map(self, raw: Tensor, reference: Tensor) -> Tensor:
        """What a discriminator sees that tells simulator from real by a prediction; the raw output by default.

        Args:
            raw: ``(B, channels, H, W)``.
            reference: the label of a simulated batch, which says what range is usual.

        Returns:
            ``(B, alignment_channels, H, W)``, of order one.
        """
        return raw

    def mirrored(self, raw: Tensor) -> Tensor:
        """Raw output of a mirrored image as that of the image itself, and the other way round."""
        return raw.flip(-1)

    def pseudo_label(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What a teacher's predictions say, as a label.

        Args:
            views: raw outputs ``(B, channels, H, W)`` of several views of the same images, mapped back onto them.

        Returns:
            The label, as a sample stores it, and how far to believe it, ``(B, 1, H, W)`` in [0, 1].

        Raises:
            InputError: this task has no pseudo-labels.
        """
        raise InputError(f"task {self.name!r} ({self.kind}) has no pseudo-labels; leave it out of self-training")

    def needs(self) -> tuple[str, ...]:
        """Names of other tasks that `refine` reads: whoever wants this task must decode those too, where they exist."""
        return ()

    def refine(self, decoded: dict[str, Tensor]) -> None:  # noqa: B027  (most tasks have nothing to refine)
        """Use what other tasks decoded for the same pixels, in place; called after every task's `decode`."""

    def picture_options(self) -> dict[str, Any]:
        """Arguments of the picture function besides the array (a palette, a range)."""
        return {}

    def paint(self, array: Any) -> render.Picture:
        """Paint the main output, a NumPy array ``(H, W)`` or ``(H, W, C)``, as ``(H, W, 3)`` uint8 RGB."""
        return render.picture(self.picture, array, **self.picture_options())

    def config(self) -> dict[str, Any]:
        """The task as plain data, from which `densemtl_core.tasks.from_config` makes it again."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    @staticmethod
    def resize(raw: Tensor, size: Sequence[int]) -> Tensor:
        """Bilinear resize of raw output to ``(H, W)``, corners aligned as in the published method."""
        height, width = size
        if raw.shape[-2:] == (height, width):
            return raw
        return torch.nn.functional.interpolate(raw, size=(height, width), mode="bilinear", align_corners=True)


def masked_mean(values: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of ``values`` over the true pixels of ``known``; zero, with zero gradient, where there are none.

    Args:
        values: any shape; may hold NaN where ``known`` is false.
        known: bool, same shape.
        weight: multiplies the values, of a shape that broadcasts to theirs; the sum is still divided by the number of
            known pixels.
    """
    # The product with a mask would keep a NaN: select instead, in the forward and so in the backward pass.
    kept = torch.where(known, values, torch.zeros_like(values))
    if weight is not None:
        kept = kept * weight
    return kept.sum() / known.sum().clamp(min=1)


def self_information(raw: Tensor) -> Tensor:
    """``-p log2 p / log2 C`` of each class: where a classifier is unsure, and between which classes (Vu et al., 2019).

    Args:
        raw: ``(B, C, H, W)`` logits.

    Returns:
        The same shape; summed over C, the entropy as a share of the largest.
    """
    log_p = raw.log_softmax(dim=1)
    return -log_p.exp() * log_p / math.log(raw.shape[1])
