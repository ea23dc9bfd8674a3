"""One image with whatever is known about it: the unit that flows through the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from densemtl_core.errors import InputError

__all__ = ["IGNORE_CLASS", "Sample", "collate"]

IGNORE_CLASS = 255
"""The class id of an unlabelled pixel."""


@dataclass(frozen=True)
class Sample:
    """An image, or a batch of images, with any subset of its labels.

    A batch has the same fields with a leading batch dimension. Which labels exist is a property of the sample, not
    of the dataset: a loss or a metric whose label is absent is skipped.

    Attributes:
        image: ``(3, H, W)`` float32, RGB in [0, 1].
        labels: label name to tensor. The names and forms that the built-in tasks read:

            * ``semantic`` ``(H, W)`` int64 class ids, 255 = unlabelled;
            * ``depth`` ``(1, H, W)`` float32 metres along the optical axis (z, not ray length), NaN = unknown,
              +inf = no surface (sky);
            * ``normals`` ``(3, H, W)`` float32 unit vectors in the optical frame (x right, y down, z forward),
              facing the camera, NaN = unknown;
            * ``edges`` ``(1, H, W)`` float32 in {0, 1}, NaN = unknown.

            Any further name is carried along untouched for tasks defined elsewhere.
        intrinsics: ``(3, 3)`` float32 pinhole matrix in pixels of ``image`` (centre of the top-left pixel is
            (0, 0)), or None when the camera is unknown.
        name: where the sample came from, for messages.
    """

    image: Tensor
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    intrinsics: Tensor | None = None
    name: str = ""


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples of one size into a batch.

    A label is kept only when every sample carries it; the intrinsics likewise.

    Args:
        samples: at least one sample; all images of one shape.

    Returns:
        A sample whose tensors have a leading batch dimension.

    Raises:
        InputError: images of different sizes.
    """
    if not samples:
        raise ValueError("collate needs at least one sample, got none")
    sizes = {tuple(s.image.shape[-2:]) for s in samples}
    if len(sizes) > 1:
        odd = next(s for s in samples if s.image.shape[-2:] != samples[0].image.shape[-2:])
        (height, width), (h, w) = samples[0].image.shape[-2:], odd.image.shape[-2:]
        raise InputError(
            f"{odd.name or 'a sample'} is {w}x{h}, {samples[0].name or 'another'} {width}x{height}: "
            "images of one batch must be of one size; set data.size, or resize them"
        )
    names = set(samples[0].labels).intersection(*(s.labels for s in samples[1:]))
    matrices = [s.intrinsics for s in samples]
    known = [m for m in matrices if m is not None]
    return Sample(
        image=torch.stack([s.image for s in samples]),
        labels={n: torch.stack([s.labels[n] for s in samples]) for n in samples[0].labels if n in names},
        intrinsics=torch.stack(known) if len(known) == len(matrices) else None,
        name=", ".join(s.name for s in samples),
    )
