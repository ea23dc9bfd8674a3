"""Where the visible points of primitives lie, and their exact normals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from densemtl_core.data.street.intersect import box_planes, intersect_box, intersect_cone
from densemtl_core.data.street.raycast import local_rays
from densemtl_core.data.street.scene import COLUMN, Kind

__all__ = ["Surface", "surface"]


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
    column = dict(zip(COLUMN, table.index_select(1, rows).unbind(0), strict=True))
    origin, d = local_rays(table, rows, direction)
    x, y, z = (o + t * v for o, v in zip(origin, d, strict=True))
    half, shape = (column["hx"], column["hy"], column["hz"]), (column["g0"], column["g1"], column["g2"])
    kind = column["kind"]

    _, face = intersect_box(origin, d, half, shape)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    nx, ny, nz = zero, zero, one  # a plate's
    for i, (n, _) in enumerate(box_planes(half, shape)):
        this = (kind == Kind.BOX) & (face == i)
        nx, ny, nz = torch.where(this, n[0], nx), torch.where(this, n[1], ny), torch.where(this, n[2], nz)
    cone = kind == Kind.CONE
    _, cap = intersect_cone(origin, d, half, shape[0])
    slope = half[0] * (1 - shape[0]) / (2 * half[1])
    radius = half[0] * (1 + shape[0]) / 2 + slope * y
    on_cap, on_side = cone & (cap > 0), cone & (cap == 0)
    nx = torch.where(on_side, x, torch.where(on_cap, zero, nx))
    ny = torch.where(on_side, -slope * radius, torch.where(on_cap, -one, ny))
    nz = torch.where(on_side, z, torch.where(on_cap, zero, nz))
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
