"""How walls are painted: window grids, shop fronts, stones and tiles."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.data.street.blend import Points, grey, mix
from densemtl_core.data.street.ground import coverage
from densemtl_core.data.street.noise import lookup

__all__ = ["facade", "masonry"]


def facade(p: Points) -> tuple[Tensor, Tensor]:
    """A wall with a window grid, perhaps a shop front below and a cornice above: albedo, mirrored sky."""
    storey, column, base, second, wide = p["p0"], p["p1"], p["base"], p["second"], p["wide"]
    u, up, foot, seed = p["u"] + wide, p["up"] - 0.5, p["foot"], p["seed"]
    shop = (p["p2"] >= 1).to(u.dtype)
    share_u, share_v = p["p2"] - shop, p["p3"]
    tall = 2 * p["hy"] - 0.5
    # Whole cells only: stretch the grid to the wall.
    column = 2 * wide / (2 * wide / column).floor().clamp(min=1)
    cell_u, cell_v = u / column, up / storey
    iu, iv = cell_u.floor(), cell_v.floor()
    fu, fv = (cell_u - iu - 0.5) * column, (cell_v - iv - 0.5) * storey
    ground_floor = (iv < 1).to(u.dtype) * shop
    share_u = mix(share_u, torch.full_like(share_u, 0.86), ground_floor)
    share_v = mix(share_v, torch.full_like(share_v, 0.72), ground_floor)
    hash_ = lookup(iu * 31 + seed * 3, iv * 57 + seed, None, grain=True)
    sill = coverage(fu, share_u * column + 0.2, foot) * coverage(fv, share_v * storey + 0.2, foot)
    glass = coverage(fu, share_u * column, foot) * coverage(fv, share_v * storey, foot)
    bar = coverage(fu, torch.full_like(u, 0.08), foot) * 0.8
    exists = ((iv + 1) * storey <= tall + 0.3).to(u.dtype) * ((hash_ > 0.08) | (shop > 0)).to(u.dtype)
    sill, glass = sill * exists, glass * exists
    streak = lookup(u * 25 + seed, up * 3, foot * 20, grain=False)
    stains = 0.3 * (p["fine"] - 0.5) + 0.6 * (p["cloud"] - 0.5) + 0.4 * (streak - 0.5)
    plain = base * (1 + p["texture"] * stains)
    # Bricks: thin pale joints, visible close by.
    row = up / 0.075
    joint = coverage((row - row.floor() - 0.5) * 0.075, torch.full_like(u, 0.012), foot)
    plain = plain * (1 + 0.25 * joint * (base[0] > 1.8 * base[2]).to(u.dtype))
    curtain = (0.02 + 0.3 * (hash_ - 0.45).clamp(min=0) * 2) * torch.ones_like(plain)
    a = mix(plain, second, (sill - glass * (1 - bar)).clamp(0, 1))
    a = mix(a, curtain * grey(plain, 0.9, 0.95, 1.0), glass * (1 - bar))
    sign = ground_floor * coverage(up - storey * 0.93, torch.full_like(u, 0.45), foot)
    hue = torch.stack([lookup(seed * k, seed, None, grain=True) for k in (2.0, 3.1, 4.7)])
    a = mix(a, (hue * hue * 1.2).clamp(0.01, 0.8), sign)
    cornice = ((tall - up) < 0.35).to(u.dtype)
    a = mix(a, second * 0.8, cornice * 0.7)
    top = p["flat"]
    return mix(a, plain * 0.6, top), glass * (1 - bar) * (1 - top) * (0.12 + 0.35 * hash_)


def masonry(p: Points) -> Tensor:
    """Albedo of courses of stones or tiles (height: the first number of the paint), each with its own tone."""
    course, foot, seed = p["p0"], p["foot"], p["seed"]
    row = p["v"] / course
    iv = row.floor()
    brick = p["u"] / (2 * course) + 0.5 * (iv - 2 * (iv / 2).floor())
    iu = brick.floor()
    tone = lookup(iu * 41 + seed, iv * 29 + seed, None, grain=True)
    near = (1 - foot / course).clamp(0, 1)
    joint = torch.maximum(
        coverage((row - iv - 0.5) * course - course / 2 * 0.98, 0.1 * course, foot),
        coverage((brick - iu - 0.5) * course * 2, 0.08 * course, foot),
    )
    stains = 0.6 * near * (tone - 0.5) + 0.3 * (p["fine"] - 0.5) + 0.6 * (p["cloud"] - 0.5)
    return p["base"] * (1 + p["texture"] * stains) * (1 - 0.3 * joint * near)
