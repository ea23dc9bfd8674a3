"""Drives through the street world as scenes of Virtual KITTI 2, in its native layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densemtl_core.data.class_lists import CITYSCAPES_19, VKITTI_14
from densemtl_core.data.street.image_writing import rgb8, write_image
from densemtl_core.data.street.world import StreetWorld, extrinsics
from densemtl_core.errors import InputError

__all__ = ["VARIATION", "VKITTI_NAMES", "centimetres", "vkitti2_places", "write_vkitti2"]

VARIATION = "clone"
"""VKITTI 2's name for a drive in its own weather."""

# VKITTI 2 knows no sidewalks, people or two-wheelers; whatever is not named here is its `misc`.
VKITTI_NAMES = {
    "road": "road", "sidewalk": "terrain", "building": "building", "wall": "building", "fence": "guard rail",
    "pole": "pole", "traffic light": "traffic light", "traffic sign": "traffic sign", "vegetation": "vegetation",
    "terrain": "terrain", "sky": "sky", "car": "car", "truck": "truck", "bus": "truck",
}  # fmt: skip
_VAL = (2, 18)
_NO_SURFACE = 65535


def vkitti2_places(root: Path, split: str, sequence: int) -> dict[str, Path]:
    """Folder that `write_vkitti2` makes, to where it belongs: Scene02 and Scene18 are ``val``, the others ``train``."""
    if split == "val" and sequence >= len(_VAL):
        raise InputError(f"VKITTI 2 has {len(_VAL)} validation scenes, not {sequence + 1}; ask for fewer sequences")
    others = [n for n in range(1, sequence + 4) if n not in _VAL]
    number = _VAL[sequence] if split == "val" else others[sequence]
    return {"scene": root / f"Scene{number:02d}"}


def write_vkitti2(
    world: StreetWorld, sequence: int, frames: int, fps: float, folder: Path, wrote: Callable[[], object]
) -> None:
    """Write one drive: RGB, classes by colour, depth in centimetres, intrinsics, extrinsics.

    Args:
        world: the street world.
        sequence: its sample at which the drive begins.
        frames: how many.
        fps: frames a second.
        folder: where ``scene`` is made.
        wrote: called after each frame.
    """
    drive, scene = folder / "scene" / VARIATION, world.scene(sequence)
    palette = _palette()
    intrinsics, poses = ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"], [_POSE_HEADER]
    for number, sample in enumerate(world.sequence(sequence, frames, fps)):
        for kind, name, pixels in (
            ("rgb", f"rgb_{number:05d}.jpg", rgb8(sample.image)),
            ("classSegmentation", f"classgt_{number:05d}.png", palette[sample.labels["semantic"].cpu().numpy()]),
            ("depth", f"depth_{number:05d}.png", centimetres(sample.labels["depth"][0]).cpu().numpy()),
        ):
            write_image(drive / "frames" / kind / "Camera_0" / name, pixels)
        K = sample.intrinsics
        assert K is not None  # noqa: S101  (for the type checker: a street world knows its camera)
        inner = (K[0, 0].item(), K[1, 1].item(), K[0, 2].item(), K[1, 2].item())
        intrinsics.append(" ".join([str(number), "0", *(f"{x:.9g}" for x in inner)]))
        pose = extrinsics(scene, number / fps)
        poses.append(" ".join([str(number), "0", *(f"{x:.12g}" for x in pose.flatten().tolist())]))
        wrote()
    colours = zip(VKITTI_14.classes, VKITTI_14.palette, strict=True)
    categories = [f"{name.title().replace(' ', '')} {r} {g} {b}" for name, (r, g, b) in colours]
    for file, rows in (
        ("intrinsic.txt", intrinsics),
        ("extrinsic.txt", poses),
        ("colors.txt", ["Category r g b", *categories]),
    ):
        (drive / file).write_text("\n".join(rows) + "\n")


_POSE_HEADER = "frame cameraID " + " ".join(
    [f"r{i},{j}" if j < 4 else f"t{i}" for i in (1, 2, 3) for j in (1, 2, 3, 4)] + ["0", "0", "0", "1"]
)


def centimetres(depth: Tensor) -> Tensor:
    """Metres to uint16 centimetres; what is 655.35 m away or more, sky included, is 65535."""
    return (depth * 100).round().clamp(1, _NO_SURFACE).to(torch.int32).to(torch.uint16)


def _palette() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Colours ``(256, 3)`` by class id; unlabelled is black, VKITTI 2's undefined."""
    table = np.zeros((256, 3), np.uint8)
    for number, name in enumerate(CITYSCAPES_19.classes):
        table[number] = VKITTI_14.palette[VKITTI_14.id(VKITTI_NAMES.get(name, "misc"))]
    return table
