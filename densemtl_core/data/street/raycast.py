"""Which primitive each ray of a batch of scenes meets first.

A camera ray's direction has an optical z of 1, so that the parameter ``t`` of a hit is its depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from densemtl_core.data.street.intersect import (
    NEAR,
    Vector,
    intersect_box,
    intersect_cone,
    intersect_ellipsoid,
    intersect_plate,
)
from densemtl_core.data.street.scene import COLUMN, Kind

__all__ = ["Hits", "cast", "corners", "local_rays", "pixel_boxes", "screen_boxes"]

_MISS = 0x7F800000 << 32  # the key of an infinite depth
_CORNERS = [[1 if i >> axis & 1 else -1 for i in range(8)] for axis in range(3)]
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b) in (1, 2, 4)]


@dataclass(frozen=True)
class Hits:
    """Nearest primitive of each ray.

    Attributes:
        t: ``(N,)`` depth in metres, inf where no primitive is.
        primitive: ``(N,)`` row of the joined table (0 where t is inf).
    """

    t: Tensor
    primitive: Tensor


def corners(table: Tensor) -> Vector:
    """The eight corners of every primitive's bounding box, in the frame of the table: three ``(8, M)`` tensors."""
    cx, cy, cz, hx, hy, hz, cos, sin = (table[COLUMN[n]] for n in ("x", "y", "z", "hx", "hy", "hz", "cos", "sin"))
    signs = torch.tensor(_CORNERS, dtype=table.dtype, device=table.device)[..., None]
    x, y, z = signs[0] * hx, signs[1] * hy, signs[2] * hz
    return cx + cos * x + sin * z, cy + y, cz - sin * x + cos * z


def pixel_boxes(u0: Tensor, v0: Tensor, u1: Tensor, v1: Tensor, size: tuple[int, int]) -> Tensor:
    """Round bounds outwards and clip them to a raster: ``(M, 4)`` int64, end excluded, may be empty."""
    h, w = size
    low = torch.stack([u0.clamp(0, w), v0.clamp(0, h)], -1).floor()
    high = torch.stack([u1.clamp(-1, w - 1), v1.clamp(-1, h - 1)], -1).ceil() + 1
    return torch.cat([low, high], -1).long()


