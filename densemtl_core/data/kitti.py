"""KITTI drives: colour or grey video with calibration, and LiDAR projected to sparse depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from densemtl_core.data.derived_labels import check_wanted
from densemtl_core.data.image_files import image_names, neighbour_label, read_rgb, read_uint16, require_files
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError

__all__ = ["Kitti"]

_IMAGE_FOLDERS = ("image_02/data", "image_2", "image_l", "image_0")
_VAL_SHARE = 0.2


class Kitti(torch.utils.data.Dataset[Sample]):
    """One KITTI drive; depth is sparse, NaN where no LiDAR point falls.

    Layout: ``<root>/calib.txt`` (``K:`` or ``P_rect_02:`` / ``P2:`` / ``P0:`` rows, or bare rows of 12 numbers, the
    first of which counts), images in ``image_02/data``, ``image_2``, ``image_l`` or ``image_0``, for depth
    ``sparse_depth/<name>.png`` (uint16, metres * 256, 0 = none), for poses ``poses.txt`` (12 numbers a frame: camera
    to world).

    Args:
        root: the drive's folder.
        split: ``train`` (the first 80 % of the drive), ``val`` (the rest) or ``all``.
        labels: which of depth.
        frames: neighbouring frames that come along, -1 and +1 say: labels ``image-1`` ``(3, H, W)`` and, where there
            is a poses.txt, ``pose-1`` ``(4, 4)``, which takes points (metres) from this frame's camera to that one's.

    Raises:
        InputError: a folder or file of the layout is missing, or an argument is not known.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "all",
        labels: Sequence[str] = ("depth",),
        frames: Sequence[int] = (),
    ) -> None:
        check_wanted("KITTI", labels, ("depth",))
        if split not in ("train", "val", "all"):
            raise InputError(f"KITTI: split {split!r} is unknown; use train, val or all")
        self.root, self.split, self.labels, self.frames = Path(root), split, tuple(labels), tuple(frames)
        folders = [self.root / f for f in _IMAGE_FOLDERS if (self.root / f).is_dir()]
        if not folders:
            raise InputError(f"KITTI: looked for {', '.join(_IMAGE_FOLDERS)} in {self.root}, none is there; check root")
        self.files = [folders[0] / n for n in image_names("KITTI", folders[0])]
        self.K = _intrinsics(self.root / "calib.txt")
        self.poses = _poses(self.root / "poses.txt", len(self.files)) if (self.root / "poses.txt").exists() else None
        if "depth" in self.labels:
            require_files("KITTI", "depth", [self._depth_file(f) for f in self.files])
        cut = round(len(self.files) * (1 - _VAL_SHARE))
        side = {"train": range(cut), "val": range(cut, len(self.files)), "all": range(len(self.files))}[split]
        self.items = [k for k in side if all(k + o in side for o in self.frames)]
        if not self.items:
            raise InputError(f"KITTI: no frame of {folders[0]} is in {split} with all of its neighbours; use all")

    def _depth_file(self, image: Path) -> Path:
        return self.root / "sparse_depth" / f"{image.stem}.png"

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        number = self.items[index]
        file = self.files[number]
        image = read_rgb(file)
        labels: dict[str, Tensor] = {}
        if "depth" in self.labels:
            metres = torch.from_numpy(read_uint16(self._depth_file(file)))[None] / 256
            if metres.shape[1:] != image.shape[1:]:
                raise InputError(f"{self._depth_file(file)}: not of the size of its image; use files of one size")
            labels["depth"] = torch.where(metres > 0, metres, torch.nan)
        for k in self.frames:
            labels[neighbour_label(k)] = read_rgb(self.files[number + k])
            if self.poses is not None:
                labels[f"pose{k:+d}"] = (torch.linalg.inv(self.poses[number + k]) @ self.poses[number]).float()
        return Sample(image, labels, self.K.clone(), f"KITTI/{self.root.name}/{file.stem}")


def _intrinsics(path: Path) -> Tensor:
    require_files("KITTI", "calibration", [path])
    rows: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        name, _, values = line.rpartition(":")
        try:
            rows.setdefault(name.strip(), [float(x) for x in values.split()])
        except ValueError:
            continue  # dates and comments
    for name in ("K", "P_rect_02", "P2", "P0", ""):
        row = rows.get(name, [])
        if len(row) in (9, 12):
            return torch.tensor(row).view(3, -1)[:, :3].contiguous()
    raise InputError(f"{path}: no row K, P_rect_02, P2, P0 or 12 bare numbers in it; copy the drive's calib.txt again")


def _poses(path: Path, count: int) -> Tensor:
    """``(N, 4, 4)`` float64 camera-to-world."""
    try:
        rows = [[float(x) for x in line.split()] for line in path.read_text().splitlines() if line.strip()]
        top = torch.tensor(rows, dtype=torch.float64).view(-1, 3, 4)
    except (ValueError, RuntimeError):
        raise InputError(f"{path}: expected 12 numbers a line; copy the drive's poses.txt again") from None
    if len(top) != count:
        raise InputError(f"{path}: has {len(top)} poses for {count} images; copy the drive's poses.txt again")
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(count, 1, 4)
    return torch.cat([top, bottom], 1)
