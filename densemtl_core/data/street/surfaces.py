"""How objects are painted: one function a material, on the winning hits only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from densemtl_core.data.street.ground import coverage
from densemtl_core.data.street.noise import lookup
from densemtl_core.data.street.raycast import box_planes, intersect_box, intersect_cone, local_rays
from densemtl_core.data.street.scene import COLUMN, Kind, Material

__all__ = ["Surface", "paint", "surface"]


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


def _mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a * (1 - share) + b * share


def _colour(column: dict[str, Tensor], names: tuple[str, str, str]) -> Tensor:
    return torch.stack([column[n] for n in names])


def _grey(like: Tensor, *levels: float) -> Tensor:
    """A constant colour shaped like ``(3, P)``."""
    return torch.tensor(levels, device=like.device)[:, None].expand_as(like)


def paint(s: Surface, texture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Albedo of surfaces, and what they give besides diffuse light.

    Args:
        s: the surfaces.
        texture: ``(P,)`` strength of the textures.

    Returns:
        ``(3, P)`` linear albedo, ``(P,)`` share of mirrored sky, ``(3, P)`` emitted light.
    """
    c = s.column
    base, second = _colour(c, ("r", "g", "b")), _colour(c, ("r2", "g2b", "b2"))
    x, y, z = s.point.unbind(0)
    hx, hy, hz = c["hx"], c["hy"], c["hz"]
    sideways = (s.face <= 1).to(x.dtype)
    flat = (s.face == 2) | (s.face == 3)
    u = torch.where(flat, x, torch.where(s.face <= 1, z, torch.where(c["kind"] == Kind.PLATE, x, x + 0.61 * z)))
    wide = torch.where(s.face <= 1, hz, hx)
    v = torch.where(flat, z, y)
    up = hy - y  # height above the part's bottom
    foot, seed = s.foot, c["seed"]

    fine = lookup(u * 60 + seed, v * 60 + seed * 0.37, foot * 60, grain=True)
    cloud = lookup(u * 11 + seed * 1.7, v * 11 + seed, foot * 11, grain=False)
    albedo = base * (1 + texture * (0.25 * (fine - 0.5) + 0.35 * (cloud - 0.5)))
    mirror = torch.zeros_like(x)
    glow = torch.zeros_like(albedo)

    def where(material: Material) -> Tensor:
        return torch.nonzero(c["material"] == float(material)).squeeze(1)

    i = where(Material.FACADE)
    if i.numel():
        a, m = _facade(c, base, second, i, u, up, wide, flat, foot, seed, texture, fine, cloud)
        albedo[:, i], mirror[i] = a, m
    i = where(Material.FOLIAGE)
    if i.numel():
        scale = c["p0"][i].clamp(min=1.0)
        leaf = lookup(u[i] * 38 / scale + seed[i], v[i] * 38 / scale, foot[i] * 38 / scale, grain=True)
        clump = lookup(u[i] * 30 / scale + seed[i], v[i] * 30 / scale + seed[i], foot[i] * 30 / scale, grain=False)
        dark = (
            0.35 + 1.3 * (0.45 * leaf + 0.55 * clump) + (0.5 + texture[i]) * (1.6 * (clump - 0.5) + 1.0 * (leaf - 0.5))
        )
        albedo[:, i] = base[:, i] * dark.clamp(0.15, 2.5)
    i = where(Material.MASONRY)
    if i.numel():
        albedo[:, i] = _masonry(base[:, i], u[i], v[i], foot[i], seed[i], c["p0"][i], texture[i], fine[i], cloud[i])
    i = where(Material.WHEEL)
    if i.numel():
        r = ((x[i] / hx[i]) * (x[i] / hx[i]) + (y[i] / hy[i]) * (y[i] / hy[i])).sqrt()
        hub = ((0.66 - r) * 12).clamp(0, 1) * (0.4 + 0.6 * ((r * 3 - (r * 3).floor()) > 0.25).to(r.dtype))
        albedo[:, i] = _mix(base[:, i], second[:, i], hub)
    i = where(Material.SIGN)
    if i.numel():
        albedo[:, i] = _sign(c, base, second, i, x, y, foot, seed)
    i = where(Material.TRAFFIC_LIGHT)
    if i.numel():
        front = (s.face[i] == 5).to(x.dtype)
        lamp = (up[i] / (2 * hy[i]) * 3).clamp(0, 2.999)
        which = lamp.floor()  # 0 bottom (green), 1 amber, 2 red
        dv, du = (lamp - which - 0.5) * 2 * hy[i] / 3, x[i]
        disc = ((0.1 - (du * du + dv * dv).sqrt()) * 40).clamp(0, 1) * front
        lit = disc * (which == c["p0"][i]).to(x.dtype)
        hue = torch.stack(
            [
                (which >= 1).to(x.dtype),
                torch.where(which == 2, 0.05, torch.where(which == 1, 0.6, 1.0)),
                torch.where(which == 0, 0.5, 0.05),
            ]
        )
        albedo[:, i] = _mix(base[:, i], hue * 0.1, disc)
        glow[:, i] = hue * 2.2 * lit
    i = where(Material.CAR_BODY)
    if i.numel():
        a, m, g = _car_body(c, base, second, i, s.face, x, y, z, up)
        albedo[:, i], mirror[i], glow[:, i] = a * (1 + 0.15 * texture[i] * (cloud[i] - 0.5)), m, g
    i = where(Material.CAR_CABIN)
    if i.numel():
        share = up[i] / (2 * hy[i])
        edge = 1 - (u[i].abs() / wide[i])
        pillar = ((z[i] / hz[i] - 0.08).abs() < 0.04).to(x.dtype) * sideways[i]
        band = ((share > 0.08) & (share < 0.86)).to(x.dtype) * (edge > 0.1 + 0.12 * share).to(x.dtype)
        glass = band * (1 - pillar) * (~flat[i]).to(x.dtype)
        albedo[:, i] = _mix(base[:, i], _grey(base[:, i], 0.02, 0.024, 0.027), glass)
        mirror[i] = 0.05 + 0.3 * glass
    i = where(Material.COACH)
    if i.numel():
        deck = up[i] / (2 * hy[i]) * c["p0"][i]
        deck = deck - deck.floor()
        cell = u[i] / c["p1"][i]
        bar = ((cell - cell.floor() - 0.5).abs() < 0.46).to(x.dtype)
        ends = 1 - sideways[i]
        glass = (
            ((deck > 0.42) & (deck < 0.85)).to(x.dtype)
            * torch.maximum(bar, ends)
            * (u[i].abs() < wide[i] * 0.93).to(x.dtype)
        )
        glass = glass * (~flat[i]).to(x.dtype)
        stripe = (deck < 0.2).to(x.dtype)
        a = _mix(base[:, i], second[:, i], stripe)
        albedo[:, i] = _mix(a, _grey(a, 0.02, 0.024, 0.027), glass)
        mirror[i] = 0.04 + 0.3 * glass
        lamp = ((up[i] - 0.55).abs() < 0.12).to(x.dtype) * (x[i].abs() > hx[i] * 0.75).to(x.dtype) * ends
        back = (s.face[i] == 5).to(x.dtype)
        albedo[:, i] = _mix(
            albedo[:, i], torch.stack([0.7 + 0 * lamp, 0.65 * (1 - back) + 0.02, 0.6 * (1 - back) + 0.02]), lamp
        )
    return albedo.clamp(0.004, 0.97), mirror, glow


