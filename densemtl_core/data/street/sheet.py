"""Contact sheets: streets and their labels at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from densemtl_core import render
from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.sample import Sample
from densemtl_core.data.street.world import FPS, StreetWorld

__all__ = ["contact_sheet", "sequence_strip"]


def contact_sheet(
    indices: Sequence[int], seed: int = 0, split: str = "train", size: tuple[int, int] = (128, 256)
) -> render.Picture:
    """One row a street: both styles of picture, then the labels that they share.

    Args:
        indices: which samples.
        seed: which world.
        split: ``train`` or ``val``.
        size: (H, W) of a cell in pixels.

    Returns:
        ``(H', W', 3)`` uint8 RGB.
    """
    sim, real = (StreetWorld(seed, split, size, style, max(indices) + 1) for style in ("sim", "real"))
    cells = []
    for index in indices:
        sample = sim[index]
        pictures = {"sim": _image(sample), "real": _image(real[index]), **_labels(sample)}
        cells += [(f"{name} {index}" if name == "sim" else name, picture) for name, picture in pictures.items()]
    return render.panel(cells, columns=len(cells) // len(indices), width=size[1])


def sequence_strip(
    index: int,
    frames: int,
    seed: int = 0,
    split: str = "train",
    size: tuple[int, int] = (128, 256),
    style: str = "sim",
    fps: float = FPS,
) -> render.Picture:
    """A drive through one street: a column a frame, with classes and depth below.

    Args:
        index: which sample.
        frames: how many.
        seed: which world.
        split: ``train`` or ``val``.
        size: (H, W) of a cell in pixels.
        style: ``sim``, ``real`` or ``mixed``.
        fps: frames a second.

    Returns:
        ``(H', W', 3)`` uint8 RGB.
    """
    drive = list(StreetWorld(seed, split, size, style, index + 1).sequence(index, frames, fps))
    rows = [[(f"{k / fps:.1f} s", _image(s)) for k, s in enumerate(drive)]]
    rows += [[(name, _labels(s)[name]) for s in drive] for name in ("semantic", "depth")]
    return render.panel([cell for row in rows for cell in row], columns=frames, width=size[1])


def _image(sample: Sample) -> render.Picture:
    return render.rgb(sample.image.permute(1, 2, 0).cpu().numpy())


def _labels(sample: Sample) -> dict[str, render.Picture]:
    array = {name: label.cpu().numpy() for name, label in sample.labels.items()}
    # Neighbouring numbers would get like colours: spread them over the circle of 0..255.
    objects = np.where(array["instance"] > 0, (array["instance"] * 97 % 251 + 4) / 255, 0)
    return {
        "semantic": render.classes(array["semantic"], CITYSCAPES_19.palette),
        "depth": render.depth(array["depth"][0]),
        "normals": render.normals(array["normals"].transpose(1, 2, 0)),
        "edges": render.probability(array["edges"][0]),
        "albedo": render.rgb(np.sqrt(array["albedo"].transpose(1, 2, 0))),
        "instance": render.scalar(objects),
    }
