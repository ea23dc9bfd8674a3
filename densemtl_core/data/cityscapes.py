"""Cityscapes: real drives with fine classes, stereo disparity, and video around every labelled frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from densemtl_core.data.class_lists import CITYSCAPES_19, NativeClasses, shared_lists, street_lists
from densemtl_core.data.derived_labels import EdgeRule, check_wanted, derive, sources
from densemtl_core.data.image_files import (
    neighbour_label,
    read_labels,
    read_rgb,
    read_uint16,
    require_files,
    require_folder,
)
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix, scale_intrinsics

__all__ = ["CLASSES", "TRAIN_IDS", "Cityscapes"]

_NAMES = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road",
    "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole",
    "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck",
    "bus", "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
_CAMVID = {
    "sky": "sky", "building": "building", "wall": "building", "pole": "pole", "road": "road", "sidewalk": "pavement",
    "vegetation": "tree", "traffic sign": "sign symbol", "traffic light": "sign symbol", "fence": "fence",
    "car": "car", "truck": "car", "bus": "car", "person": "pedestrian", "rider": "bicyclist", "bicycle": "bicyclist",
}  # fmt: skip
_OWN = {name: name for name in CITYSCAPES_19.classes}
_LISTS = {**street_lists(_OWN), **shared_lists(_OWN), "camvid11": _CAMVID}

CLASSES = NativeClasses("Cityscapes", dict(enumerate(_NAMES)), _LISTS)
TRAIN_IDS = NativeClasses("Cityscapes train ids", {**dict(enumerate(CITYSCAPES_19.classes)), 255: "void"}, _LISTS)
"""The 19 train ids (what the street world gives) in the other lists."""


class Cityscapes(torch.utils.data.Dataset[Sample]):
    """Cityscapes in its native tree, official splits.

    Layout: ``<root>/<package>/<split>/<city>/<city>_000000_000019_<package>.png`` for the packages ``leftImg8bit``,
    ``gtFine`` (``..._gtFine_labelIds.png``), ``disparity`` (uint16), ``camera`` (``..._camera.json``) and, for
    ``frames``, ``leftImg8bit_sequence``.

    Args:
        root: the folder that holds ``leftImg8bit``.
        split: ``train``, ``val`` or ``test``.
        labels: which of semantic, depth, normals, edges. Depth is stereo: baseline * fx / disparity, NaN = no match.
        class_list: name of a class list.
        strict: refuse ids that are no class.
        edges: what makes an edge; by default class changes alone, since stereo depth is too rough for steps.
        frames: neighbouring video frames that come along, -1 and +1 say, as labels ``image-1`` ``(3, H, W)``.
        intrinsics: read ``camera``; without it, depth and normals cannot be had.
        camera_size: (H, W) that the camera json's pixels refer to; by default the image's own. (1024, 2048) for
            files that were resized without their json.

    Raises:
        InputError: a folder or file of the layout is missing, or an argument is not known.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        labels: Sequence[str] = ("semantic", "depth"),
        class_list: str = "cityscapes19",
        strict: bool = True,
        edges: EdgeRule | None = None,
        frames: Sequence[int] = (),
        intrinsics: bool = True,
        camera_size: tuple[int, int] | None = None,
    ) -> None:
        check_wanted("Cityscapes", labels, ("semantic", "depth", "normals", "edges"))
        if split not in ("train", "val", "test"):
            raise InputError(f"Cityscapes: split {split!r} is unknown; use train, val or test")
        self.root, self.split, self.labels, self.frames = Path(root), split, tuple(labels), tuple(frames)
        self.rule = edges or EdgeRule(depth_step=None)
        self.sources = sources(self.labels, self.rule)
        self.classes = CLASSES.to(class_list, strict)
        self.intrinsics, self.camera_size = intrinsics or "depth" in self.sources, camera_size
        folder = require_folder("Cityscapes", self.root / "leftImg8bit" / split, "check root and unpack leftImg8bit")
        suffix = "_leftImg8bit.png"
        self.items = sorted((p.parent.name, p.name.removesuffix(suffix)) for p in folder.glob(f"*/*{suffix}"))
        if not self.items:
            raise InputError(f"Cityscapes: looked for {folder}/<city>/*{suffix}, there are none; unpack leftImg8bit")
        for what in sorted(self.sources | ({"camera"} if self.intrinsics else set())):
            require_files("Cityscapes", what, [self._file(*item, what) for item in self.items])
        for k in self.frames:
            require_files("Cityscapes", "sequence", [self._neighbour(*item, k) for item in self.items])

    def _file(self, city: str, name: str, what: str) -> Path:
        package, ending = {
            "image": ("leftImg8bit", "leftImg8bit.png"),
            "semantic": ("gtFine", "gtFine_labelIds.png"),
            "depth": ("disparity", "disparity.png"),
            "camera": ("camera", "camera.json"),
        }[what]
        return self.root / package / self.split / city / f"{name}_{ending}"

    def _neighbour(self, city: str, name: str, offset: int) -> Path:
        drive, _, frame = name.rpartition("_")
        if not frame.isdigit():
            raise InputError(f"Cityscapes: image {name} has no frame number at its end; keep the original names")
        file = f"{drive}_{int(frame) + offset:06d}_leftImg8bit.png"
        return self.root / "leftImg8bit_sequence" / self.split / city / file

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        city, name = self.items[index]
        image = read_rgb(self._file(city, name, "image"))
        labels: dict[str, Tensor] = {}
        K = None
        if "semantic" in self.sources:
            file = self._file(city, name, "semantic")
            ids = read_labels(file)
            if ids.ndim != 2:
                raise InputError(
                    f"{file}: expected one channel of label ids, found {ids.shape[2]}; use gtFine_labelIds"
                )
            labels["semantic"] = self.classes(ids, file)
        if self.intrinsics:
            file = self._file(city, name, "camera")
            K, baseline_fx = _camera(file)
            height, width = image.shape[1:]
            if self.camera_size is not None:
                K = scale_intrinsics(K, width / self.camera_size[1], height / self.camera_size[0])
            if not (0 < K[0, 2] < width and 0 < K[1, 2] < height):
                raise InputError(
                    f"{file}: centre ({K[0, 2]:.0f}, {K[1, 2]:.0f}) lies outside the {width}x{height} image; "
                    "give camera_size=(H, W) that the json is for"
                )
            if "depth" in self.sources:
                stored = torch.from_numpy(read_uint16(self._file(city, name, "depth")))[None]
                # stored 0 = no match, 1 = disparity 0: neither has a depth
                labels["depth"] = torch.where(stored > 1, baseline_fx * 256 / (stored - 1), torch.nan)
        for k in self.frames:
            labels[neighbour_label(k)] = read_rgb(self._neighbour(city, name, k))
        return derive(Sample(image, labels, K, f"Cityscapes/{self.split}/{name}"), self.labels, self.rule)


def _camera(path: Path) -> tuple[Tensor, float]:
    """Intrinsics ``(3, 3)`` and baseline * fx (metres * pixels) of a camera json."""
    try:
        camera = json.loads(path.read_text())
        inner = [float(camera["intrinsic"][k]) for k in ("fx", "fy", "u0", "v0")]
        baseline = float(camera["extrinsic"]["baseline"])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; unpack the camera archive") from None
    except (ValueError, KeyError, TypeError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not a Cityscapes camera file ({why}); unpack the camera archive again") from None
    return intrinsics_matrix(*inner), baseline * inner[0]
