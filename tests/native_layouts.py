"""Tiny data sets on disk in their native layouts, with values that a test can foretell."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from densemtl_core.geometry import intrinsics_matrix, normals_from_depth, pixel_rays

KINECT = intrinsics_matrix(518.857901, 519.469611, 325.582449, 253.736166)
VKITTI2_SCENES = ("Scene01", "Scene02", "Scene06", "Scene18", "Scene20")
VKITTI2_COLOURS = {"car": (255, 127, 80), "sky": (90, 200, 255), "terrain": (210, 0, 200)}
CITYSCAPES_CITIES = {"train": ("aachen", "bochum"), "val": ("munster",)}
SYNTHIA_COUNT = 12


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write ``(H, W)`` or RGB ``(H, W, 3)`` and the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def write_vkitti2(root: Path, height: int = 12, width: int = 20) -> Path:
    """Five scenes of three frames: grey images, terrain at 12 m below a sky, one pixel of a car."""
    for s, scene in enumerate(VKITTI2_SCENES):
        drive = root / scene / "15-deg-left"
        frames = drive / "frames"
        for n in range(3):
            image = np.full((height, width, 3), 20 * s + n, np.uint8)
            write_image(frames / f"rgb/Camera_0/rgb_{n:05d}.jpg", image)
            label = np.full((height, width, 3), VKITTI2_COLOURS["terrain"], np.uint8)
            label[:4], label[6, 5], label[0, 0] = VKITTI2_COLOURS["sky"], VKITTI2_COLOURS["car"], 0
            write_image(frames / f"classSegmentation/Camera_0/classgt_{n:05d}.png", label)
            depth = np.full((height, width), 1234 + n, np.uint16)
            depth[:4], depth[-1, -1] = 65535, 0
            write_image(frames / f"depth/Camera_0/depth_{n:05d}.png", depth)
        rows = [f"{n} {c} {725 + c}.0087 725.0087 9.5 5.5" for n in range(3) for c in (0, 1)]
        (drive / "intrinsic.txt").write_text("\n".join(["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]", *rows]))
        poses = [f"{n} {c} 1 0 0 {c} 0 1 0 0 0 0 1 {-2 * n} 0 0 0 1" for n in range(3) for c in (0, 1)]
        (drive / "extrinsic.txt").write_text("\n".join(["frame cameraID r1,1 r1,2 r1,3 t1 ...", *poses]))
    return root


def cityscapes_camera(**changes: float) -> str:
    """The text of a camera json; ``changes`` to fx, fy, u0, v0."""
    inner = {"fx": 40.0, "fy": 41.0, "u0": 15.0, "v0": 8.0, **changes}
    return json.dumps({"extrinsic": {"baseline": 0.25, "x": 1.7}, "intrinsic": inner})


def write_cityscapes(root: Path, height: int = 16, width: int = 32) -> Path:
    """Two training cities, one of validation, each a frame with neighbours: road at 5 m, sky, one pixel of a car."""
    for split, cities in CITYSCAPES_CITIES.items():
        for city in cities:
            name = f"{city}_000003_000019"
            grey = np.full((height, width, 3), 19, np.uint8)
            write_image(root / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", grey)
            for frame in (18, 19, 20):
                file = root / f"leftImg8bit_sequence/{split}/{city}/{city}_000003_{frame:06d}_leftImg8bit.png"
                write_image(file, np.full((height, width, 3), frame, np.uint8))
            ids = np.full((height, width), 7, np.uint8)
            ids[:4], ids[5, 6], ids[-1] = 23, 26, 1
            write_image(root / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png", ids)
            disparity = np.full((height, width), 1 + 2 * 256, np.uint16)
            disparity[0], disparity[1] = 0, 1
            write_image(root / f"disparity/{split}/{city}/{name}_disparity.png", disparity)
            file = root / f"camera/{split}/{city}/{name}_camera.json"
            file.parent.mkdir(parents=True)
            file.write_text(cityscapes_camera())
    return root


def write_synthia(root: Path, height: int = 76, width: int = 128) -> Path:
    """Twelve frames: road at 4.5 m below a sky; a tenth of the native size by default."""
    for n in range(SYNTHIA_COUNT):
        name = f"{n:07d}.png"
        write_image(root / "RGB" / name, np.full((height, width, 3), (200, n, 0), np.uint8))
        label = np.zeros((height, width, 3), np.uint16)
        label[..., 0] = 3  # road
        label[..., 1] = 777  # instance: not the class
        label[:20, :, 0], label[5, 7, 0], label[6, 8, 0] = 1, 17, 22
        write_image(root / "GT/LABELS" / name, label)
        depth = np.full((height, width), 450, np.uint16)
        depth[:20] = 65535
        write_image(root / "Depth/Depth" / name, depth)
    return root


def room_depth() -> torch.Tensor:
    """Floor, a back wall and a slanted side wall: three directions, so that every axis shows; ``(1, 480, 640)``."""
    ray = pixel_rays(KINECT[None], (480, 640))[0]
    floor = 1.3 / ray[1].clamp(min=1e-3)
    side = 2.0 / (ray[0] * 0.8 + ray[2] * 0.6).clamp(min=1e-3)
    return torch.minimum(torch.minimum(floor, side), torch.full_like(floor, 4.0))[None]


def room_normals() -> torch.Tensor:
    """The room's exact normals, ``(3, 480, 640)``."""
    return normals_from_depth(room_depth()[None], KINECT[None])[0]


