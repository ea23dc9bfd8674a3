"""A folder of images without labels: a robot's own footage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from densemtl_core.data.image_files import image_names, neighbour_label, read_rgb
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError

__all__ = ["ImageFolder", "given_intrinsics"]


def given_intrinsics(intrinsics: Sequence[float] | None) -> torch.Tensor | None:
    """Row-major 3x3 intrinsics, as in a ROS camera_info's ``k``, to ``(3, 3)``; anything else is an ``InputError``."""
    if intrinsics is None:
        return None
    K = torch.tensor([float(x) for x in intrinsics])
    if K.numel() != 9 or K[0] <= 0 or K[4] <= 0 or K[6:].tolist() != [0, 0, 1]:
        raise InputError(f"intrinsics {K.tolist()} are not fx 0 cx 0 fy cy 0 0 1 in pixels; copy them from camera_info")
    return K.view(3, 3)


class ImageFolder(torch.utils.data.Dataset[Sample]):
    """Every image of one folder, by name; sub-folders are not entered.

    Args:
        root: the folder.
        intrinsics: nine numbers, row-major, in pixels, if the camera is known.
        frames: neighbours in the order of names that come along, -1 and +1 say, as labels ``image-1`` ``(3, H, W)``.

    Raises:
        InputError: the folder is missing or has no image.
    """

    def __init__(
        self, *, root: str | Path, intrinsics: Sequence[float] | None = None, frames: Sequence[int] = ()
    ) -> None:
        self.root, self.frames, self.K = Path(root), tuple(frames), given_intrinsics(intrinsics)
        self.files = [self.root / n for n in image_names("image folder", self.root)]
        every = range(len(self.files))
        self.items = [k for k in every if all(k + o in every for o in self.frames)]
        if not self.items:
            raise InputError(
                f"image folder: {self.root} has {len(self.files)} images, too few for frames {self.frames}"
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        number = self.items[index]
        labels = {neighbour_label(k): read_rgb(self.files[number + k]) for k in self.frames}
        K = None if self.K is None else self.K.clone()
        return Sample(read_rgb(self.files[number]), labels, K, str(self.files[number]))
