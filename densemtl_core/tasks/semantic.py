"""Semantic segmentation: which class each pixel belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from densemtl_core.tasks.classification import ClassificationTask

__all__ = ["SemanticTask"]


@dataclass(frozen=True)
class SemanticTask(ClassificationTask):
    """What each pixel shows: classes of whichever list the data is labelled in.

    Attributes:
        class_names: names in id order.
        palette: RGB colour a class, 0..255.
    """

    kind: ClassVar[str] = "semantic"

    name: str = "semantic"
