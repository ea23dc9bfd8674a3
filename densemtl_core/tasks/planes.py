"""Planes: which way each surface faces, and how far away the plane runs in which it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from densemtl_core.tasks.classification import ClassificationTask

__all__ = ["PLANES", "PlanesTask"]

PLANES = (
    "facing up",
    "facing down",
    "facing left, near",
    "facing left, middle",
    "facing left, far",
    "facing right, near",
    "facing right, middle",
    "facing right, far",
    "facing the camera, near",
    "facing the camera, middle",
    "facing the camera, far",
    "slanted",
)
"""In id order; near and far are those of the plane, not of the pixel: see `densemtl_core.data.further_labels`."""

_COLOURS = (
    (128, 100, 128), (60, 60, 60),
    (255, 190, 120), (230, 120, 40), (150, 70, 10),
    (150, 220, 255), (50, 150, 230), (15, 80, 150),
    (210, 240, 170), (130, 190, 70), (50, 110, 20),
    (220, 60, 110),
)  # fmt: skip


def _other_side(name: str) -> str:
    swapped = {"left": "right", "right": "left"}
    return " ".join(swapped.get(word.rstrip(","), word.rstrip(",")) + "," * word.endswith(",") for word in name.split())


@dataclass(frozen=True)
class PlanesTask(ClassificationTask):
    """The planes of `PLANES`, by cross-entropy.

    Attributes:
        class_names: `PLANES`; no others, for what a mirrored street looks like follows from them.
        palette: RGB colour a plane.
    """

    kind: ClassVar[str] = "planes"

    name: str = "planes"
    class_names: tuple[str, ...] = PLANES
    palette: tuple[tuple[int, int, int], ...] = _COLOURS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_names != PLANES:
            raise ValueError(f"task {self.name!r}: class_names cannot be chosen; leave them out")

    def mirrored(self, raw: Tensor) -> Tensor:
        """Left and right change places, in the picture and in the classes."""
        return raw.flip(-1)[:, [PLANES.index(_other_side(name)) for name in PLANES]]
