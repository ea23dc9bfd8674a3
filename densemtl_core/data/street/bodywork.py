"""How vehicles are painted: sheet metal, glass, lamps, wheels."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.data.street.blend import Points, grey, mix
from densemtl_core.data.street.noise import lookup

__all__ = ["car_body", "car_cabin", "coach", "wheel"]

_GLASS = (0.02, 0.024, 0.027)


def wheel(p: Points) -> Tensor:
    """Albedo of a tyre around a hub."""
    x, y = p["x"] / p["hx"], p["y"] / p["hy"]
    r = (x * x + y * y).sqrt()
    hub = ((0.66 - r) * 12).clamp(0, 1) * (0.4 + 0.6 * ((r * 3 - (r * 3).floor()) > 0.25).to(r.dtype))
    return mix(p["base"], p["second"], hub)


def car_body(p: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Painted sheet metal with lamps, number plate, grille, sills and door gaps: albedo, mirrored sky, light."""
    hz, f, up, z = p["hz"], p["face"], p["up"], p["z"]
    u, share = p["x"] / p["hx"], up / (2 * p["hy"])
    rear, front, side = f == 5, f == 4, f <= 1
    ends = rear | front
    lamp_low = p["p1"]
    a = p["base"]
    one = torch.ones_like(u)

    def flag(mask: Tensor) -> Tensor:
        return mask.to(u.dtype)

    a = mix(a, grey(a, 0.03, 0.03, 0.03), flag((share < 0.16) & (ends | side)) * 0.9)
    a = mix(a, grey(a, 0.02, 0.02, 0.022), flag(front & (u.abs() < 0.55) & (share > 0.3) & (share < 0.62)))
    gap = flag(side & ((z / hz - 0.12).abs() < 0.008)) + flag(side & ((z / hz + 0.28).abs() < 0.008))
    a = mix(a, a * 0.3, gap.clamp(0, 1))
    arch = side & (up < 0.5) & ((z.abs() / hz - 0.62).abs() < 0.38 / hz)
    a = mix(a, grey(a, 0.02, 0.02, 0.02), flag(arch))
    shape = flag(ends & (u.abs() > 0.72) & (share > 0.45) & (share < 0.45 + lamp_low + 0.1))
    red, white = torch.stack([0.45 * one, 0.015 * one, 0.015 * one]), torch.stack([0.6 * one, 0.6 * one, 0.62 * one])
    a = mix(a, torch.where(rear, red, white), shape)
    plate = flag(ends & (u.abs() < 0.3) & ((share - 0.4).abs() < 0.1))
    a = mix(a, torch.stack([0.65 * one, 0.65 * one, torch.where(p["p2"] > 0.75, 0.1, 0.62)]), plate)
    lit = shape * torch.where(rear, p["p0"], p["p3"])
    glow = torch.where(rear, red * 2.5, white * 2.0) * lit
    mirror = (0.06 + 0.08 * flag(f == 3)) * (1 - shape)
    return a * (1 + 0.15 * p["texture"] * (p["cloud"] - 0.5)), mirror, glow


def car_cabin(p: Points) -> tuple[Tensor, Tensor]:
    """Windows between pillars: albedo, mirrored sky."""
    x, seed, base = p["x"], p["seed"], p["base"]
    share = p["up"] / (2 * p["hy"])
    edge = 1 - (p["u"].abs() / p["wide"])
    pillar = ((p["z"] / p["hz"] - 0.08).abs() < 0.04).to(x.dtype) * p["sideways"]
    band = ((share > 0.08) & (share < 0.86)).to(x.dtype) * (edge > 0.1 + 0.12 * share).to(x.dtype)
    glass = band * (1 - pillar) * (1 - p["flat"])
    shine = lookup(seed * 7, seed, None, grain=True)
    return mix(base, grey(base, *_GLASS), glass), 0.04 + 0.3 * shine * glass


def coach(p: Points) -> tuple[Tensor, Tensor]:
    """A bus or tram of one or two decks: albedo, mirrored sky."""
    x, u, up = p["x"], p["u"], p["up"]
    deck = up / (2 * p["hy"]) * p["p0"]
    deck = deck - deck.floor()
    cell = u / p["p1"]
    bar = ((cell - cell.floor() - 0.5).abs() < 0.46).to(x.dtype)
    ends = 1 - p["sideways"]
    band = ((deck > 0.42) & (deck < 0.85)).to(x.dtype)
    glass = band * torch.maximum(bar, ends) * (u.abs() < p["wide"] * 0.93).to(x.dtype) * (1 - p["flat"])
    a = mix(p["base"], p["second"], (deck < 0.2).to(x.dtype))
    a = mix(a, grey(a, *_GLASS), glass)
    lamp = ((up - 0.55).abs() < 0.12).to(x.dtype) * (x.abs() > p["hx"] * 0.75).to(x.dtype) * ends
    front = 1 - (p["face"] == 5).to(x.dtype)
    a = mix(a, torch.stack([0.7 + 0 * lamp, 0.65 * front + 0.02, 0.6 * front + 0.02]), lamp)
    return a, 0.04 + 0.15 * glass
