"""Virtual KITTI 2: synthetic drives with exact classes, depth, intrinsics and poses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densemtl_core.data.class_lists import VKITTI_14, NativeClasses, shared_lists, street_lists
from densemtl_core.data.derived_labels import EdgeRule, check_wanted, derive, sources
from densemtl_core.data.image_files import (
    image_names,
    neighbour_label,
    read_labels,
    read_rgb,
    read_uint16,
    require_files,
    require_folder,
)
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix

__all__ = ["CLASSES", "NO_SURFACE", "Vkitti2", "metres_from_centimetres"]

NO_SURFACE = 65535
"""Stored depth of the sky: 655.35 m."""

_STREET = {
    "terrain": "terrain", "sky": "sky", "tree": "vegetation", "vegetation": "vegetation", "building": "building",
    "road": "road", "traffic sign": "traffic sign", "traffic light": "traffic light", "pole": "pole",
    "truck": "truck", "car": "car", "van": "car",
}  # fmt: skip

_COLOURS = zip(VKITTI_14.classes, VKITTI_14.palette, strict=True)

CLASSES = NativeClasses(
    "VKITTI2",
    {0: "undefined"} | {r << 16 | g << 8 | b: n for n, (r, g, b) in _COLOURS},
    {
        "vkitti14": {name: name for name in VKITTI_14.classes},
        **shared_lists({**_STREET, "truck": "car"}),  # here, unlike in Cityscapes, a truck is a vehicle
        **street_lists(_STREET),
    },
)


def metres_from_centimetres(stored: NDArray[np.float32]) -> Tensor:
    """Stored centimetres ``(H, W)`` to ``(1, H, W)`` metres: 0 = unknown (NaN), 65535 = no surface (+inf)."""
    metres = torch.from_numpy(stored)[None] / 100
    metres[metres == 0] = torch.nan
    metres[torch.from_numpy(stored)[None] == NO_SURFACE] = torch.inf
    return metres


class Vkitti2(torch.utils.data.Dataset[Sample]):
    """Virtual KITTI 2 in its native tree, split by scene.

    Layout: ``<root>/SceneXX/<variation>/frames/{rgb,depth,classSegmentation}/<camera>/`` with ``rgb_00000.jpg``,
    ``depth_00000.png`` (uint16 centimetres), ``classgt_00000.png`` (RGB colours), and ``intrinsic.txt``,
    ``extrinsic.txt`` beside ``frames``. The four archives are unpacked into one tree.

    Args:
        root: the folder that holds ``Scene01`` and so on.
        split: ``train``, ``val`` or ``all``; whole scenes go to one side, since frames of a drive resemble each other.
        variation: weather and light of the drive, or several.
        camera: ``Camera_0`` (left) or ``Camera_1``.
        labels: which of semantic, depth, normals, edges.
        class_list: name of a class list.
        strict: refuse colours that are no class.
        edges: what makes an edge.
        frames: neighbouring frames that come along, -1 and +1 say: labels ``image-1`` ``(3, H, W)`` and ``pose-1``
            ``(4, 4)``, which takes points (metres) from this frame's camera to that frame's.
        val_scenes: the scenes of ``val``.

    Raises:
        InputError: a folder or file of the layout is missing, or an argument is not known.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        variation: str | Sequence[str] = "15-deg-left",
        camera: str = "Camera_0",
        labels: Sequence[str] = ("semantic", "depth"),
        class_list: str = "vkitti14",
        strict: bool = True,
        edges: EdgeRule | None = None,
        frames: Sequence[int] = (),
        val_scenes: Sequence[str] = ("Scene02", "Scene18"),
    ) -> None:
        check_wanted("VKITTI2", labels, ("semantic", "depth", "normals", "edges"))
        if split not in ("train", "val", "all"):
            raise InputError(f"VKITTI2: split {split!r} is unknown; use train, val or all")
        self.root, self.labels, self.frames, self.camera = Path(root), tuple(labels), tuple(frames), camera
        self.rule = edges or EdgeRule()
        self.sources = sources(self.labels, self.rule)
        self.classes = CLASSES.to(class_list, strict)
        require_folder("VKITTI2", self.root)
        scenes = sorted(p.name for p in self.root.glob("Scene*") if p.is_dir())
        if not scenes:
            raise InputError(f"VKITTI2: looked for Scene01, Scene02, ... in {self.root}, there are none; check root")
        variations, held_out = _names("variation", variation), _names("val_scenes", val_scenes)
        chosen = [s for s in scenes if split == "all" or (s in held_out) == (split == "val")]
        if not chosen:
            raise InputError(
                f"VKITTI2: no scene of {self.root} is in {split} (there: {', '.join(scenes)}; val: "
                f"{', '.join(held_out)}); unpack more scenes, take another split or change val_scenes"
            )
        self.items: list[tuple[Path, int]] = []
        self._K: dict[Path, dict[int, Tensor]] = {}
        self._pose: dict[Path, dict[int, Tensor]] = {}
        for drive in (self.root / scene / v for scene in chosen for v in variations):
            _require_drive(drive)
            self._add(drive)
        if not self.items:
            raise InputError(f"VKITTI2: no frame in {self.root} has all of the neighbours {self.frames}; ask for fewer")
        for name in sorted(self.sources):
            require_files("VKITTI2", name, [self._file(d, name, n) for d, n in self.items])

    def _add(self, drive: Path) -> None:
        names = image_names("VKITTI2", drive / "frames/rgb" / self.camera, (".jpg",))
        try:
            numbers = [int(n.removeprefix("rgb_").removesuffix(".jpg")) for n in names]
        except ValueError:
            raise InputError(
                f"VKITTI2: {drive} has an image not named rgb_00000.jpg; keep the original names"
            ) from None
        present, camera = set(numbers), 1 if self.camera.endswith("1") else 0
        rows = _table(drive / "intrinsic.txt", 6)
        self._K[drive] = {f: intrinsics_matrix(*row) for (f, c), row in rows.items() if c == camera}
        if self.frames:
            poses = _table(drive / "extrinsic.txt", 18)
            self._pose[drive] = {
                f: torch.tensor(row, dtype=torch.float64).view(4, 4) for (f, c), row in poses.items() if c == camera
            }
        for table, file in ((self._K, "intrinsic.txt"), (self._pose, "extrinsic.txt")):
            lacking = present - set(table[drive]) if drive in table else set()
            if lacking:
                raise InputError(
                    f"{drive / file}: no row for frame {min(lacking)} of {self.camera}; unpack the text archive again"
                )
        self.items += [(drive, n) for n in numbers if present.issuperset(n + k for k in self.frames)]

    def _file(self, drive: Path, what: str, number: int) -> Path:
        folder, name = {
            "image": ("rgb", f"rgb_{number:05d}.jpg"),
            "depth": ("depth", f"depth_{number:05d}.png"),
            "semantic": ("classSegmentation", f"classgt_{number:05d}.png"),
        }[what]
        return drive / "frames" / folder / self.camera / name

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        drive, number = self.items[index]
        labels: dict[str, Tensor] = {}
        if "semantic" in self.sources:
            file = self._file(drive, "semantic", number)
            colour = read_labels(file)
            if colour.ndim != 3:
                raise InputError(f"{file}: expected an RGB image of class colours, found one channel")
            red, green, blue = (colour[..., k].astype(np.int64) for k in range(3))
            labels["semantic"] = self.classes(red << 16 | green << 8 | blue, file)
        if "depth" in self.sources:
            labels["depth"] = metres_from_centimetres(read_uint16(self._file(drive, "depth", number)))
        for k in self.frames:
            labels[neighbour_label(k)] = read_rgb(self._file(drive, "image", number + k))
            pose = self._pose[drive][number + k] @ torch.linalg.inv(self._pose[drive][number])
            labels[f"pose{k:+d}"] = pose.float()
        image = read_rgb(self._file(drive, "image", number))
        name = f"{drive.parent.name}/{drive.name}/{self.camera}/{number:05d}"
        sample = Sample(image, labels, self._K[drive][number].clone(), name)
        return derive(sample, self.labels, self.rule)


