"""The ground: road, kerbs, sidewalks and verges of a straight road, intersected and painted analytically."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.street.intersect import NEAR
from densemtl_core.data.street.noise import lookup

__all__ = ["GroundHits", "coverage", "intersect_ground", "paint_ground"]

FAR = 2000.0
"""Ground farther than this is taken for sky, metres."""


@dataclass(frozen=True)
class GroundHits:
    """What the rays meet when nothing stands in their way; every tensor ``(B, H, W)``.

    Attributes:
        t: depth in metres, inf where the ray misses the ground.
        normal_x: x of the world normal: +-1 on kerb faces.
        x: world x of the hit.
        z: world z of the hit relative to the camera.
        kerb: whether the hit is on a kerb face.
    """

    t: Tensor
    normal_x: Tensor
    x: Tensor
    z: Tensor
    kerb: Tensor

    def lines(self, some: slice) -> GroundHits:
        """The hits of some of the picture's lines."""
        return GroundHits(*(values[:, some] for values in (self.t, self.normal_x, self.x, self.z, self.kerb)))


def _safe(value: Tensor) -> Tensor:
    return torch.where(value.abs() < 1e-9, torch.full_like(value, 1e-9), value)


def intersect_ground(ground: dict[str, Tensor], origin: tuple[Tensor, Tensor], direction: Tensor) -> GroundHits:
    """Meet the road plane, the raised planes beside it, or the kerb faces between them.

    Args:
        ground: stacked `Ground`.
        origin: camera x and camera height, ``(B, 1, 1)`` each.
        direction: ``(B, 3, H, W)`` world directions.
    """
    dx, dy, dz = direction.unbind(1)
    x0, height = origin
    down = dy > 1e-7
    inf = torch.full_like(dy, torch.inf)
    high = torch.where(down, (height - ground["kerb"]) / _safe(dy), inf)
    x_high = x0 + torch.where(down, high, 0.0) * dx
    beside = (x_high < ground["left"]) | (x_high > ground["right"])
    low = torch.where(down, height / _safe(dy), inf)
    x_low = x0 + torch.where(down, low, 0.0) * dx
    on_road = (x_low >= ground["left"]) & (x_low <= ground["right"])
    wall = torch.where(x_low < ground["left"], ground["left"], ground["right"])
    at_wall = (wall - x0) / _safe(dx)
    kerb = down & ~beside & ~on_road
    t = torch.where(beside, high, torch.where(on_road, low, at_wall))
    t = torch.where(down & (t < FAR) & (t > NEAR), t, inf)
    safe = torch.where(t < FAR, t, 0.0)
    normal_x = torch.where(kerb, torch.where(dx < 0, 1.0, -1.0), 0.0)
    return GroundHits(t, normal_x, x0 + safe * dx, safe * dz, kerb)


def coverage(distance: Tensor, width: Tensor, footprint: Tensor) -> Tensor:
    """Share of a pixel covered by a stripe: box-filtered, so that far stripes fade instead of flickering."""
    return (torch.minimum((width + footprint) / 2 - distance.abs(), torch.minimum(width, footprint)) / footprint).clamp(
        0, 1
    )


