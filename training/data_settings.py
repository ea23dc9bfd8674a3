"""Where samples come from, as settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["DataSettings"]


@dataclass
class DataSettings:
    """Where samples come from and how they are prepared.

    Attributes:
        dataset: ``street`` (procedural, needs no download), or a key of `training.datasets.DATASETS`.
        root: the data set's folder; not for the street world.
        size: ``[height, width]`` in pixels to which everything is resized; null keeps the files' own size.
        crop: ``[height, width]`` of a random window of the resized training samples; null = all of it.
        flip: probability of a mirrored training sample.
        colour: strength of random changes of brightness, contrast and saturation of training samples, 0..1, and a
            tenth of it as hue (turns); 0 = none.
        frames: neighbouring frames that come along, ``[-1, 1]`` for self-supervised depth.
        train: number of training samples: so many of the street world, at most so many of a data set; null = all.
        validation: the same of the validation split; 0 = there is none, and nothing is judged.
        cache: folder in which prepared samples (before flip, crop and colour) are kept, so that epochs and runs share
            the work; null = none. Empty it when the data set's files change.
        options: further arguments of the data set: ``style`` and ``seed`` of the street world, ``variation`` of
            VKITTI 2, ...
    """

    dataset: str = "street"
    root: str | None = None
    size: list[int] | None = None
    crop: list[int] | None = None
    flip: float = 0.5
    colour: float = 0.0
    frames: list[int] = field(default_factory=list)
    train: int | None = None
    validation: int | None = None
    cache: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
