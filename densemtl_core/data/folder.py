"""A folder of images without labels: a robot's own footage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densemtl_core.data.image_files import glance, image_names, neighbour_label, read_rgb
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix

__all__ = ["ImageFolder", "given_intrinsics"]


def given_intrinsics(intrinsics: Sequence[Any] | None) -> Tensor | None:
    """A camera that a user wrote down, as a matrix.

    Args:
        intrinsics: in pixels of the files: ``fx fy cx cy``, the nine numbers of a ROS camera_info's ``k`` (row-major),
            or three rows of three; None = unknown.

    Returns:
        ``(3, 3)`` float32, or None.

    Raises:
        InputError: anything else, skew among it.
    """
    if intrinsics is None:
        return None
    refused = InputError(
        f"intrinsics {intrinsics!r} are no pinhole camera; give fx,fy,cx,cy or fx,0,cx,0,fy,cy,0,0,1 (camera_info's k) "
        "or [[fx,0,cx],[0,fy,cy],[0,0,1]] in pixels of the files, finite, fx and fy above 0"
    )
    if isinstance(intrinsics, str):
        raise refused
    try:
        K = torch.tensor([[float(x) for x in row] if isinstance(row, Sequence) else float(row) for row in intrinsics])
    except (TypeError, ValueError):
        raise refused from None
    if K.shape == (4,):
        K = intrinsics_matrix(*K.tolist())
    if K.shape not in ((9,), (3, 3)) or not K.isfinite().all():
        raise refused
    K = K.view(3, 3)
    fx, skew, _, zero, fy, _, *last = K.flatten().tolist()
    if fx <= 0 or fy <= 0 or skew or zero or last != [0, 0, 1]:
        raise refused
    return K


class ImageFolder(torch.utils.data.Dataset[Sample]):
    """Every image of one folder, by name; sub-folders are not entered.

    Args:
        root: the folder.
        intrinsics: in pixels, if the camera is known: four or nine numbers, or 3x3 (`given_intrinsics`).
        frames: neighbours in the order of names that come along, -1 and +1 say, as labels ``image-1`` ``(3, H, W)``.

    Raises:
        InputError: the folder is missing or has no image.
    """

    def __init__(
        self, *, root: str | Path, intrinsics: Sequence[Any] | None = None, frames: Sequence[int] = ()
    ) -> None:
        self.root, self.frames, self.K = Path(root), tuple(frames), given_intrinsics(intrinsics)
        self.files = [self.root / n for n in image_names("image folder", self.root)]
        every = range(len(self.files))
        self.items = [k for k in every if all(k + o in every for o in self.frames)]
        if not self.items:
            raise InputError(
                f"image folder: {self.root} has {len(self.files)} images, too few for frames {self.frames}"
            )

    def broken(self) -> list[str]:
        """What is wrong with which files, as far as a look at each one's ends shows (`image_files.glance`)."""
        return [fault for file in self.files if (fault := glance(file))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        number = self.items[index]
        labels = {neighbour_label(k): read_rgb(self.files[number + k]) for k in self.frames}
        K = None if self.K is None else self.K.clone()
        return Sample(read_rgb(self.files[number]), labels, K, str(self.files[number]))
