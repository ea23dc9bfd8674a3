"""Labels of further tasks that follow from exact ones: distance to boundaries, centres of things, planes.

All are functions of one sample's labels, and do not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.sample import IGNORE_CLASS

__all__ = [
    "BOUNDARY_LIMIT",
    "CENTER_SPREAD",
    "DERIVED",
    "MIRRORED_PLANES",
    "boundary_distance",
    "derive_further",
    "instance_center",
    "plane_ids",
]

BOUNDARY_LIMIT = 0.1
"""Distances are cut off here, a share of the image diagonal: what is farther from every boundary is not told apart."""

CENTER_SPREAD = 0.01
"""Standard deviation of the Gaussian around a centre, a share of the image diagonal."""

SMALLEST_THING = 0.0002
"""Share of the image's pixels; a thing of which less is visible has no centre."""

_THINGS = tuple(
    CITYSCAPES_19.id(n) for n in ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
)

ALONG_AXIS = 0.82
"""Least share of a normal along an axis of the camera for a plane to face that way: within 35 degrees of it."""

SIDE_OFFSETS, FRONT_OFFSETS = (4.0, 9.0), (12.0, 35.0)
"""Metres between the camera and the plane at which near ends and far begins: beside it, and ahead of it."""

SLANTED = 11

MIRRORED_PLANES = (0, 1, 5, 6, 7, 2, 3, 4, 8, 9, 10, 11)
"""What each id of `plane_ids` becomes in the mirrored world: what faces left then faces right."""


def boundary_distance(edges: Tensor) -> Tensor:
    """How far each pixel is from the nearest edge pixel, from centre to centre.

    Args:
        edges: ``(1, H, W)`` in {0, 1}, NaN = unknown.

    Returns:
        ``(1, H, W)`` float32, a share of the image diagonal, at most `BOUNDARY_LIMIT`; 0 on an edge. NaN where an
        unknown pixel is nearer than every edge, for it might be one.
    """
    edge = edges[0].cpu().numpy()
    height, width = edge.shape
    reach = BOUNDARY_LIMIT * float(np.hypot(height, width))
    known = _distance(edge > 0.5, reach)
    known[_distance(np.isnan(edge), reach) < known] = np.nan
    return torch.from_numpy(known * np.float32(BOUNDARY_LIMIT / reach))[None].to(edges.device)


def _distance(marked: np.ndarray, reach: float) -> np.ndarray:
    """Pixels to the nearest marked pixel, at most ``reach``; OpenCV leaves it open what it is when none is marked."""
    if not marked.any():
        return np.full(marked.shape, reach, np.float32)
    found = cv2.distanceTransform((~marked).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    # Squares of distances between pixels are whole numbers; OpenCV's threads round the last bit now so, now so.
    exact = np.sqrt(np.rint(found * found)).astype(np.float32)
    return np.minimum(exact, np.float32(reach))


def instance_center(instance: Tensor, semantic: Tensor) -> Tensor:
    """A Gaussian around the middle of what is visible of each person, two-wheeler and vehicle; the largest counts.

    Args:
        instance: ``(H, W)`` int64 objects, 0 = none.
        semantic: ``(H, W)`` int64, Cityscapes' 19 train ids, which tell things from buildings and trees.

    Returns:
        ``(1, H, W)`` float32 in [0, 1]; exactly 1 at the pixel nearest to each centre.
    """
    height, width = instance.shape
    thing = torch.isin(semantic, torch.tensor(_THINGS, device=semantic.device)) & (instance > 0)
    rows, columns = torch.nonzero(thing, as_tuple=True)
    ids, of, count = torch.unique(instance[thing], return_inverse=True, return_counts=True)
    heat = torch.zeros(1, height, width, device=instance.device)
    spread = CENTER_SPREAD * float(np.hypot(height, width))
    y, x = (torch.arange(n, device=instance.device, dtype=torch.float32) for n in (height, width))
    for index in range(len(ids)):
        if count[index] < max(2.0, SMALLEST_THING * height * width):
            continue
        # Whole numbers: the same centre on every machine.
        v, u = ((place[of == index].sum() * 2 + count[index]) // (2 * count[index]) for place in (rows, columns))
        down, across = (torch.exp(-((line - place) ** 2) / (2 * spread**2)) for line, place in ((y, v), (x, u)))
        heat = torch.maximum(heat, (down[:, None] * across)[None])
    return heat


def plane_ids(depth: Tensor, normals: Tensor, intrinsics: Tensor) -> Tensor:
    """Which way a pixel's surface faces, and how far from the camera the plane runs in which it lies.

    All pixels of one flat wall have the same id, however far along it they are. The ids: 0 facing up, 1 down;
    2-4 left, 5-7 right and 8-10 the camera, each near, middle and far; 11 slanted. `densemtl_core.tasks.PlanesTask` has
    their names.

    Args:
        depth: ``(1, H, W)`` metres, +inf = no surface, NaN = unknown.
        normals: ``(3, H, W)`` unit, optical frame, facing the camera; NaN = unknown.
        intrinsics: ``(3, 3)`` in pixels.

    Returns:
        ``(H, W)`` int64; 255 where depth or normal is not known.
    """
    height, width = depth.shape[-2:]
    z = depth[0]
    u = torch.arange(width, device=z.device, dtype=torch.float32)
    v = torch.arange(height, device=z.device, dtype=torch.float32)[:, None]
    x, y = (u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1]
    nx, ny, nz = normals.unbind(0)
    offset = -z * (nx * x + ny * y + nz)  # normals face the camera: it is positive

    def banded(first: int, limits: tuple[float, float]) -> Tensor:
        return (offset >= limits[0]).long() + (offset >= limits[1]).long() + first

    up, down, left, right, front = -ny, ny, -nx, nx, -nz
    found = torch.full_like(z, SLANTED, dtype=torch.int64)
    for share, ids in (
        (up, torch.zeros_like(found)),
        (down, torch.ones_like(found)),
        (left, banded(2, SIDE_OFFSETS)),
        (right, banded(5, SIDE_OFFSETS)),
        (front, banded(8, FRONT_OFFSETS)),
    ):
        found = torch.where(share > ALONG_AXIS, ids, found)
    return found.masked_fill(~(z.isfinite() & normals.isfinite().all(0)), IGNORE_CLASS)


DERIVED: Mapping[str, Callable[[Mapping[str, Tensor], Tensor], Tensor]] = {
    "boundary_distance": lambda labels, _: boundary_distance(labels["edges"]),
    "instance_center": lambda labels, _: instance_center(labels["instance"], labels["semantic"]),
    "planes": lambda labels, K: plane_ids(labels["depth"], labels["normals"], K),
}
"""Label to how it is made of one sample's labels and intrinsics."""


def derive_further(wanted: Sequence[str], labels: Mapping[str, Tensor], intrinsics: Tensor) -> dict[str, Tensor]:
    """The wanted labels of `DERIVED`, of a batch.

    Args:
        wanted: names; others are passed over.
        labels: with a batch dimension; semantic ids are Cityscapes'.
        intrinsics: ``(B, 3, 3)``.
    """
    made = {}
    for name in wanted:
        if name in DERIVED:
            one = [{n: x[k] for n, x in labels.items()} for k in range(len(intrinsics))]
            made[name] = torch.stack([DERIVED[name](x, K) for x, K in zip(one, intrinsics, strict=True)])
    return made
