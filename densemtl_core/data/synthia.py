"""SYNTHIA-RAND-CITYSCAPES: synthetic streets with Cityscapes' classes and exact depth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from densemtl_core.data.class_lists import NativeClasses, street_lists
from densemtl_core.data.derived_labels import EdgeRule, check_wanted, derive, sources
from densemtl_core.data.image_files import image_names, read_labels, read_rgb, read_uint16, require_files
from densemtl_core.data.sample import Sample
from densemtl_core.data.vkitti2 import metres_from_centimetres
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix, scale_intrinsics

__all__ = ["CLASSES", "Synthia", "in_val"]

_NAMES = (
    "void", "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "traffic sign", "pedestrian",
    "bicycle", "motorcycle", "parking slot", "road work", "traffic light", "terrain", "rider", "truck", "bus", "train",
    "wall", "lane marking",
)  # fmt: skip
_VOID = ("void", "parking slot", "road work", "lane marking")
_STREET = {n: "person" if n == "pedestrian" else n for n in _NAMES if n not in _VOID}

CLASSES = NativeClasses("SYNTHIA", dict(enumerate(_NAMES)), street_lists(_STREET))

_FOCAL, _CENTRE, _SIZE = 532.740352, (640.0, 380.0), (760, 1280)


def in_val(name: str) -> bool:
    """Whether a file belongs to ``val``: about one in five, by a hash of its name, whatever else is in the folder."""
    return hashlib.sha256(name.encode()).digest()[0] % 5 == 0


class Synthia(torch.utils.data.Dataset[Sample]):
    """SYNTHIA-RAND-CITYSCAPES in its native folders.

    Layout: ``<root>/RGB/*.png``, ``GT/LABELS/*.png`` (16-bit, class id in the first channel), ``Depth/Depth/*.png``
    or ``Depth/*.png`` (uint16 centimetres). Intrinsics are the published ones for 1280x760, scaled where the files
    have another size.

    Args:
        root: the folder that holds ``RGB``, ``GT`` and ``Depth``.
        split: ``train``, ``val`` or ``all``; see `in_val`.
        labels: which of semantic, depth, normals, edges.
        class_list: name of a class list.
        strict: refuse ids that are no class.
        edges: what makes an edge.

    Raises:
        InputError: a folder or file of the layout is missing, or an argument is not known.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        labels: Sequence[str] = ("semantic", "depth"),
        class_list: str = "cityscapes16",
        strict: bool = True,
        edges: EdgeRule | None = None,
    ) -> None:
        check_wanted("SYNTHIA", labels, ("semantic", "depth", "normals", "edges"))
        if split not in ("train", "val", "all"):
            raise InputError(f"SYNTHIA: split {split!r} is unknown; use train, val or all")
        self.root, self.labels, self.rule = Path(root), tuple(labels), edges or EdgeRule()
        self.sources = sources(self.labels, self.rule)
        self.classes = CLASSES.to(class_list, strict)
        nested = self.root / "Depth/Depth"
        self.folders = {"semantic": self.root / "GT/LABELS", "depth": nested if nested.is_dir() else nested.parent}
        found = image_names("SYNTHIA", self.root / "RGB", (".png",))
        self.items = [n for n in found if split == "all" or in_val(n) == (split == "val")]
        if not self.items:
            raise InputError(f"SYNTHIA: none of the {len(found)} images in {self.root / 'RGB'} is in {split}; use all")
        for name in sorted(self.sources):
            require_files("SYNTHIA", name, [self.folders[name] / n for n in self.items])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        name = self.items[index]
        image = read_rgb(self.root / "RGB" / name)
        labels: dict[str, Tensor] = {}
        if "semantic" in self.sources:
            file = self.folders["semantic"] / name
            ids = read_labels(file)
            labels["semantic"] = self.classes(ids if ids.ndim == 2 else ids[..., 0], file)
        if "depth" in self.sources:
            labels["depth"] = metres_from_centimetres(read_uint16(self.folders["depth"] / name))
        K = intrinsics_matrix(_FOCAL, _FOCAL, *_CENTRE)
        K = scale_intrinsics(K, image.shape[2] / _SIZE[1], image.shape[1] / _SIZE[0])
        return derive(Sample(image, labels, K, f"SYNTHIA/{name}"), self.labels, self.rule)
