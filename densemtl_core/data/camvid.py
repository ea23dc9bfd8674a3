"""CamVid: real drives with eleven classes, in the common 480x360 release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from densemtl_core.data.class_lists import CAMVID_11, STREET_7, NativeClasses, shared_lists, street_lists
from densemtl_core.data.derived_labels import EdgeRule, check_wanted, derive, sources
from densemtl_core.data.image_files import (
    image_names,
    read_labels,
    read_rgb,
    require_files,
    require_folder,
)
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError

__all__ = ["CLASSES", "CamVid"]

# CamVid joins what Cityscapes keeps apart (rider with bicycle, sign with light): such a class becomes its larger part.
_STREET = {
    "sky": "sky", "building": "building", "pole": "pole", "road": "road", "pavement": "sidewalk",
    "tree": "vegetation", "sign symbol": "traffic sign", "fence": "fence", "car": "car", "pedestrian": "person",
    "bicyclist": "rider",
}  # fmt: skip

CLASSES = NativeClasses(
    "CamVid",
    {**dict(enumerate(CAMVID_11.classes)), 11: "unlabelled"},
    {
        "camvid11": {name: name for name in CAMVID_11.classes},
        STREET_7.name: shared_lists(_STREET)[STREET_7.name],  # not the 8-list, which keeps light and sign apart
        **street_lists(_STREET),
    },
)


class CamVid(torch.utils.data.Dataset[Sample]):
    """CamVid with its official split lists; the camera is unknown, so there are no intrinsics.

    Layout: ``<root>/<split>.txt`` (a name a line, with or without ending; further columns are ignored),
    ``<root>/<split>/<name>.jpg`` or ``.png``, ``<root>/<split>annot/<name>.png`` (ids 0..10, 11 = unlabelled).

    Args:
        root: the folder that holds ``train.txt``.
        split: ``train``, ``val`` or ``test``.
        labels: which of semantic, edges (class changes alone).
        class_list: name of a class list.
        strict: refuse ids that are no class.

    Raises:
        InputError: a folder or file of the layout is missing, or an argument is not known.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        labels: Sequence[str] = ("semantic",),
        class_list: str = "camvid11",
        strict: bool = True,
    ) -> None:
        check_wanted("CamVid", labels, ("semantic", "edges"))
        if split not in ("train", "val", "test"):
            raise InputError(f"CamVid: split {split!r} is unknown; use train, val or test")
        self.root, self.split, self.labels = Path(root), split, tuple(labels)
        self.rule = EdgeRule(depth_step=None)
        self.sources = sources(self.labels, self.rule)
        self.classes = CLASSES.to(class_list, strict)
        require_folder("CamVid", self.root)
        listing = self.root / f"{split}.txt"
        if not listing.is_file():
            raise InputError(f"CamVid: looked for the split list {listing}, it is not there; check root")
        names = [Path(line.split()[0]).stem for line in listing.read_text().splitlines() if line.strip()]
        if not names:
            raise InputError(f"CamVid: the split list {listing} is empty; copy it again")
        present = {Path(n).stem: n for n in image_names("CamVid", self.root / split)}
        require_files("CamVid", "image", [self.root / split / present.get(n, f"{n}.jpg") for n in names])
        self.items = [(self.root / split / present[n], self.root / f"{split}annot" / f"{n}.png") for n in names]
        if self.sources:
            require_files("CamVid", "label", [label for _, label in self.items])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        file, label_file = self.items[index]
        labels: dict[str, Tensor] = {}
        if self.sources:
            ids = read_labels(label_file)
            if ids.ndim != 2:
                raise InputError(f"{label_file}: expected one channel of class ids, found {ids.shape[2]}")
            labels["semantic"] = self.classes(ids, label_file)
        sample = Sample(read_rgb(file), labels, None, f"CamVid/{self.split}/{file.stem}")
        return derive(sample, self.labels, self.rule)