def _names(option: str, given: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several, as several."""
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"VKITTI2: {option} is {given!r}; give the name of a folder, or several as [a,b]")
    return names


def _require_drive(drive: Path) -> None:
    """An ``InputError`` when a scene has not the variation, with those that it has."""
    if drive.is_dir():
        return
    there = sorted(p.parent.name for p in drive.parent.glob("*/frames") if p.is_dir())
    if not there:
        raise InputError(f"VKITTI2: looked for the folder {drive}/frames/rgb, it is not there; unpack the archives")
    option = f"variation={'clone' if 'clone' in there else there[0]}"
    raise InputError(
        f"VKITTI2: {drive.parent} has no variation {drive.name}, it has {', '.join(there)}; "
        f"give data.options.{option} (training.evaluate: --option {option})"
    )


def _table(path: Path, columns: int) -> dict[tuple[int, int], list[float]]:
    """Rows of intrinsic.txt or extrinsic.txt by (frame, camera)."""
    require_files("VKITTI2", "text", [path])
    rows = {}
    for number, line in enumerate(path.read_text().splitlines()[1:], 2):
        if not line.strip():
            continue
        try:
            values = [float(x) for x in line.split()]
            if len(values) != columns:
                raise ValueError
        except ValueError:
            raise InputError(f"{path}:{number}: expected {columns} numbers, found {line!r}; unpack it again") from None
        rows[int(values[0]), int(values[1])] = values[2:]
    return rows
