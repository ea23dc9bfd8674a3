"""Joint transforms of a sample: image, labels and intrinsics change together, as the geometry says.

Labels are found by their size: whatever has the image's height and width is an image and takes part; anything else (a
4x4 ``pose``, say) is carried along.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from densemtl_core.data.further_labels import BOUNDARY_LIMIT, MIRRORED_PLANES
from densemtl_core.data.sample import IGNORE_CLASS, Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import scale_intrinsics

__all__ = ["Augmentation", "TransformedDataset", "crop", "horizontal_flip", "jitter_colour", "resize"]


_MIRRORED = torch.tensor([*MIRRORED_PLANES, *[IGNORE_CLASS] * (256 - len(MIRRORED_PLANES))])
"""By the id of a plane, that of its mirror image."""


def _is_picture(name: str) -> bool:
    return name.startswith("image")


def _map_labels(sample: Sample, change: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    size = sample.image.shape[-2:]
    return {n: change(n, x) if x.shape[-2:] == size else x for n, x in sample.labels.items()}


def _as_planes(x: Tensor) -> Tensor:
    """``(..., H, W)`` to ``(1, N, H, W)``."""
    return x.reshape(1, -1, *x.shape[-2:])


def _smooth(x: Tensor, size: tuple[int, int]) -> Tensor:
    small = F.interpolate(_as_planes(x), size, mode="bilinear", align_corners=False, antialias=True)
    return small.view(*x.shape[:-2], *size).clamp(0, 1)


def _nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The stored value whose pixel covers the new pixel's centre; never a mixture of two."""
    height, width = x.shape[-2:]
    rows = ((torch.arange(size[0], device=x.device) + 0.5) * (height / size[0])).long().clamp(max=height - 1)
    columns = ((torch.arange(size[1], device=x.device) + 0.5) * (width / size[1])).long().clamp(max=width - 1)
    return x[..., rows[:, None], columns]


