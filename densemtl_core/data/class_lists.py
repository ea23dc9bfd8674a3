"""Class lists: names, palette, and how a dataset's native ids become ids of a list."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densemtl_core.data.sample import IGNORE_CLASS
from densemtl_core.errors import InputError

__all__ = [
    "CITYSCAPES_7",
    "CITYSCAPES_13",
    "CITYSCAPES_16",
    "CITYSCAPES_19",
    "CLASS_LISTS",
    "STREET_7",
    "VKITTI_8_IDS",
    "ClassList",
    "ClassMap",
    "NativeClasses",
    "class_list",
    "shared_lists",
    "street_lists",
]


@dataclass(frozen=True)
class ClassList:
    """An ordered list of classes; a class's id is its position.

    Attributes:
        name: how configurations call it.
        classes: class names, stable because consumers (Nav2's layer, say) address classes by name.
        palette: one RGB colour in 0..255 per class.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.palette):
            raise ValueError(f"class list {self.name!r}: {len(self.classes)} names but {len(self.palette)} colours")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"class list {self.name!r}: a name appears twice")

    def __len__(self) -> int:
        return len(self.classes)

    def id(self, name: str) -> int:
        """The id of a class name (``ValueError`` when the list does not have it)."""
        return self.classes.index(name)

    def subset(self, name: str, without: tuple[str, ...]) -> ClassList:
        """The same list, in the same order, without some classes."""
        keep = [i for i, c in enumerate(self.classes) if c not in without]
        return ClassList(name, tuple(self.classes[i] for i in keep), tuple(self.palette[i] for i in keep))


