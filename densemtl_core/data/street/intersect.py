"""Exact intersections of rays with primitives, each in its own frame (centre at 0, x right, y down, z forward).

A ray is ``origin + t * direction``. Only sums, products, quotients and square roots touch the rays, so that a result
does not depend on its place in a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from densemtl_core.data.street.noise import lookup
from densemtl_core.data.street.scene import Plate

__all__ = [
    "NEAR",
    "Vector",
    "box_face",
    "box_planes",
    "intersect_box",
    "intersect_cone",
    "intersect_ellipsoid",
    "intersect_plate",
]

NEAR = 0.05
"""Nothing closer than this is seen, metres."""
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


def _crossings(origin: Vector, direction: Vector, half: Vector, shape: Vector) -> list[tuple[Tensor, Tensor]]:
    """For each plane of a box: ``t`` where it is entered (-inf: left), and where it is left (inf: entered)."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    (hx, hy, hz), (kx, kf, kb) = half, shape
    sx, rx, ex = kx * oy, kx * dy, hx - kx * hy
    crossings = []
    for start, rate in (
        (ox - sx - ex, dx - rx),
        (-ox - sx - ex, -dx - rx),
        (oy - hy, dy),
        (-oy - hy, -dy),
        (oz - kf * oy - (hz - kf * hy), dz - kf * dy),
        (-oz - kb * oy - (hz - kb * hy), -dz - kb * dy),
    ):
        # No comparison and no choice, which are slow: a rate below 0 has its t, +inf; one above it -inf, its t. IEEE's
        # rules give the right infinities for a rate of 0, too.
        t, side = -start / rate, -torch.inf / rate
        crossings.append((torch.minimum(t, side), torch.maximum(t, side)))
    return crossings


def intersect_box(origin: Vector, direction: Vector, half: Vector, shape: Vector) -> Tensor:
    """Ray against a box whose sides lean inwards towards the top.

    Args:
        origin: ray origin in the box's own frame (centre at 0, y down), three tensors of one shape.
        direction: ray direction in that frame.
        half: half extents at the bottom.
        shape: slopes (inward metres per metre of height) of the two x sides, the +z and the -z side.

    Returns:
        ``t`` of the entry, inf: no hit.
    """
    crossings = _crossings(origin, direction, half, shape)
    enter, leave = crossings[0]
    for entered, left in crossings[1:]:
        enter, leave = torch.maximum(enter, entered), torch.minimum(leave, left)
    return torch.where((enter <= leave) & (enter > NEAR), enter, torch.inf)


def box_face(origin: Vector, direction: Vector, half: Vector, shape: Vector) -> Tensor:
    """Which face of a box a ray that hits it enters: 0..5 for +x, -x, bottom, top, +z, -z (see `intersect_box`)."""
    entered = [enter for enter, _ in _crossings(origin, direction, half, shape)]
    enter, face = entered[0], torch.zeros_like(entered[0])
    for i in range(1, 6):
        face = torch.where(entered[i] > enter, float(i), face)
        enter = torch.maximum(enter, entered[i])
    return face


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


# Ends (u, v) and half thickness of a bicycle's tubes, saddle and handlebar, as fractions of a plate's half size.
_TUBES = (
    (-0.62, 0.4, -0.25, -0.55, 0.06),
    (-0.25, -0.55, 0.0, 0.45, 0.06),
    (-0.25, -0.5, 0.38, -0.5, 0.06),
    (0.0, 0.45, 0.38, -0.5, 0.06),
    (0.62, 0.4, 0.35, -0.9, 0.06),
    (0.2, -0.92, 0.4, -0.92, 0.06),
    (-0.4, -0.7, -0.15, -0.7, 0.07),
)


def _bicycle_frame(u: Tensor, v: Tensor) -> Tensor:
    """Whether (u, v), ``(P,)``, lies within a tube: close enough to the segment in its middle."""
    au, av, bu, bv, thick = torch.tensor(_TUBES, device=u.device).T[..., None].unbind(0)
    du, dv = bu - au, bv - av
    s = (((u - au) * du + (v - av) * dv) / (du * du + dv * dv)).clamp(0, 1)
    eu, ev = u - au - s * du, v - av - s * dv
    return (eu * eu + ev * ev <= thick * thick).any(0)


def _treetops(x: Tensor, y: Tensor, seed: Tensor) -> Tensor:
    coarse, fine = lookup(2 * x + seed, seed, None, grain=False), lookup(9 * x + seed, 3 * y, None, grain=False)
    return 0.75 * coarse + 0.25 * fine


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
    rules: dict[Plate, Callable[[], Tensor]] = {
        Plate.DISC: lambda: square <= 1,
        Plate.TRIANGLE: lambda: u.abs() <= (v + 1) / 2,
        Plate.WHEEL: lambda: (square <= 1) & ((square >= 0.72) | (square <= 0.03) | ((u * v).abs() < 0.012)),
        Plate.BICYCLE_FRAME: lambda: _bicycle_frame(u, v),
        Plate.PICKETS: lambda: (cell < 0.62) | ((v + 0.5).abs() < 0.08) | ((v - 0.5).abs() < 0.08),
        Plate.GUARD_RAIL: lambda: (v < -0.1) | (cell < 0.04),
        Plate.RAGGED: lambda: v > 1.0 - 2.2 * _treetops(x, y, seed),
        Plate.RAILING: lambda: (cell < 0.12) | (v < -0.88) | (v > 0.85),
    }
    keep = torch.ones_like(inside)
    for number in torch.unique(outline).tolist():
        if number != Plate.RECTANGLE:
            keep = torch.where(outline == number, rules[Plate(int(number))](), keep)
    return torch.where(inside & keep, t, torch.inf)
