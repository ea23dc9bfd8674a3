"""Exact intersections of camera rays with the primitives of a batch of scenes.

A ray is ``origin + t * direction`` with the direction's optical z equal to 1, so that ``t`` is the depth. Only sums,
products, quotients and square roots touch the pixels: their results do not depend on the place in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from densemtl_core.data.street.noise import lookup
from densemtl_core.data.street.scene import COLUMN, Kind, Plate

__all__ = [
    "NEAR", "Hits", "cast", "corners", "intersect_box", "intersect_cone", "intersect_ellipsoid", "intersect_plate",
    "local_rays", "pixel_boxes", "screen_boxes",
]  # fmt: skip

NEAR = 0.05
"""Nothing closer than this is seen, metres."""
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b) in (1, 2, 4)]
Vector = tuple[Tensor, Tensor, Tensor]


def _safe(value: Tensor) -> Tensor:
    """The value, moved off zero so that it can divide."""
    return torch.where(value.abs() < 1e-9, torch.full_like(value, 1e-9), value)


def box_planes(half: Vector, shape: Vector) -> list[tuple[Vector, Tensor]]:
    """Outward plane normals ``n`` (not unit) and offsets ``e`` of a box with sloped sides: inside is n.p <= e."""
    hx, hy, hz = half
    kx, kf, kb = shape
    one, zero = torch.ones_like(hx), torch.zeros_like(hx)
    return [
        ((one, -kx, zero), hx - kx * hy),
        ((-one, -kx, zero), hx - kx * hy),
        ((zero, one, zero), hy),
        ((zero, -one, zero), hy),
        ((zero, -kf, one), hz - kf * hy),
        ((zero, -kb, -one), hz - kb * hy),
    ]


def intersect_box(origin: Vector, direction: Vector, half: Vector, shape: Vector) -> tuple[Tensor, Tensor]:
    """Ray against a box whose sides lean inwards towards the top.

    Args:
        origin: ray origin in the box's own frame (centre at 0, y down), three tensors of one shape.
        direction: ray direction in that frame.
        half: half extents at the bottom.
        shape: slopes (inward metres per metre of height) of the two x sides, the +z and the -z side.

    Returns:
        ``t`` of the entry (inf: no hit) and the face, 0..5 for +x, -x, bottom, top, +z, -z.
    """
    enter = torch.full_like(origin[0], -torch.inf)
    leave = torch.full_like(origin[0], torch.inf)
    face = torch.zeros_like(origin[0])
    for i, (n, offset) in enumerate(box_planes(half, shape)):
        start = n[0] * origin[0] + n[1] * origin[1] + n[2] * origin[2] - offset
        rate = _safe(n[0] * direction[0] + n[1] * direction[1] + n[2] * direction[2])
        t = -start / rate
        entering = (rate < 0) & (t > enter)
        face = torch.where(entering, torch.full_like(face, float(i)), face)
        enter = torch.where(entering, t, enter)
        leave = torch.where(rate > 0, torch.minimum(leave, t), leave)
    return torch.where((enter <= leave) & (enter > NEAR), enter, torch.inf), face


def intersect_cone(origin: Vector, direction: Vector, half: Vector, top: Tensor) -> tuple[Tensor, Tensor]:
    """Ray against an upright truncated cone (a cylinder when ``top`` is 1) closed at its top.

    Args:
        origin: ray origin in the cone's frame (centre at 0, y down).
        direction: ray direction in that frame.
        half: bottom radius, half height, (unused).
        top: radius at the top as a fraction of the bottom's.

    Returns:
        ``t`` (inf: no hit), and 1 where the top cap was hit.
    """
    radius, hy, _ = half
    slope = radius * (1 - top) / (2 * hy)  # growth of the radius per metre downwards
    middle = radius * (1 + top) / 2
    r0, r1 = middle + slope * origin[1], slope * direction[1]
    a = _safe(direction[0] * direction[0] + direction[2] * direction[2] - r1 * r1)
    b = origin[0] * direction[0] + origin[2] * direction[2] - r0 * r1
    c = origin[0] * origin[0] + origin[2] * origin[2] - r0 * r0
    disc = b * b - a * c
    root = disc.clamp(min=0).sqrt()
    inf = torch.full_like(a, torch.inf)
    best = inf
    for t in ((-b - root) / a, (-b + root) / a):
        y = origin[1] + t * direction[1]
        ok = (disc >= 0) & (y.abs() <= hy) & (t > NEAR) & (r0 + t * r1 >= 0)
        best = torch.minimum(best, torch.where(ok, t, inf))
    cap = (-hy - origin[1]) / _safe(direction[1])
    x, z = origin[0] + cap * direction[0], origin[2] + cap * direction[2]
    on_cap = (x * x + z * z <= (radius * top) * (radius * top)) & (cap > NEAR) & (direction[1] > 0)
    cap = torch.where(on_cap, cap, inf)
    return torch.minimum(best, cap), (cap < best).to(best.dtype)


def intersect_ellipsoid(origin: Vector, direction: Vector, half: Vector, ragged: Tensor, seed: Tensor) -> Tensor:
    """Ray against an ellipsoid; a ragged one lets rays near its outline pass, as foliage does.

    Args:
        origin: ray origin in the ellipsoid's frame.
        direction: ray direction in that frame.
        half: the three radii.
        ragged: share of the squared outline radius that may be missing, 0 = smooth.
        seed: offset into the noise of the outline.

    Returns:
        ``t`` of the entry, inf: no hit.
    """
    o = [p / h for p, h in zip(origin, half, strict=True)]
    d = [p / h for p, h in zip(direction, half, strict=True)]
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1
    disc = b * b - a * c
    t = (-b - disc.clamp(min=0).sqrt()) / a
    outline = 1 - disc / a  # squared distance of the ray from the centre, 1 on the outline
    x, y, z = (origin[i] + t * direction[i] for i in range(3))
    foot = 0.1 * t
    leaves = lookup(20 * x + 13 * z + seed, 20 * y + 7 * z, foot, grain=True)
    clumps = lookup(17 * x + 11 * z + seed, 17 * y + 9 * z, foot, grain=False)
    missing = ragged * (1.5 * (leaves + clumps) - 1).clamp(0, 1)
    return torch.where((disc >= 0) & (t > NEAR) & (outline <= 1 - missing), t, torch.inf)


def _segment(u: Tensor, v: Tensor, a: tuple[float, float], b: tuple[float, float], thick: float) -> Tensor:
    """Whether (u, v) lies within ``thick`` of the segment a-b."""
    du, dv = b[0] - a[0], b[1] - a[1]
    s = (((u - a[0]) * du + (v - a[1]) * dv) / (du * du + dv * dv)).clamp(0, 1)
    eu, ev = u - a[0] - s * du, v - a[1] - s * dv
    return eu * eu + ev * ev <= thick * thick


def intersect_plate(
    origin: Vector, direction: Vector, half: Vector, outline: Tensor, period: Tensor, seed: Tensor
) -> Tensor:
    """Ray against a flat, two-sided plate in its own z = 0 plane.

    Args:
        origin: ray origin in the plate's frame.
        direction: ray direction in that frame.
        half: half width, half height, (unused).
        outline: `Plate` as a number.
        period: spacing in metres of what the outline repeats (pickets, posts).
        seed: offset into the noise of a ragged outline.

    Returns:
        ``t``, inf: no hit.
    """
    t = -origin[2] / _safe(direction[2])
    x, y = origin[0] + t * direction[0], origin[1] + t * direction[1]
    u, v = x / half[0], y / half[1]
    inside = (u.abs() <= 1) & (v.abs() <= 1) & (t > NEAR)
    square = u * u + v * v
    cell = x / period.clamp(min=0.01)
    cell = cell - cell.floor()
    wheel = (square <= 1) & ((square >= 0.72) | (square <= 0.03) | ((u * v).abs() < 0.012))
    frame = (
        _segment(u, v, (-0.62, 0.4), (-0.25, -0.55), 0.06)
        | _segment(u, v, (-0.25, -0.55), (0.0, 0.45), 0.06)
        | _segment(u, v, (-0.25, -0.5), (0.38, -0.5), 0.06)
        | _segment(u, v, (0.0, 0.45), (0.38, -0.5), 0.06)
        | _segment(u, v, (0.62, 0.4), (0.35, -0.9), 0.06)
        | _segment(u, v, (0.2, -0.92), (0.4, -0.92), 0.06)
        | _segment(u, v, (-0.4, -0.7), (-0.15, -0.7), 0.07)
    )
    height = 0.75 * lookup(2 * x + seed, seed, t * 0.0, grain=False) + 0.25 * lookup(
        9 * x + seed, 3 * y, t * 0.0, grain=False
    )
    wanted = outline
    keep = torch.ones_like(inside)
    for shape, rule in (
        (Plate.DISC, square <= 1),
        (Plate.TRIANGLE, u.abs() <= (v + 1) / 2),
        (Plate.WHEEL, wheel),
        (Plate.BICYCLE_FRAME, frame),
        (Plate.PICKETS, (cell < 0.62) | ((v + 0.5).abs() < 0.08) | ((v - 0.5).abs() < 0.08)),
        (Plate.GUARD_RAIL, (v < -0.1) | (cell < 0.04)),
        (Plate.RAGGED, v > 1.0 - 2.2 * height),
        (Plate.RAILING, (cell < 0.12) | (v < -0.88) | (v > 0.85)),
    ):
        keep = torch.where(wanted == float(shape), rule, keep)
    return torch.where(inside & keep, t, torch.inf)


@dataclass(frozen=True)
class Hits:
    """Nearest primitive of each ray.

    Attributes:
        t: ``(N,)`` depth in metres, inf where no primitive is.
        primitive: ``(N,)`` row of the joined table (0 where t is inf).
    """

    t: Tensor
    primitive: Tensor


def corners(table: Tensor) -> list[Vector]:
    """The eight corners of every primitive's bounding box, in the frame of the table: three ``(M,)`` tensors each."""
    cx, cy, cz, hx, hy, hz, cos, sin = (table[COLUMN[n]] for n in ("x", "y", "z", "hx", "hy", "hz", "cos", "sin"))
    out = []
    for i in range(8):
        x, y, z = (hx if i & 1 else -hx), (hy if i & 2 else -hy), (hz if i & 4 else -hz)
        out.append((cx + cos * x + sin * z, cy + y, cz - sin * x + cos * z))
    return out


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
    world = [torch.stack(axis, 1) for axis in zip(*corners(table), strict=True)]  # three (M, 8)
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
    cut_x, cut_y = x[:, first] + share * (x[:, second] - x[:, first]), y[:, first] + share * (y[:, second] - y[:, first])
    valid = torch.cat([z >= NEAR, crossing], 1)
    depth = torch.cat([z.clamp(min=NEAR), torch.full_like(cut_x, NEAR)], 1)
    u = torch.cat([x, cut_x], 1) / depth * K[:, 0, 0, None] + K[:, 0, 2, None]
    v = torch.cat([y, cut_y], 1) / depth * K[:, 1, 1, None] + K[:, 1, 2, None]
    inf = torch.full_like(u, torch.inf)
    u0, v0 = torch.where(valid, u, inf).amin(1), torch.where(valid, v, inf).amin(1)
    u1, v1 = torch.where(valid, u, -inf).amax(1), torch.where(valid, v, -inf).amax(1)
    return pixel_boxes(u0 - 0.01, v0 - 0.01, u1 + 0.01, v1 + 0.01, size)


