"""Where the visible points of primitives lie, and their exact normals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from densemtl_core.data.street.intersect import Vector, box_face, box_planes, intersect_cone
from densemtl_core.data.street.raycast import local_rays
from densemtl_core.data.street.scene import COLUMN, Kind

__all__ = ["Surface", "surface"]


def _at(vector: Vector, places: Tensor) -> Vector:
    x, y, z = vector
    return x.index_select(0, places), y.index_select(0, places), z.index_select(0, places)


@dataclass(frozen=True)
class Surface:
    """Visible points of primitives, ``(P,)`` or ``(3, P)``.

    Attributes:
        point: in the primitive's frame, metres.
        normal: unit, in the world frame, towards the camera.
        face: of a box 0..5 (+x, -x, bottom, top, +z, -z); 4 otherwise.
        column: the primitives' table columns by name.
        foot: metres across a pixel.
    """

    point: Tensor
    normal: Tensor
    face: Tensor
    column: dict[str, Tensor]
    foot: Tensor


def surface(table: Tensor, rows: Tensor, t: Tensor, direction: Tensor, foot: Tensor) -> Surface:
    """Where and under which normal rays meet the primitives that won their pixels.

    Args:
        table: ``(C, M)`` primitives.
        rows: ``(P,)`` the primitive of each pixel.
        t: ``(P,)`` its depth.
        direction: ``(3, P)`` world directions.
        foot: ``(P,)`` metres across a pixel at that depth.
    """
    column = {name: values.index_select(0, rows) for name, values in zip(COLUMN, table.unbind(0), strict=True)}
    dx, dy, dz = direction.unbind(0)
    origin, d = local_rays(table, rows, (dx, dy, dz))
    x, y, z = (o + t * v for o, v in zip(origin, d, strict=True))
    half, shape = (column["hx"], column["hy"], column["hz"]), (column["g0"], column["g1"], column["g2"])
    kind = column["kind"]

    face = box_face(origin, d, half, shape)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    nx, ny, nz = zero, zero, one  # a plate's
    for i, (n, _) in enumerate(box_planes(half, shape)):
        this = (kind == Kind.BOX) & (face == i)
        nx, ny, nz = torch.where(this, n[0], nx), torch.where(this, n[1], ny), torch.where(this, n[2], nz)
    # Cones are few: only theirs are asked for the cap.
    some = torch.nonzero(kind == Kind.CONE).squeeze(1)
    if some.numel():
        part_origin, part_d, part_half = (_at(v, some) for v in (origin, d, half))
        top, yy = shape[0].index_select(0, some), y.index_select(0, some)
        _, cap = intersect_cone(part_origin, part_d, part_half, top)
        slope = part_half[0] * (1 - top) / (2 * part_half[1])
        radius = part_half[0] * (1 + top) / 2 + slope * yy
        side = 1 - cap
        nx = nx.index_copy(0, some, x.index_select(0, some) * side)
        ny = ny.index_copy(0, some, -slope * radius * side - cap)
        nz = nz.index_copy(0, some, z.index_select(0, some) * side)
    ball = kind == Kind.ELLIPSOID
    nx, ny, nz = (torch.where(ball, p / (h * h), n) for p, h, n in zip((x, y, z), half, (nx, ny, nz), strict=True))
    length = (nx * nx + ny * ny + nz * nz).sqrt().clamp(min=1e-12)
    # A plate has two sides and a cone is seen from inside through its bottom: turn every normal to the camera.
    towards = nx * d[0] + ny * d[1] + nz * d[2]
    length = torch.where(towards > 0, -length, length)
    nx, ny, nz = nx / length, ny / length, nz / length
    cos, sin = column["cos"], column["sin"]
    normal = torch.stack([cos * nx + sin * nz, ny, -sin * nx + cos * nz])
    face = torch.where(kind == Kind.BOX, face, torch.full_like(face, 4.0))
    return Surface(torch.stack([x, y, z]), normal, face, column, foot)
