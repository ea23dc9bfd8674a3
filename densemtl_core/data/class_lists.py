"""Class lists: names, palette, and how the ids of one list become ids of another."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CITYSCAPES_16", "CITYSCAPES_19", "CLASS_LISTS", "ClassList", "class_list"]


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

CLASS_LISTS = {c.name: c for c in (CITYSCAPES_16, CITYSCAPES_19)}


def class_list(name: str) -> ClassList:
    """Look a class list up by name, with the known names in the error."""
    try:
        return CLASS_LISTS[name]
    except KeyError:
        raise ValueError(f"unknown class list {name!r}; known: {', '.join(sorted(CLASS_LISTS))}") from None