def _facade(
    c: dict[str, Tensor], base: Tensor, second: Tensor, i: Tensor, u: Tensor, up: Tensor, wide: Tensor, flat: Tensor,
    foot: Tensor, seed: Tensor, texture: Tensor, fine: Tensor, cloud: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A wall with a window grid, perhaps a shop front below and a cornice above."""
    storey, column, shop = c["p0"][i], c["p1"][i], (c["p2"][i] >= 1).to(u.dtype)
    share_u, share_v = c["p2"][i] - shop, c["p3"][i]
    u, up, foot, seed, wide = u[i] + wide[i], up[i] - 0.5, foot[i], seed[i], wide[i]
    tall = 2 * c["hy"][i] - 0.5
    # Whole cells only: stretch the grid to the wall.
    column = 2 * wide / (2 * wide / column).floor().clamp(min=1)
    cell_u, cell_v = u / column, up / storey
    iu, iv = cell_u.floor(), cell_v.floor()
    fu, fv = (cell_u - iu - 0.5) * column, (cell_v - iv - 0.5) * storey
    ground_floor = (iv < 1).to(u.dtype) * shop
    share_u = _mix(share_u, torch.full_like(share_u, 0.86), ground_floor)
    share_v = _mix(share_v, torch.full_like(share_v, 0.72), ground_floor)
    hash_ = lookup(iu * 31 + seed * 3, iv * 57 + seed, torch.zeros_like(u), grain=True)
    sill = coverage(fu, share_u * column + 0.2, foot) * coverage(fv, share_v * storey + 0.2, foot)
    glass = coverage(fu, share_u * column, foot) * coverage(fv, share_v * storey, foot)
    bar = coverage(fu, torch.full_like(u, 0.08), foot) * 0.8
    exists = ((iv + 1) * storey <= tall + 0.3).to(u.dtype) * ((hash_ > 0.08) | (shop > 0)).to(u.dtype)
    sill, glass = sill * exists, glass * exists
    streak = lookup(u * 25 + seed, up * 3, foot * 20, grain=False)
    plain = base[:, i] * (1 + texture[i] * (0.3 * (fine[i] - 0.5) + 0.6 * (cloud[i] - 0.5) + 0.4 * (streak - 0.5)))
    # Bricks: thin pale joints, visible close by.
    row = up / 0.075
    joint = coverage((row - row.floor() - 0.5) * 0.075, torch.full_like(u, 0.012), foot)
    plain = plain * (1 + 0.25 * joint * (base[0, i] > 1.8 * base[2, i]).to(u.dtype))
    curtain = (0.02 + 0.3 * (hash_ - 0.45).clamp(min=0) * 2) * torch.ones_like(plain)
    a = _mix(plain, second[:, i], (sill - glass * (1 - bar)).clamp(0, 1))
    a = _mix(a, curtain * _grey(plain, 0.9, 0.95, 1.0), glass * (1 - bar))
    sign = ground_floor * coverage(up - storey * 0.93, torch.full_like(u, 0.45), foot)
    hue = torch.stack([lookup(seed * k + iu * 0, seed, torch.zeros_like(u), grain=True) for k in (2.0, 3.1, 4.7)])
    a = _mix(a, (hue * hue * 1.2).clamp(0.01, 0.8), sign)
    cornice = ((tall - up) < 0.35).to(u.dtype)
    a = _mix(a, second[:, i] * 0.8, cornice * 0.7)
    top = flat[i].to(u.dtype)
    return _mix(a, plain * 0.6, top), glass * (1 - bar) * (1 - top) * (0.12 + 0.35 * hash_)


def _masonry(
    base: Tensor,
    u: Tensor,
    v: Tensor,
    foot: Tensor,
    seed: Tensor,
    course: Tensor,
    texture: Tensor,
    fine: Tensor,
    cloud: Tensor,
) -> Tensor:
    """Courses of stones or tiles of height ``course``, each with its own tone."""
    row = v / course
    iv = row.floor()
    brick = u / (2 * course) + 0.5 * (iv - 2 * (iv / 2).floor())
    iu = brick.floor()
    tone = lookup(iu * 41 + seed, iv * 29 + seed, torch.zeros_like(u), grain=True)
    near = (1 - foot / course).clamp(0, 1)
    joint = torch.maximum(
        coverage((row - iv - 0.5) * course - course / 2 * 0.98, 0.1 * course, foot),
        coverage((brick - iu - 0.5) * course * 2, 0.08 * course, foot),
    )
    return (
        base
        * (1 + texture * (0.6 * near * (tone - 0.5) + 0.3 * (fine - 0.5) + 0.6 * (cloud - 0.5)))
        * (1 - 0.3 * joint * near)
    )


def _sign(
    c: dict[str, Tensor], base: Tensor, second: Tensor, i: Tensor, x: Tensor, y: Tensor, foot: Tensor, seed: Tensor
) -> Tensor:
    """Traffic sign faces: rim, bar, or lines of lettering."""
    u, v = x[i] / c["hx"][i], y[i] / c["hy"][i]
    style, outline = c["p0"][i], c["p1"][i]
    r = (u * u + v * v).sqrt()
    edge = torch.where(
        outline == 1,
        r,
        torch.where(
            outline == 2, torch.maximum(u.abs() * 1.0 + (1 - v) / 2, v * 0.5 + 0.5), torch.maximum(u.abs(), v.abs())
        ),
    )
    rim = (edge > 0.78).to(u.dtype)
    mark = lookup(u * 9 + seed[i], v * 9 + seed[i], foot[i] / c["hx"][i] * 9, grain=False)
    symbol = ((mark > 0.56) & (u.abs() < 0.45) & (v.abs() < 0.45)).to(u.dtype)
    bar = ((v.abs() < 0.18) & (u.abs() < 0.7)).to(u.dtype)
    line = v * 2.5
    letters = lookup(u * 30 + seed[i] + line.floor() * 50, line.floor() * 17, foot[i] * 20, grain=True)
    text = (((line - line.floor() - 0.5).abs() < 0.22) & (letters > 0.48) & (u.abs() < 0.85)).to(u.dtype)
    frame = (torch.maximum(u.abs(), v.abs()) > 0.93).to(u.dtype)
    a, b = base[:, i], second[:, i]
    dark = _grey(a, 0.02, 0.02, 0.02)
    rimmed = _mix(_mix(a, b, rim), dark, symbol * (1 - rim))
    out = torch.where(
        style == 0,
        rimmed,
        torch.where(
            style == 1,
            _mix(a, b, bar),
            torch.where(style == 2, _mix(a, b, symbol), _mix(a, b, torch.maximum(text, frame))),
        ),
    )
    # The back of a sign is bare metal.
    back = (c["sin"][i] * 0 + (c["kind"][i] == float(Kind.BOX)).to(u.dtype) * 0).to(u.dtype)
    return _mix(out, _grey(a, 0.25, 0.25, 0.26), back)


def _car_body(
    c: dict[str, Tensor],
    base: Tensor,
    second: Tensor,
    i: Tensor,
    face: Tensor,
    x: Tensor,
    y: Tensor,
    z: Tensor,
    up: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Painted sheet metal with lamps, number plate, grille, sills and door gaps."""
    hx, hy, hz, f = c["hx"][i], c["hy"][i], c["hz"][i], face[i]
    u, share = x[i] / hx, up[i] / (2 * hy)
    rear, front, side = f == 5, f == 4, f <= 1
    ends = rear | front
    lamp_low = c["p1"][i]
    a = base[:, i]
    one = torch.ones_like(u)

    def flag(mask: Tensor) -> Tensor:
        return mask.to(u.dtype)

    a = _mix(a, _grey(a, 0.03, 0.03, 0.03), flag((share < 0.16) & (ends | side)) * 0.9)
    a = _mix(a, _grey(a, 0.02, 0.02, 0.022), flag(front & (u.abs() < 0.55) & (share > 0.3) & (share < 0.62)))
    gap = flag(side & ((z[i] / hz - 0.12).abs() < 0.008)) + flag(side & ((z[i] / hz + 0.28).abs() < 0.008))
    a = _mix(a, a * 0.3, gap.clamp(0, 1))
    a = _mix(a, _grey(a, 0.02, 0.02, 0.02), flag(side & (up[i] < 0.5) & ((z[i].abs() / hz - 0.62).abs() < 0.38 / hz)))
    shape = flag(ends & (u.abs() > 0.72) & (share > 0.45) & (share < 0.45 + lamp_low + 0.1))
    red, white = torch.stack([0.45 * one, 0.015 * one, 0.015 * one]), torch.stack([0.6 * one, 0.6 * one, 0.62 * one])
    a = _mix(a, torch.where(rear, red, white), shape)
    plate = flag(ends & (u.abs() < 0.3) & ((share - 0.4).abs() < 0.1))
    a = _mix(a, torch.stack([0.65 * one, 0.65 * one, torch.where(c["p2"][i] > 0.75, 0.1, 0.62)]), plate)
    lit = shape * torch.where(rear, c["p0"][i], c["p3"][i])
    glow = torch.where(rear, red * 2.5, white * 2.0) * lit
    return a, (0.06 + 0.08 * flag(f == 3)) * (1 - shape), glow
