"""How objects are painted: albedo, mirrored sky and lamps, by material."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.data.street.blend import colour_of, grey, mix
from densemtl_core.data.street.facades import facade, masonry
from densemtl_core.data.street.noise import lookup
from densemtl_core.data.street.scene import Kind, Material, Plate, SignFace
from densemtl_core.data.street.surfaces import Surface

__all__ = ["paint"]


def paint(s: Surface, texture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Albedo of surfaces, and what they give besides diffuse light.

    Args:
        s: the surfaces.
        texture: ``(P,)`` strength of the textures.

    Returns:
        ``(3, P)`` linear albedo, ``(P,)`` share of mirrored sky, ``(3, P)`` emitted light.
    """
    c = s.column
    base, second = colour_of(c, ("r", "g", "b")), colour_of(c, ("r2", "g2b", "b2"))
    x, y, z = s.point.unbind(0)
    hx, hy, hz = c["hx"], c["hy"], c["hz"]
    sideways = (s.face <= 1).to(x.dtype)
    flat = (s.face == 2) | (s.face == 3)
    round_ = (c["kind"] == float(Kind.CONE)) | (c["kind"] == float(Kind.ELLIPSOID))
    u = torch.where(s.face <= 1, z, torch.where(round_, x + 0.61 * z, x))
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
        a, m = facade(c, base, second, i, u, up, wide, flat, foot, seed, texture, fine, cloud)
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
        albedo[:, i] = masonry(base[:, i], u[i], v[i], foot[i], seed[i], c["p0"][i], texture[i], fine[i], cloud[i])
    i = where(Material.WHEEL)
    if i.numel():
        r = ((x[i] / hx[i]) * (x[i] / hx[i]) + (y[i] / hy[i]) * (y[i] / hy[i])).sqrt()
        hub = ((0.66 - r) * 12).clamp(0, 1) * (0.4 + 0.6 * ((r * 3 - (r * 3).floor()) > 0.25).to(r.dtype))
        albedo[:, i] = mix(base[:, i], second[:, i], hub)
    i = where(Material.SIGN)
    if i.numel():
        albedo[:, i] = sign(c, base, second, i, x, y, foot, seed)
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
        albedo[:, i] = mix(base[:, i], hue * 0.1, disc)
        glow[:, i] = hue * 2.2 * lit
    i = where(Material.CAR_BODY)
    if i.numel():
        a, m, g = car_body(c, base, second, i, s.face, x, y, z, up)
        albedo[:, i], mirror[i], glow[:, i] = a * (1 + 0.15 * texture[i] * (cloud[i] - 0.5)), m, g
    i = where(Material.CAR_CABIN)
    if i.numel():
        share = up[i] / (2 * hy[i])
        edge = 1 - (u[i].abs() / wide[i])
        pillar = ((z[i] / hz[i] - 0.08).abs() < 0.04).to(x.dtype) * sideways[i]
        band = ((share > 0.08) & (share < 0.86)).to(x.dtype) * (edge > 0.1 + 0.12 * share).to(x.dtype)
        glass = band * (1 - pillar) * (~flat[i]).to(x.dtype)
        albedo[:, i] = mix(base[:, i], grey(base[:, i], 0.02, 0.024, 0.027), glass)
        shine = lookup(seed[i] * 7, seed[i], torch.zeros_like(seed[i]), grain=True)
        mirror[i] = 0.04 + 0.3 * shine * glass
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
        a = mix(base[:, i], second[:, i], stripe)
        albedo[:, i] = mix(a, grey(a, 0.02, 0.024, 0.027), glass)
        mirror[i] = 0.04 + 0.15 * glass
        lamp = ((up[i] - 0.55).abs() < 0.12).to(x.dtype) * (x[i].abs() > hx[i] * 0.75).to(x.dtype) * ends
        back = (s.face[i] == 5).to(x.dtype)
        albedo[:, i] = mix(
            albedo[:, i], torch.stack([0.7 + 0 * lamp, 0.65 * (1 - back) + 0.02, 0.6 * (1 - back) + 0.02]), lamp
        )
    return albedo.clamp(0.004, 0.97), mirror, glow


def sign(
    c: dict[str, Tensor], base: Tensor, second: Tensor, i: Tensor, x: Tensor, y: Tensor, foot: Tensor, seed: Tensor
) -> Tensor:
    """Traffic sign faces: rim, bar, or lines of lettering."""
    u, v = x[i] / c["hx"][i], y[i] / c["hy"][i]
    face, outline = c["p0"][i], c["p1"][i]
    wedge = torch.maximum(u.abs() + (1 - v) / 2, (1 + v) / 2)
    r = (u * u + v * v).sqrt()
    square = torch.maximum(u.abs(), v.abs())
    edge = torch.where(outline == Plate.DISC, r, torch.where(outline == Plate.TRIANGLE, wedge, square))
    rim = (edge > 0.78).to(u.dtype)
    mark = lookup(u * 9 + seed[i], v * 9 + seed[i], foot[i] / c["hx"][i] * 9, grain=False)
    symbol = ((mark > 0.56) & (u.abs() < 0.45) & (v.abs() < 0.45)).to(u.dtype)
    bar = ((v.abs() < 0.18) & (u.abs() < 0.7)).to(u.dtype)
    line = v * 2.5
    letters = lookup(u * 30 + seed[i] + line.floor() * 50, line.floor() * 17, foot[i] * 20, grain=True)
    text = ((line - line.floor() - 0.5).abs() < 0.22) & (letters > 0.48) & (u.abs() < 0.85)
    lettering = (text | (square > 0.93)).to(u.dtype)
    a, b = base[:, i], second[:, i]
    out = mix(mix(a, b, rim), grey(a, 0.02, 0.02, 0.02), symbol * (1 - rim))
    out = torch.where(face == SignFace.BAR, mix(a, b, bar), out)
    out = torch.where(face == SignFace.SYMBOL, mix(a, b, symbol), out)
    return torch.where(face == SignFace.LETTERING, mix(a, b, lettering), out)


def car_body(
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

    a = mix(a, grey(a, 0.03, 0.03, 0.03), flag((share < 0.16) & (ends | side)) * 0.9)
    a = mix(a, grey(a, 0.02, 0.02, 0.022), flag(front & (u.abs() < 0.55) & (share > 0.3) & (share < 0.62)))
    gap = flag(side & ((z[i] / hz - 0.12).abs() < 0.008)) + flag(side & ((z[i] / hz + 0.28).abs() < 0.008))
    a = mix(a, a * 0.3, gap.clamp(0, 1))
    a = mix(a, grey(a, 0.02, 0.02, 0.02), flag(side & (up[i] < 0.5) & ((z[i].abs() / hz - 0.62).abs() < 0.38 / hz)))
    shape = flag(ends & (u.abs() > 0.72) & (share > 0.45) & (share < 0.45 + lamp_low + 0.1))
    red, white = torch.stack([0.45 * one, 0.015 * one, 0.015 * one]), torch.stack([0.6 * one, 0.6 * one, 0.62 * one])
    a = mix(a, torch.where(rear, red, white), shape)
    plate = flag(ends & (u.abs() < 0.3) & ((share - 0.4).abs() < 0.1))
    a = mix(a, torch.stack([0.65 * one, 0.65 * one, torch.where(c["p2"][i] > 0.75, 0.1, 0.62)]), plate)
    lit = shape * torch.where(rear, c["p0"][i], c["p3"][i])
    glow = torch.where(rear, red * 2.5, white * 2.0) * lit
    return a, (0.06 + 0.08 * flag(f == 3)) * (1 - shape), glow