def stored_normals(normals: torch.Tensor, order=(0, 1, 2), signs=(1, 1, 1)) -> np.ndarray:
    """Normals as an RGB image whose channels are these axes with these signs; black = unknown."""
    known = normals.isfinite().all(0)
    channels = torch.stack([normals[c] * s for c, s in zip(order, signs, strict=True)])
    return torch.where(known, ((channels + 1) / 2 * 255).round(), 0).byte().permute(1, 2, 0).numpy()


def write_nyudv2(root: Path) -> Path:
    """A room, three times, at the native size, since that decides the camera; normals as (right, forward, up)."""
    normals = stored_normals(room_normals(), (0, 2, 1), (1, 1, -1))
    for name in ("0001", "0002", "0003"):
        write_image(root / f"images/{name}.png", np.full((480, 640, 3), (10, 20, 30), np.uint8))
        ids = np.full((480, 640), 1, np.uint8)
        ids[400:], ids[0] = 2, 0
        ids[5, 5] = 40
        write_image(root / f"segmentation/{name}.png", ids)
        depth = room_depth()[0].numpy()
        depth[7, 7] = 0
        (root / "depth").mkdir(exist_ok=True)
        np.save(root / f"depth/{name}.npy", depth)
        write_image(root / f"normals/{name}.png", normals)
        edge = np.zeros((480, 640), np.uint8)
        edge[400] = 255
        write_image(root / f"edge/{name}.png", edge)
    (root / "gt_sets").mkdir()
    (root / "gt_sets/train.txt").write_text("0001\n0002\n")
    (root / "gt_sets/val.txt").write_text("0003\n")
    return root


def write_camvid(root: Path, height: int = 8, width: int = 10) -> Path:
    """Two training frames, one of validation: road below a sky, one pixel of a bicyclist, the last row unlabelled."""
    for split, names in {"train": ("a_01", "a_02"), "val": ("b_01",)}.items():
        for name in names:
            write_image(root / split / f"{name}.jpg", np.full((height, width, 3), 50, np.uint8))
            ids = np.full((height, width), 3, np.uint8)
            ids[0], ids[4, 5], ids[-1] = 0, 10, 11
            write_image(root / f"{split}annot" / f"{name}.png", ids)
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def write_kitti(root: Path, height: int = 6, width: int = 9) -> Path:
    """A drive of ten grey frames; one LiDAR point at 12.25 m in each."""
    for n in range(10):
        write_image(root / f"image_02/data/{n:010d}.png", np.full((height, width, 3), n, np.uint8))
        depth = np.zeros((height, width), np.uint16)
        depth[3, 4] = 256 * 12 + 64
        write_image(root / f"sparse_depth/{n:010d}.png", depth)
    (root / "calib.txt").write_text(
        "# made up\ncalib_time: 09-Jan-2012 13:57:47\n"
        "P_rect_02: 7 0 4 44 0 7.5 3 0.2 0 0 1 0.003\nK: 7 0 4 0 7.5 3 0 0 1\n"
    )
    return root