def local_rays(
    table: Tensor, rows: Tensor, direction: Tensor, start: Tensor | None = None
) -> tuple[Vector, Vector]:
    """Rays in the frames of primitives.

    Args:
        table: ``(C, M)`` primitives with centres relative to the camera.
        rows: ``(P,)`` primitive of each ray.
        direction: ``(3, P)`` world direction of each ray.
        start: ``(3, P)`` where the rays start, relative to the camera; the camera by default.

    Returns:
        Origin and direction, three ``(P,)`` tensors each.
    """
    names = ("x", "y", "z", "cos", "sin")
    x, y, z, c, s = table[[COLUMN[n] for n in names]].index_select(1, rows).unbind(0)
    ox, oy, oz = (-x, -y, -z) if start is None else (start[0] - x, start[1] - y, start[2] - z)
    dx, dy, dz = direction.unbind(0)
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
    for kind in Kind:
        rows = torch.nonzero((table[COLUMN["kind"]] == float(kind)) & (count > 0)).squeeze(1)
        if rows.numel() == 0:
            continue
        n = count[rows]
        which = torch.repeat_interleave(torch.arange(rows.numel(), device=rows.device), n)
        offset = torch.arange(which.numel(), device=rows.device) - (n.cumsum(0) - n)[which]
        wide = width[rows][which]
        line = torch.div(offset, wide, rounding_mode="floor")
        first = owner[rows] * (h * w) + boxes[rows, 1] * w + boxes[rows, 0]
        pixel = first[which] + line * w + (offset - line * wide)
        row = rows[which]
        begin = None if start is None else start.index_select(1, pixel)
        t = intersect(kind, table, row, direction.index_select(1, pixel), begin)
        hit = torch.nonzero(t < torch.inf).squeeze(1)
        # Depth in the upper half, row in the lower: one integer minimum is a z-buffer with a fixed tie-break.
        key = (t[hit].view(torch.int32).long() << 32) | row[hit]
        nearest.scatter_reduce_(0, pixel[hit], key, "amin")
    none = nearest == nothing
    t = (nearest >> 32).int().view(torch.float32)
    return Hits(torch.where(none, torch.inf, t), torch.where(none, 0, nearest & 0xFFFFFFFF))


def intersect(kind: Kind, table: Tensor, rows: Tensor, direction: Tensor, start: Tensor | None = None) -> Tensor:
    """``(P,)`` depth at which each ray meets its primitive (all of one kind), inf: it does not."""
    origin, d = local_rays(table, rows, direction, start)
    names = ("hx", "hy", "hz", "g0", "g1", "g2", "seed")
    hx, hy, hz, g0, g1, g2, seed = table[[COLUMN[n] for n in names]].index_select(1, rows).unbind(0)
    half = (hx, hy, hz)
    if kind == Kind.BOX:
        return intersect_box(origin, d, half, (g0, g1, g2))[0]
    if kind == Kind.CONE:
        return intersect_cone(origin, d, half, g0)[0]
    if kind == Kind.ELLIPSOID:
        return intersect_ellipsoid(origin, d, half, g0, seed)
    return intersect_plate(origin, d, half, g0, g1, seed)