def _thin(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Edges: a smaller pixel is an edge where any pixel under it is, so that one-pixel lines do not break."""
    shrunk = (min(size[0], x.shape[-2]), min(size[1], x.shape[-1]))
    pooled = F.adaptive_max_pool2d(_as_planes(x.nan_to_num(-1.0)), shrunk)
    pooled = torch.where(pooled < 0, torch.nan, pooled).view(*x.shape[:-2], *shrunk)
    return _nearest(pooled, size)


def resize(sample: Sample, size: tuple[int, int]) -> Sample:
    """Resize everything to one size.

    Pictures are resampled smoothly; classes, depth, normals and unknown labels by the nearest pixel, since a mean of
    two depths lies on neither surface. Depth and normals keep their values: they are metres and directions in the
    camera's frame, which a resize does not move. So does ``boundary_distance``, a share of the image diagonal, as long
    as the aspect stays. Intrinsics are scaled.

    Args:
        sample: a sample or a batch.
        size: new (H, W).

    Raises:
        InputError: a size that is not positive; ``instance_center``, whose peaks have no size but one, or
            ``boundary_distance`` at another aspect.
    """
    height, width = sample.image.shape[-2:]
    if min(size) < 1:
        raise InputError(f"resize: size {tuple(size)} is not positive; give (H, W) in pixels")
    if (height, width) == tuple(size):
        return sample
    if "instance_center" in sample.labels:
        raise InputError(f"resize: instance_center of {sample.name or 'a sample'} cannot be resized; make it at {size}")
    stretch = abs(math.log(size[0] * width / (size[1] * height)))
    if "boundary_distance" in sample.labels and stretch > 0.02:
        raise InputError(
            f"resize: boundary_distance of {sample.name or 'a sample'} is for {width}x{height}, and {size[1]}x{size[0]}"
            " has another aspect; keep it"
        )

    def change(name: str, x: Tensor) -> Tensor:
        how = _smooth if _is_picture(name) else _thin if name == "edges" else _nearest
        return how(x, size)

    K = sample.intrinsics
    return replace(
        sample,
        image=_smooth(sample.image, size),
        labels=_map_labels(sample, change),
        intrinsics=None if K is None else scale_intrinsics(K, size[1] / width, size[0] / height),
    )


def crop(sample: Sample, top: int, left: int, size: tuple[int, int]) -> Sample:
    """Cut a window out; the principal point moves with its corner.

    ``boundary_distance`` becomes a share of the window's diagonal; boundaries outside still count.

    Args:
        sample: a sample or a batch.
        top: first row.
        left: first column.
        size: (H, W) of the window, which lies inside the image.

    Raises:
        InputError: the window does not fit; or ``instance_center``, which is of what the whole image shows.
    """
    height, width = sample.image.shape[-2:]
    if not (0 <= top <= height - size[0] and 0 <= left <= width - size[1] and min(size) > 0):
        raise InputError(
            f"crop: a window of {size[1]}x{size[0]} at x={left}, y={top} does not fit into {sample.name or 'an image'} "
            f"of {width}x{height}; resize first or crop less"
        )
    if "instance_center" in sample.labels and tuple(size) != (height, width):
        raise InputError(
            f"crop: instance_center of {sample.name or 'a sample'} is the middle of what the whole image shows of a"
            " thing; do not crop"
        )
    window = (..., slice(top, top + size[0]), slice(left, left + size[1]))
    K = sample.intrinsics
    if K is not None:
        K = K.clone()
        K[..., 0, 2] -= left
        K[..., 1, 2] -= top
    longer = math.hypot(height, width) / math.hypot(*size)  # the same distance, of a shorter diagonal

    def change(name: str, x: Tensor) -> Tensor:
        return (x[window] * longer).clamp(max=BOUNDARY_LIMIT) if name == "boundary_distance" else x[window]

    return replace(sample, image=sample.image[window], labels=_map_labels(sample, change), intrinsics=K)


def horizontal_flip(sample: Sample) -> Sample:
    """Mirror left and right: the world is mirrored in x, so normals' x is negated and cx moves; fx and cy stay.

    ``planes`` that faced left face right. A label named ``pose...`` ``(..., 4, 4)`` becomes the motion of the mirrored
    world.
    """
    mirror = torch.tensor([-1.0, 1.0, 1.0, 1.0], device=sample.image.device)

    def change(name: str, x: Tensor) -> Tensor:
        mirrored = x.flip(-1)
        if name == "normals":
            return mirrored * mirror[:3].view(3, 1, 1)
        return _MIRRORED.to(x.device)[mirrored] if name == "planes" else mirrored

    poses = {
        n: x * mirror[:, None] * mirror
        for n, x in sample.labels.items()
        if n.startswith("pose") and x.shape[-2:] == (4, 4)
    }
    K = sample.intrinsics
    if K is not None:
        K = K.clone()
        K[..., 0, 2] = sample.image.shape[-1] - 1 - K[..., 0, 2]
    labels = {**_map_labels(sample, change), **poses}
    return replace(sample, image=sample.image.flip(-1), labels=labels, intrinsics=K)


def jitter_colour(
    sample: Sample, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
) -> Sample:
    """Change the colours of the image, and alike of its neighbouring frames; labels stay.

    Args:
        sample: a sample or a batch.
        brightness: factor on all values.
        contrast: factor on the distance from the picture's mean grey.
        saturation: factor on the distance from grey.
        hue: turn of the colour circle around the grey axis, radians.
    """
    angle = torch.tensor(hue)
    # Rodrigues' rotation of RGB space about its grey diagonal
    cosine, sine, third = float(angle.cos()), float(angle.sin()), 1 / 3
    own, side = cosine + third * (1 - cosine), third * (1 - cosine)
    plus, minus = side + third**0.5 * sine, side - third**0.5 * sine
    turn = torch.tensor([[own, minus, plus], [plus, own, minus], [minus, plus, own]], device=sample.image.device)
    grey_of = torch.tensor([0.299, 0.587, 0.114], device=sample.image.device).view(3, 1, 1)

    def change(x: Tensor) -> Tensor:
        x = (x * brightness).clamp(0, 1)
        mean = (x * grey_of).sum(-3, keepdim=True).mean((-2, -1), keepdim=True)
        x = (mean + (x - mean) * contrast).clamp(0, 1)
        grey = (x * grey_of).sum(-3, keepdim=True)
        x = grey + (x - grey) * saturation
        return torch.einsum("ij,...jhw->...ihw", turn, x).clamp(0, 1)

    labels = _map_labels(sample, lambda name, x: change(x) if _is_picture(name) else x)
    return replace(sample, image=change(sample.image), labels=labels)


@dataclass(frozen=True)
class Augmentation:
    """Resize, then random crop, flip and colours: the usual training input.

    Attributes:
        size: (H, W) after the resize, None = as it is.
        crop: (H, W) of a random window, None = all.
        flip: probability of a mirrored sample.
        brightness: factors are drawn from 1 - b to 1 + b; likewise ``contrast`` and ``saturation``.
        contrast: see ``brightness``.
        saturation: see ``brightness``.
        hue: angles are drawn from -hue to +hue, radians.
    """

    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"augmentation: {name} {getattr(self, name)} is not in 0..1")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Augment a sample; the same generator state gives the same result, and every call draws equally often."""
        draws = torch.rand(7, generator=generator).tolist()
        if self.size is not None:
            sample = resize(sample, self.size)
        if self.crop is not None:
            room = [max(a - b, 0) for a, b in zip(sample.image.shape[-2:], self.crop, strict=True)]
            top, left = (min(int(d * (r + 1)), r) for d, r in zip(draws[:2], room, strict=True))
            sample = crop(sample, top, left, self.crop)
        if draws[2] < self.flip:
            sample = horizontal_flip(sample)
        if self.brightness or self.contrast or self.saturation or self.hue:
            spread = (self.brightness, self.contrast, self.saturation, self.hue)
            b, c, s, h = (w * (2 * d - 1) for w, d in zip(spread, draws[3:], strict=True))
            sample = jitter_colour(sample, 1 + b, 1 + c, 1 + s, h)
        return sample


class TransformedDataset(torch.utils.data.Dataset[Sample]):
    """A dataset whose samples are augmented by draws that depend on (seed, epoch, index) alone.

    So a resumed run sees what an uninterrupted one sees, with any number of loader processes.

    Args:
        dataset: unbatched samples.
        transform: called with a sample and a generator.
        seed: which stream of draws.
    """

    def __init__(
        self,
        dataset: torch.utils.data.Dataset[Sample],
        transform: Callable[[Sample, torch.Generator], Sample],
        seed: int = 0,
    ) -> None:
        self.dataset, self.transform, self.seed, self.epoch = dataset, transform, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw anew; call it before the epoch's loader starts its processes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        digest = hashlib.sha256(f"{self.seed}/{self.epoch}/{index}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        return self.transform(self.dataset[index], generator)