# Names and colours are Cityscapes' 19 evaluation classes in their train-id order, which most users know by heart.
CITYSCAPES_19 = ClassList(
    "cityscapes19",
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip

CITYSCAPES_16 = CITYSCAPES_19.subset("cityscapes16", without=("terrain", "truck", "train"))

CITYSCAPES_13 = CITYSCAPES_16.subset("cityscapes13", without=("wall", "fence", "pole"))

CITYSCAPES_7 = ClassList(
    "cityscapes7",
    ("flat", "construction", "object", "nature", "sky", "human", "vehicle"),
    ((128, 64, 128), (70, 70, 70), (153, 153, 153), (107, 142, 35), (70, 130, 180), (220, 20, 60), (0, 0, 142)),
)

# What VKITTI2 and Cityscapes have in common, for adaptation from one to the other.
VKITTI_8 = ClassList(
    "vkitti8",
    ("road", "building", "pole", "traffic light", "traffic sign", "vegetation", "sky", "vehicle"),
    (
        (128, 64, 128), (70, 70, 70), (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (70, 130, 180),
        (0, 0, 142),
    ),
)  # fmt: skip

# The eight with signs and lights as one class, because CamVid's "sign symbol" holds both.
STREET_7 = ClassList(
    "street7",
    ("road", "building", "pole", "traffic sign", "vegetation", "sky", "vehicle"),
    tuple(c for n, c in zip(VKITTI_8.classes, VKITTI_8.palette, strict=True) if n != "traffic light"),
)

# VKITTI2's own classes in the colours of its files.
VKITTI_14 = ClassList(
    "vkitti14",
    (
        "terrain", "sky", "tree", "vegetation", "building", "road", "guard rail", "traffic sign", "traffic light",
        "pole", "misc", "truck", "car", "van",
    ),
    (
        (210, 0, 200), (90, 200, 255), (0, 199, 0), (90, 240, 0), (140, 140, 140), (100, 60, 100), (250, 100, 255),
        (255, 255, 0), (200, 200, 0), (255, 130, 0), (80, 80, 80), (160, 60, 60), (255, 127, 80), (0, 139, 139),
    ),
)  # fmt: skip

CAMVID_11 = ClassList(
    "camvid11",
    (
        "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian",
        "bicyclist",
    ),
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip


def _spread_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours far from their neighbours in the list: hues a golden angle apart, three brightnesses in turn."""
    rgb = (colorsys.hsv_to_rgb(k * 0.61803 % 1, 0.75 - 0.2 * (k % 2), (1.0, 0.75, 0.5)[k % 3]) for k in range(count))
    return tuple((round(r * 255), round(g * 255), round(b * 255)) for r, g, b in rgb)


NYUD_40 = ClassList(
    "nyud40",
    (
        "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
        "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes",
        "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard",
        "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture",
        "other prop",
    ),
    _spread_colours(40),
)  # fmt: skip

CLASS_LISTS = {
    c.name: c
    for c in (
        CITYSCAPES_7,
        STREET_7,
        VKITTI_8,
        CAMVID_11,
        CITYSCAPES_13,
        VKITTI_14,
        CITYSCAPES_16,
        CITYSCAPES_19,
        NYUD_40,
    )
}


def class_list(name: str) -> ClassList:
    """Look a class list up by name (``InputError`` with the known names)."""
    try:
        return CLASS_LISTS[name]
    except KeyError:
        raise InputError(f"unknown class list {name!r}; known: {', '.join(sorted(CLASS_LISTS))}") from None


# The seven groups and the Cityscapes classes in them; whatever is not named here is unlabelled in that list.
_GROUPS_7 = {
    "road": "flat", "sidewalk": "flat", "building": "construction", "fence": "construction", "pole": "object",
    "traffic light": "object", "traffic sign": "object", "vegetation": "nature", "sky": "sky", "person": "human",
    "car": "vehicle", "bicycle": "vehicle",
}  # fmt: skip


def street_lists(native: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Rows of a `NativeClasses` table for every Cityscapes list (7, 13, 16, 19 classes).

    Args:
        native: native class name to the Cityscapes class that it is; void classes are left out.
    """
    rows = {
        known.name: {n: c for n, c in native.items() if c in known.classes}
        for known in (CITYSCAPES_13, CITYSCAPES_16, CITYSCAPES_19)
    }
    return {**rows, CITYSCAPES_7.name: {n: _GROUPS_7[c] for n, c in native.items() if c in _GROUPS_7}}


# The eight classes that simulator and street share: a car or a bus is a vehicle, a Cityscapes truck is left out.
_SHARED_8 = {"car": "vehicle", "bus": "vehicle"} | {c: c for c in VKITTI_8.classes if c != "vehicle"}


def shared_lists(native: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Rows of a `NativeClasses` table for the lists that simulated and real streets share (8 and 7 classes).

    Args:
        native: native class name to the Cityscapes class that it is; void classes are left out.
    """
    eight = {n: _SHARED_8[c] for n, c in native.items() if c in _SHARED_8}
    return {VKITTI_8.name: eight, STREET_7.name: {n: _signs_and_lights(c) for n, c in eight.items()}}


def _signs_and_lights(name: str) -> str:
    """A class of the 8-list as one of the 7-list."""
    return "traffic sign" if name == "traffic light" else name


_WRONG = 254


class ClassMap:
    """Native ids of one dataset to ids of one class list.

    Args:
        dataset: the dataset's name, for messages.
        table: every native id that a label file may hold to its id in the list, 255 = void.
        strict: an id that is not in the table raises; otherwise it becomes 255.
    """

    def __init__(self, dataset: str, table: Mapping[int, int], strict: bool = True) -> None:
        self.dataset, self.strict = dataset, strict
        # one entry for every id up to the largest known one, and one for all that are larger
        self._table = np.full(max(table) + 2, _WRONG, np.uint8)
        self._table[list(table)] = list(table.values())

    def __call__(self, ids: NDArray[Any], where: object) -> Tensor:
        """Translate a label image.

        Args:
            ids: ``(H, W)`` native ids, non-negative integers.
            where: the file, for the message.

        Returns:
            ``(H, W)`` int64 ids of the list, 255 = unlabelled.

        Raises:
            InputError: an id is not in the table, and ``strict``.
        """
        mapped = self._table[np.minimum(ids, len(self._table) - 1, dtype=np.int64)]
        wrong = mapped == _WRONG
        if self.strict and wrong.any():
            y, x = np.argwhere(wrong)[0]
            found = int(ids[y, x])
            shown = f"{found} (colour {found >> 16} {found >> 8 & 255} {found & 255})" if found > 0xFFFF else found
            raise InputError(
                f"{where}: class id {shown} at pixel x={x}, y={y} is no class of {self.dataset}; "
                "mend the label file, or give strict=False to leave such pixels unlabelled"
            )
        return torch.from_numpy(np.where(wrong, np.uint8(IGNORE_CLASS), mapped)).long()


@dataclass(frozen=True)
class NativeClasses:
    """A dataset's native classes and what they are in each class list it supports.

    Attributes:
        dataset: its name, for messages.
        names: native id (an RGB colour is the id ``red << 16 | green << 8 | blue``) to native name, void ones too.
        lists: name of a class list to {native name: class of that list}; a native class left out is unlabelled.
    """

    dataset: str
    names: Mapping[int, str]
    lists: Mapping[str, Mapping[str, str]]

    def __post_init__(self) -> None:
        for name, row in self.lists.items():
            unknown = (set(row) - set(self.names.values())) | (set(row.values()) - set(CLASS_LISTS[name].classes))
            if unknown:
                raise ValueError(f"classes of {self.dataset} for {name}: unknown names {sorted(unknown)}")

    def to(self, name: str, strict: bool = True) -> ClassMap:
        """The translation into a class list (``InputError`` when this dataset cannot be told in it)."""
        if name not in self.lists:
            supported = ", ".join(sorted(self.lists))
            raise InputError(f"{self.dataset} has no labels in class list {name!r}; use one of {supported}")
        target, row = CLASS_LISTS[name], self.lists[name]
        table = {i: target.id(row[n]) if n in row else IGNORE_CLASS for i, n in self.names.items()}
        return ClassMap(self.dataset, table, strict)


VKITTI_8_IDS = NativeClasses(
    VKITTI_8.name,
    dict(enumerate(VKITTI_8.classes)),
    {STREET_7.name: {name: _signs_and_lights(name) for name in VKITTI_8.classes}},
)
"""The ids of the 8-list in the 7-list."""
