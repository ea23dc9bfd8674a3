"""How traffic signs and signals are painted."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.data.street.blend import Points, grey, mix
from densemtl_core.data.street.noise import lookup
from densemtl_core.data.street.scene import Plate, SignFace

__all__ = ["sign", "traffic_light"]


def sign(p: Points) -> Tensor:
    """Albedo of traffic sign faces: rim, bar, or lines of lettering."""
    u, v, seed, foot = p["x"] / p["hx"], p["y"] / p["hy"], p["seed"], p["foot"]
    face, outline = p["p0"], p["p1"]
    wedge = torch.maximum(u.abs() + (1 - v) / 2, (1 + v) / 2)
    r = (u * u + v * v).sqrt()
    square = torch.maximum(u.abs(), v.abs())
    edge = torch.where(outline == Plate.DISC, r, torch.where(outline == Plate.TRIANGLE, wedge, square))
    rim = (edge > 0.78).to(u.dtype)
    mark = lookup(u * 9 + seed, v * 9 + seed, foot / p["hx"] * 9, grain=False)
    symbol = ((mark > 0.56) & (u.abs() < 0.45) & (v.abs() < 0.45)).to(u.dtype)
    bar = ((v.abs() < 0.18) & (u.abs() < 0.7)).to(u.dtype)
    line = v * 2.5
    letters = lookup(u * 30 + seed + line.floor() * 50, line.floor() * 17, foot * 20, grain=True)
    text = ((line - line.floor() - 0.5).abs() < 0.22) & (letters > 0.48) & (u.abs() < 0.85)
    lettering = (text | (square > 0.93)).to(u.dtype)
    a, b = p["base"], p["second"]
    out = mix(mix(a, b, rim), grey(a, 0.02, 0.02, 0.02), symbol * (1 - rim))
    out = torch.where(face == SignFace.BAR, mix(a, b, bar), out)
    out = torch.where(face == SignFace.SYMBOL, mix(a, b, symbol), out)
    return torch.where(face == SignFace.LETTERING, mix(a, b, lettering), out)


def traffic_light(p: Points) -> tuple[Tensor, Tensor]:
    """Albedo and emitted light of a signal with three lamps, one of them lit."""
    x, hy = p["x"], p["hy"]
    front = (p["face"] == 5).to(x.dtype)
    lamp = (p["up"] / (2 * hy) * 3).clamp(0, 2.999)
    which = lamp.floor()  # 0 bottom (green), 1 amber, 2 red
    dv, du = (lamp - which - 0.5) * 2 * hy / 3, x
    disc = ((0.1 - (du * du + dv * dv).sqrt()) * 40).clamp(0, 1) * front
    lit = disc * (which == p["p0"]).to(x.dtype)
    red = (which >= 1).to(x.dtype)
    green = torch.where(which == 2, 0.05, torch.where(which == 1, 0.6, 1.0))
    hue = torch.stack([red, green, torch.where(which == 0, 0.5, 0.05)])
    return mix(p["base"], hue * 0.1, disc), hue * 2.2 * lit
