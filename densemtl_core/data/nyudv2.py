"""NYUDv2 with four tasks: indoor images with 40 classes, depth, normals and edges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densemtl_core.data.class_lists import NYUD_40, NativeClasses
from densemtl_core.data.derived_labels import check_wanted, derive
from densemtl_core.data.image_files import read_labels, read_rgb, require_files, require_folder
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix, normals_from_depth

__all__ = ["CLASSES", "Nyudv2"]

CLASSES = NativeClasses(
    "NYUDv2",
    {0: "void", **{k + 1: name for k, name in enumerate(NYUD_40.classes)}},
    {"nyud40": {name: name for name in NYUD_40.classes}},
)

# The Kinect's colour camera as the dataset's toolbox gives it, 640x480.
_K = (518.857901, 519.469611, 325.582449, 253.736166)
# Left and upper border that the 560x425 release cuts off.
_CUT = (40, 45)
_FOLDERS = {
    "semantic": ("segmentation", ".png"),
    "depth": ("depth", ".npy"),
    "normals": ("normals", ".png"),
    "edges": ("edge", ".png"),
}
_AGREEMENT = 0.3


class Nyudv2(torch.utils.data.Dataset[Sample]):
    """NYUDv2 in the multi-task layout, official 795 / 654 split.

    Layout: ``<root>/gt_sets/<split>.txt`` (a name a line), ``images/*.png`` or ``.jpg``, ``segmentation/*.png``
    (class + 1, 0 = void), ``depth/*.npy`` (metres, 0 = unknown), ``normals/*.png`` ((n + 1) / 2 * 255, black =
    unknown), ``edge/*.png`` (not 0 = edge). Intrinsics are the Kinect's for images of 640x480 and 560x425, else None.

    Releases of the normals differ in what their three channels mean. By default that is measured: the arrangement
    that agrees with the normals of the first images' depth is taken, and none at all is an error.

    Args:
        root: the folder that holds ``gt_sets``.
        split: ``train`` or ``val``.
        labels: which of semantic, depth, normals, edges.
        class_list: ``nyud40``.
        strict: refuse ids that are no class.
        normal_axes: which stored channel is right, down and forward, with its sign: ``("+x", "-z", "+y")``, say, for
            channels (right, forward, up). None = measured, which needs the depth files too.

    Raises:
        InputError: a folder or file of the layout is missing, the normals disagree with the depth, or an argument is
            not known.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        labels: Sequence[str] = ("semantic", "depth", "normals", "edges"),
        class_list: str = "nyud40",
        strict: bool = True,
        normal_axes: Sequence[str] | None = None,
    ) -> None:
        check_wanted("NYUDv2", labels, tuple(_FOLDERS))
        if split not in ("train", "val"):
            raise InputError(f"NYUDv2: split {split!r} is unknown; use train or val")
        self.root, self.split, self.labels = Path(root), split, tuple(labels)
        self.classes = CLASSES.to(class_list, strict)
        require_folder("NYUDv2", self.root)
        listing = self.root / "gt_sets" / f"{split}.txt"
        if not listing.is_file():
            raise InputError(f"NYUDv2: looked for the split list {listing}, it is not there; check root")
        self.items = [line.strip() for line in listing.read_text().splitlines() if line.strip()]
        if not self.items:
            raise InputError(f"NYUDv2: the split list {listing} is empty; unpack it again")
        folder = require_folder("NYUDv2", self.root / "images", "unpack the images")
        jpeg = (folder / f"{self.items[0]}.jpg").is_file()
        self._images = [folder / f"{n}{'.jpg' if jpeg else '.png'}" for n in self.items]
        require_files("NYUDv2", "image", self._images)
        measured = "normals" in self.labels and normal_axes is None
        for what in sorted({*self.labels, "depth"} if measured else self.labels):
            require_files("NYUDv2", what, [self._file(n, what) for n in self.items])
        self.normal_axes = self._measured_axes() if measured else tuple(normal_axes or ())
        if "normals" in self.labels:
            self._arrangement = _arrangement(self.normal_axes)

    def _file(self, name: str, what: str) -> Path:
        folder, ending = _FOLDERS[what]
        return self.root / folder / f"{name}{ending}"

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        name = self.items[index]
        image = read_rgb(self._images[index])
        labels: dict[str, Tensor] = {}
        if "semantic" in self.labels:
            file = self._file(name, "semantic")
            ids = read_labels(file)
            labels["semantic"] = self.classes(ids if ids.ndim == 2 else ids[..., 0], file)
        if "depth" in self.labels:
            labels["depth"] = _depth(self._file(name, "depth"))
        if "normals" in self.labels:
            order, signs = self._arrangement
            labels["normals"] = _stored_normals(self._file(name, "normals"))[order] * signs
        if "edges" in self.labels:
            stored = read_labels(self._file(name, "edges"))
            labels["edges"] = torch.from_numpy((stored if stored.ndim == 2 else stored[..., 0]) > 0).float()[None]
        return derive(Sample(image, labels, _intrinsics(image), f"NYUDv2/{self.split}/{name}"), self.labels)

    def _measured_axes(self) -> tuple[str, ...]:
        """The arrangement of the stored channels that agrees best with the normals of the first images' depth."""
        products, count = torch.zeros(3, 3), 0
        for name, image_file in list(zip(self.items, self._images, strict=True))[:3]:
            K = _intrinsics(read_rgb(image_file))
            if K is None:
                raise InputError(
                    f"{image_file}: its camera is unknown (not 640x480 or 560x425), so what the normals' channels mean "
                    'cannot be measured; give normal_axes, such as ("+x", "-z", "+y")'
                )
            depth, stored = _depth(self._file(name, "depth")), _stored_normals(self._file(name, "normals"))
            if depth.shape[-2:] != stored.shape[-2:]:
                raise InputError(f"{self._file(name, 'normals')}: not of the size of its depth; use files of one size")
            smooth = torch.nn.functional.avg_pool2d(depth[None], 5, 1, 2)  # a Kinect's depth is too rough as it is
            exact = normals_from_depth(smooth, K[None])[0]
            known = exact.isfinite().all(0) & stored.isfinite().all(0)
            products += exact[:, known] @ stored[:, known].T
            count += int(known.sum())
        agreement = {
            tuple(("+" if s > 0 else "-") + "xyz"[c] for s, c in zip(signs, order, strict=True)): sum(
                s * float(products[k, c]) for k, (s, c) in enumerate(zip(signs, order, strict=True))
            )
            / max(count, 1)
            for order in itertools.permutations(range(3))
            for signs in itertools.product((1, -1), repeat=3)
        }
        best = max(agreement, key=agreement.__getitem__)
        if agreement[best] < _AGREEMENT:
            raise InputError(
                f"NYUDv2: the normals in {self.root / 'normals'} disagree with the depth (mean cosine at best "
                f"{agreement[best]:.2f}); check that both belong to the same images, or give normal_axes"
            )
        return best


def _arrangement(axes: Sequence[str]) -> tuple[list[int], Tensor]:
    """Channel order and signs ``(3, 1, 1)`` of ``("+x", "-z", "+y")``."""
    if len(axes) != 3 or {a[1:] for a in axes} != set("xyz") or any(a[0] not in "+-" for a in axes):
        raise InputError(f"NYUDv2: normal_axes {tuple(axes)} is not three of +x -x +y -y +z -z, each letter once")
    return ["xyz".index(a[1]) for a in axes], torch.tensor([1.0 if a[0] == "+" else -1.0 for a in axes]).view(3, 1, 1)


def _intrinsics(image: Tensor) -> Tensor | None:
    size = tuple(image.shape[-2:])
    if size not in ((480, 640), (425, 560)):
        return None
    K = intrinsics_matrix(*_K)
    if size == (425, 560):
        K[:2, 2] -= torch.tensor(_CUT)
    return K


def _depth(path: Path) -> Tensor:
    """``(1, H, W)`` metres, NaN = unknown."""
    try:
        metres = np.load(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; unpack the dataset again") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a readable array ({str(error).splitlines()[0]}); copy the file again") from None
    metres = metres.squeeze()
    if metres.ndim != 2 or metres.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected depth (H, W) in metres, found {metres.shape} of {metres.dtype}")
    depth = torch.from_numpy(metres.astype(np.float32))[None]
    return torch.where(depth > 0, depth, torch.nan)


def _stored_normals(path: Path) -> Tensor:
    """``(3, H, W)`` unit vectors in the file's own axes, NaN where the file has no direction."""
    stored = read_labels(path)
    if stored.ndim != 3 or stored.dtype != np.uint8:
        raise InputError(f"{path}: expected an 8-bit RGB image of normals, found shape {stored.shape}")
    vector = torch.from_numpy(stored).permute(2, 0, 1).float() / 255 * 2 - 1
    length = vector.norm(dim=0, keepdim=True)
    # a direction has length 1; black (1.73) and mid-grey (0) say that there is none
    return torch.where((length > 0.5) & (length < 1.5), vector / length, torch.nan)
