"""Drives through the street world as cities of Cityscapes, in its native layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densemtl_core.data.cityscapes import CLASSES
from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.street.image_writing import rgb8, write_image
from densemtl_core.data.street.scene import Scene
from densemtl_core.data.street.world import StreetWorld

__all__ = ["BASELINE", "cityscapes_places", "stored_disparity", "write_cityscapes"]

BASELINE = 0.21
"""Metres between the cameras whose disparity is written."""
# The images come last: a loader that sees one finds everything else of it.
_PACKAGES = ("camera", "disparity", "gtFine", "leftImg8bit_sequence", "leftImg8bit")


def _city(sequence: int) -> str:
    return f"street{sequence:03d}"


def cityscapes_places(root: Path, split: str, sequence: int) -> dict[str, Path]:
    """Folders that `write_cityscapes` makes, to where they belong: a drive is a city of its own."""
    return {package: root / package / split / _city(sequence) for package in _PACKAGES}


def write_cityscapes(
    world: StreetWorld, sequence: int, frames: int, fps: float, folder: Path, wrote: Callable[[], object]
) -> None:
    """Write one drive: images, label ids, disparity, camera; all frames as video.

    The first and the last frame are in ``leftImg8bit_sequence`` alone, so that every labelled one has neighbours
    (of fewer than three frames, all are labelled).

    Args:
        world: the street world.
        sequence: its sample at which the drive begins.
        frames: how many.
        fps: frames a second.
        folder: where the packages are made.
        wrote: called after each frame.
    """
    scene, ids = world.scene(sequence), _label_ids()
    for number, sample in enumerate(world.sequence(sequence, frames, fps)):
        name, image = f"{_city(sequence)}_000000_{number:06d}", rgb8(sample.image)
        write_image(folder / "leftImg8bit_sequence" / f"{name}_leftImg8bit.png", image)
        if 0 < number < frames - 1 or frames < 3:
            K = sample.intrinsics
            assert K is not None  # noqa: S101  (for the type checker: a street world knows its camera)
            disparity = stored_disparity(sample.labels["depth"][0], BASELINE * K[0, 0].item())
            semantic = ids[sample.labels["semantic"].cpu().numpy()]
            write_image(folder / "leftImg8bit" / f"{name}_leftImg8bit.png", image)
            write_image(folder / "gtFine" / f"{name}_gtFine_labelIds.png", semantic)
            write_image(folder / "disparity" / f"{name}_disparity.png", disparity.cpu().numpy())
            camera = folder / "camera" / f"{name}_camera.json"
            camera.parent.mkdir(parents=True, exist_ok=True)
            camera.write_text(json.dumps(_camera(scene, K), indent=4) + "\n")
        wrote()


def stored_disparity(depth: Tensor, baseline_fx: float) -> Tensor:
    """Metres to uint16 ``256 * disparity + 1``; sky has disparity 0, what is too near to be stored is 0 (no match)."""
    stored = (baseline_fx * 256 / depth).round() + 1
    return torch.where(stored > 65535, 0, stored).to(torch.int32).to(torch.uint16)


def _camera(scene: Scene, K: Tensor) -> dict[str, Any]:
    camera = scene.camera
    # Cityscapes' vehicle frame has x forwards, y left, z up: turns are left, downwards and clockwise.
    return {
        "extrinsic": {
            "baseline": BASELINE, "pitch": -camera.pitch, "roll": camera.roll, "x": 0.0, "y": 0.0, "yaw": -camera.yaw,
            "z": camera.height,
        },
        "intrinsic": {"fx": K[0, 0].item(), "fy": K[1, 1].item(), "u0": K[0, 2].item(), "v0": K[1, 2].item()},
    }  # fmt: skip


def _label_ids() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Cityscapes' label ids ``(256,)`` by train id; unlabelled is 0."""
    by_name = {name: number for number, name in CLASSES.names.items()}
    table = np.zeros(256, np.uint8)
    for number, name in enumerate(CITYSCAPES_19.classes):
        table[number] = by_name[name]
    return table
