"""How objects are painted: albedo, mirrored sky and lamps, by material."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from densemtl_core.data.street.blend import Points, colour_of
from densemtl_core.data.street.bodywork import car_body, car_cabin, coach, wheel
from densemtl_core.data.street.facades import facade, masonry
from densemtl_core.data.street.noise import lookup
from densemtl_core.data.street.scene import Kind, Material
from densemtl_core.data.street.sign_faces import sign, traffic_light
from densemtl_core.data.street.surfaces import Surface

__all__ = ["paint"]

_Paint = tuple[Tensor, Tensor | None, Tensor | None]


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
    sides = s.face <= 1
    flat = (s.face == 2) | (s.face == 3)
    round_ = (c["kind"] == float(Kind.CONE)) | (c["kind"] == float(Kind.ELLIPSOID))
    u = torch.where(sides, z, torch.where(round_, x + 0.61 * z, x))
    v = torch.where(flat, z, y)
    foot, seed = s.foot, c["seed"]

    fine = lookup(u * 60 + seed, v * 60 + seed * 0.37, foot * 60, grain=True)
    cloud = lookup(u * 11 + seed * 1.7, v * 11 + seed, foot * 11, grain=False)
    albedo = base * (1 + texture * (0.25 * (fine - 0.5) + 0.35 * (cloud - 0.5)))
    mirror = torch.zeros_like(x)
    glow = torch.zeros_like(albedo)
    columns = {
        **c, "base": base, "second": second, "x": x, "y": y, "z": z, "u": u, "v": v, "face": s.face, "foot": foot,
        "sideways": sides.to(x.dtype), "flat": flat.to(x.dtype), "wide": torch.where(sides, c["hz"], c["hx"]),
        "up": c["hy"] - y,  # height above the part's bottom
        "texture": texture, "fine": fine, "cloud": cloud,
    }  # fmt: skip
    for material in torch.unique(c["material"]).tolist():
        painter = _PAINTERS.get(Material(int(material)))
        if painter is not None:
            places = torch.nonzero(c["material"] == material).squeeze(1)
            a, m, g = painter(Points(columns, places))
            albedo.index_copy_(1, places, a)
            if m is not None:
                mirror.index_copy_(0, places, m)
            if g is not None:
                glow.index_copy_(1, places, g)
    return albedo.clamp(0.004, 0.97), mirror, glow


def _foliage(p: Points) -> _Paint:
    scale = p["p0"].clamp(min=1.0)
    u, v, foot, seed = p["u"], p["v"], p["foot"], p["seed"]
    leaf = lookup(u * 38 / scale + seed, v * 38 / scale, foot * 38 / scale, grain=True)
    clump = lookup(u * 30 / scale + seed, v * 30 / scale + seed, foot * 30 / scale, grain=False)
    rich = (0.5 + p["texture"]) * (1.6 * (clump - 0.5) + 1.0 * (leaf - 0.5))
    dark = 0.35 + 1.3 * (0.45 * leaf + 0.55 * clump) + rich
    return p["base"] * dark.clamp(0.15, 2.5), None, None


_PAINTERS: Mapping[Material, Callable[[Points], _Paint]] = {
    Material.FACADE: lambda p: (*facade(p), None),
    Material.FOLIAGE: _foliage,
    Material.MASONRY: lambda p: (masonry(p), None, None),
    Material.WHEEL: lambda p: (wheel(p), None, None),
    Material.SIGN: lambda p: (sign(p), None, None),
    Material.TRAFFIC_LIGHT: lambda p: _lamps(*traffic_light(p)),
    Material.CAR_BODY: car_body,
    Material.CAR_CABIN: lambda p: (*car_cabin(p), None),
    Material.COACH: lambda p: (*coach(p), None),
}


def _lamps(albedo: Tensor, glow: Tensor) -> _Paint:
    return albedo, None, glow