def paint_ground(
    ground: dict[str, Tensor], texture: Tensor, hits: GroundHits, driven: Tensor, focal: Tensor, height: Tensor
) -> tuple[Tensor, Tensor]:
    """Class and albedo of the ground.

    Args:
        ground: stacked `Ground`.
        texture: ``(B, 1, 1)`` strength of the textures.
        hits: the hits.
        driven: ``(B, 1, 1)`` metres driven, so that textures stay where they are.
        focal: ``(B, 1, 1)`` focal length in pixels.
        height: ``(B, 1, 1)`` camera height.

    Returns:
        ``(B, H, W)`` int64 class ids and ``(B, 3, H, W)`` linear albedo.
    """
    x, z = hits.x, hits.z + driven
    t = torch.where(hits.t < torch.inf, hits.t, FAR)
    foot = t / focal  # metres across a pixel
    slant = foot * (1 + t / height)  # and along it
    mean = (foot * slant).sqrt()

    beyond = torch.maximum(ground["left"] - x, x - ground["right"])
    verge = torch.where(x < 0, ground["verge_left"], ground["verge_right"])
    walk = torch.where(x < 0, ground["walk_left"], ground["walk_right"])
    road = (beyond <= 0) & ~hits.kerb
    paved = (beyond > verge) & ((beyond <= verge + walk) | (ground["paved"] > 0))
    grass = ~road & ~paved & ~hits.kerb
    city = ground["kerb"] > 0.03

    cloudy = lookup(x * 7 + 40, z * 7, mean * 7, grain=False)
    broad = lookup(x * 29 + 11, z * 5, mean * 12, grain=False)
    grain = lookup(x * 90, z * 90, mean * 90, grain=True)
    k = texture

    tone = 1 + k * (0.5 * (cloudy - 0.5) + 0.35 * (broad - 0.5) + 0.5 * (grain - 0.5))
    patch = lookup(x * 14 + 200, z * 4 + 77, mean * 6, grain=False)
    patched = ((patch - 0.72 + 0.2 * ground["patches"]) * 40).clamp(0, 1) * ground["patches"]
    asphalt = (tone * (1 - 0.5 * patched))[:, None] * ground["road_colour"]

    paint = torch.zeros_like(x)
    yellow = torch.zeros_like(x)
    phase = z / ground["dash"]
    phase = (phase - phase.floor()) * ground["dash"] - ground["dash"] / 4
    dash = coverage(phase, ground["dash"] / 2, slant)
    for i in range(ground["line_x"].shape[1]):
        line = coverage(x - ground["line_x"][:, i], ground["line_width"], foot)
        line = line * torch.where(ground["line_solid"][:, i] > 0, torch.ones_like(dash), dash)
        paint, yellow = torch.maximum(paint, line), torch.maximum(yellow, line * ground["line_yellow"][:, i])
    stripe = x - (x).floor() - 0.5
    zebra = coverage(z - ground["crossing"], torch.full_like(foot, 3.0), slant) * coverage(
        stripe, torch.full_like(foot, 0.5), foot
    )
    inside = ((beyond + 0.3) < 0).to(zebra.dtype)
    paint = torch.maximum(paint, zebra * inside)
    paint = paint * (1 - ground["wear"] * (grain * 0.5 + cloudy * 0.9)).clamp(0, 1)
    hue = torch.stack([torch.ones_like(yellow), 1 - 0.3 * yellow, 1 - 0.9 * yellow], 1)
    asphalt = asphalt * (1 - paint[:, None]) + ground["paint_colour"] * hue * paint[:, None]

    slab = ground["slab"]
    seam_x, seam_z = x / slab, z / slab
    seam = torch.maximum(
        coverage((seam_x - seam_x.floor() - 0.5) * slab, torch.full_like(foot, 0.02), foot),
        coverage((seam_z - seam_z.floor() - 0.5) * slab, torch.full_like(foot, 0.02), slant),
    )
    slab_tone = lookup((seam_x + 0.5).floor() * 37, (seam_z + 0.5).floor() * 53, None, grain=True)
    near = (1 - slant / slab).clamp(0, 1)
    tone_walk = (1 + k * (0.45 * (cloudy - 0.5) + 0.5 * (grain - 0.5) + 0.5 * near * (slab_tone - 0.5))) * (
        1 - 0.4 * seam
    )
    paving = tone_walk[:, None] * ground["walk_colour"]

    blade = lookup(x * 40, z * 23, mean * 30, grain=True)
    tuft = lookup(x * 12 + 99, z * 12, mean * 12, grain=False)
    bare = ((tuft - 0.75 + 0.6 * ground["bare"]) * 5).clamp(0, 1)
    turf = (1 + (0.3 + k) * (0.8 * (blade - 0.5) + 1.0 * (cloudy - 0.5)))[:, None] * (
        ground["grass_colour"] * (1 - bare[:, None]) + ground["soil_colour"] * bare[:, None]
    )
    kerb_stone = ground["walk_colour"] * 0.9 * (1 + k * (grain - 0.5))[:, None]

    albedo = torch.where(road[:, None], asphalt, torch.where(paved[:, None], paving, turf))
    albedo = torch.where(hits.kerb[:, None] | ((beyond > 0) & (beyond < 0.13) & city)[:, None], kerb_stone, albedo)
    ids = [CITYSCAPES_19.id(n) for n in ("road", "sidewalk", "terrain")]
    label = torch.where(road, ids[0], torch.where(grass, ids[2], ids[1]))
    # Where no sidewalk begins at the kerb, its face belongs to the verge only in the country.
    label = torch.where(hits.kerb & ~city, ids[2], label)
    return label, albedo.clamp(0.005, 0.95)