def screen_boxes(table: Tensor, pose: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel rectangles that surely hold the primitives.

    Args:
        table: ``(C, M)`` primitives, centres relative to the camera.
        pose: ``(M, 3, 3)`` camera-to-world rotation for each.
        K: ``(M, 3, 3)`` intrinsics for each.
        size: (H, W).

    Returns:
        ``(M, 4)`` int64 u0, v0, u1, v1.
    """
    world = [axis.T for axis in corners(table)]
    x, y, z = (
        pose[:, 0, i, None] * world[0] + pose[:, 1, i, None] * world[1] + pose[:, 2, i, None] * world[2]
        for i in range(3)
    )
    # Cut every edge at the near plane, so that a box beside the camera does not claim the whole image.
    first, second = [e[0] for e in _EDGES], [e[1] for e in _EDGES]
    za, zb = z[:, first], z[:, second]
    rise = zb - za
    share = ((NEAR - za) / torch.where(rise.abs() < 1e-9, torch.full_like(rise, 1e-9), rise)).clamp(0, 1)
    crossing = (za < NEAR) != (zb < NEAR)
    cut_x, cut_y = (
        x[:, first] + share * (x[:, second] - x[:, first]),
        y[:, first] + share * (y[:, second] - y[:, first]),
    )
    valid = torch.cat([z >= NEAR, crossing], 1)
    depth = torch.cat([z.clamp(min=NEAR), torch.full_like(cut_x, NEAR)], 1)
    u = torch.cat([x, cut_x], 1) / depth * K[:, 0, 0, None] + K[:, 0, 2, None]
    v = torch.cat([y, cut_y], 1) / depth * K[:, 1, 1, None] + K[:, 1, 2, None]
    inf = torch.full_like(u, torch.inf)
    u0, v0 = torch.where(valid, u, inf).amin(1), torch.where(valid, v, inf).amin(1)
    u1, v1 = torch.where(valid, u, -inf).amax(1), torch.where(valid, v, -inf).amax(1)
    return pixel_boxes(u0 - 0.01, v0 - 0.01, u1 + 0.01, v1 + 0.01, size)


def local_rays(table: Tensor, rows: Tensor, direction: Vector, start: Vector | None = None) -> tuple[Vector, Vector]:
    """Rays in the frames of primitives.

    Args:
        table: ``(C, M)`` primitives with centres relative to the camera.
        rows: ``(P,)`` primitive of each ray.
        direction: world direction of each ray, three ``(P,)`` tensors.
        start: where the rays start, relative to the camera; the camera by default.

    Returns:
        Origin and direction, three ``(P,)`` tensors each.
    """
    names = ("x", "y", "z", "cos", "sin")
    x, y, z, c, s = (table[COLUMN[n]].index_select(0, rows) for n in names)
    ox, oy, oz = (-x, -y, -z) if start is None else (start[0] - x, start[1] - y, start[2] - z)
    dx, dy, dz = direction
    return (c * ox - s * oz, oy, s * ox + c * oz), (c * dx - s * dz, dy, s * dx + c * dz)


def cast(
    table: Tensor, owner: Tensor, boxes: Tensor, size: tuple[int, int], direction: Tensor, start: Tensor | None = None
) -> Hits:
    """Find the nearest primitive of every ray of a batch of rasters.

    Args:
        table: ``(C, M)`` primitives of all scenes, centres relative to their camera.
        owner: ``(M,)`` int64 scene of each primitive.
        boxes: ``(M, 4)`` rectangle of its scene's raster that holds each primitive.
        size: (H, W) of a raster.
        direction: ``(3, B*H*W)`` world directions of the rays.
        start: ``(3, B*H*W)`` where they start relative to the camera; the camera by default.

    Returns:
        The nearest hits.
    """
    h, w = size
    width, height = (boxes[:, 2] - boxes[:, 0]).clamp(min=0), (boxes[:, 3] - boxes[:, 1]).clamp(min=0)
    count = width * height
    nothing = torch.iinfo(torch.int64).max
    nearest = torch.full((direction.shape[1],), nothing, dtype=torch.int64, device=table.device)
    rays = direction.unbind(0)
    starts = None if start is None else start.unbind(0)
    for kind in Kind:
        rows = torch.nonzero((table[COLUMN["kind"]] == float(kind)) & (count > 0)).squeeze(1)
        if rows.numel() == 0:
            continue
        n = count[rows]
        row = torch.repeat_interleave(rows, n)
        # Pixels of all rectangles, one after the other; 32 bits are enough, and divide without dividing integers.
        ends = torch.zeros_like(count)
        ends[rows] = n.cumsum(0) - n
        place = torch.arange(row.numel(), dtype=torch.int32, device=row.device)
        offset = place - ends.int().index_select(0, row)
        wide = width.int().index_select(0, row)
        line = torch.floor(offset / wide).int()
        first = (owner * (h * w) + boxes[:, 1] * w + boxes[:, 0]).int().index_select(0, row)
        pixel = first + offset + line * (w - wide)
        through = (rays[0].index_select(0, pixel), rays[1].index_select(0, pixel), rays[2].index_select(0, pixel))
        begin = None
        if starts is not None:
            x, y, z = (s.index_select(0, pixel) for s in starts)
            begin = (x, y, z)
        t = intersect(kind, table, row, through, begin)
        # Depth in the upper half, row in the lower: one integer minimum is a z-buffer with a fixed tie-break. Rays that
        # miss carry an infinite depth along: sorting them out would cost more.
        key = (t.view(torch.int32).long() << 32) | row
        nearest.scatter_reduce_(0, pixel.long(), key, "amin")
    t = (nearest >> 32).int().view(torch.float32)
    none = nearest >= _MISS
    return Hits(torch.where(none, torch.inf, t), torch.where(none, 0, nearest & 0xFFFFFFFF))


def intersect(kind: Kind, table: Tensor, rows: Tensor, direction: Vector, start: Vector | None = None) -> Tensor:
    """``(P,)`` depth at which each ray meets its primitive (all of one kind), inf: it does not."""
    origin, d = local_rays(table, rows, direction, start)

    def column(name: str) -> Tensor:
        return table[COLUMN[name]].index_select(0, rows)

    half = (column("hx"), column("hy"), column("hz"))
    if kind == Kind.BOX:
        return intersect_box(origin, d, half, (column("g0"), column("g1"), column("g2")))
    if kind == Kind.CONE:
        return intersect_cone(origin, d, half, column("g0"))[0]
    if kind == Kind.ELLIPSOID:
        return intersect_ellipsoid(origin, d, half, column("g0"), column("seed"))
    return intersect_plate(origin, d, half, column("g0"), column("g1"), column("seed"))
