"""Buildings, walls, fences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from densemtl_core.data.street.colours import METAL, PLASTER
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.parts import part
from densemtl_core.data.street.scene import Kind, Material, Plate, Scene

__all__ = ["bridge", "building", "fence", "guard_rail", "wall"]


def building(
    scene: Scene,
    d: Draws,
    x: float,
    z: float,
    half: tuple[float, float],
    tall: float,
    y: float,
    yaw: float = 0.0,
    distant: bool = False,
) -> None:
    """A house or block with a window grid, perhaps with a pitched roof; ``half`` is half its extent in x and z."""
    scene.begin(distant=distant)
    colour, seed = d.jitter(d.pick(PLASTER), 0.25), d.uniform(0, 500)
    storey, window = d.uniform(2.7, 3.8), d.uniform(1.5, 3.8)
    # p2, p3: share of a cell that is glass, with the shop front as the integer part of p2.
    glassy = d.chance(0.12)
    share = (0.9, 0.8) if glassy else (d.uniform(0.3, 0.7), d.uniform(0.4, 0.65))
    trim = d.jitter(d.pick(((0.7, 0.7, 0.7), (0.1, 0.1, 0.1), (0.3, 0.2, 0.12), colour)), 0.2)
    at = (x, y, z)
    part(
        scene, Kind.BOX, "building", at, yaw, (0, 0), -0.5, tall, half, colour, material=Material.FACADE, second=trim,
        seed=seed, paint=(storey, window, share[0] + (1.0 if d.chance(0.4) else 0.0), share[1]),
    )  # fmt: skip
    roof = d.jitter(d.pick(((0.12, 0.12, 0.13), (0.28, 0.1, 0.06), (0.2, 0.13, 0.09))), 0.3)
    if tall < 14 and d.chance(0.6):
        rise = min(half) * d.uniform(0.5, 1.0)
        across = half[0] < half[1]
        slope = (half[0] / rise, 0.0, 0.0) if across else (0.0, half[1] / rise, half[1] / rise)
        # The planes lean by half/height: they meet in a ridge at the top.
        part(
            scene, Kind.BOX, "building", at, yaw, (0, 0), tall, tall + rise, half, roof, material=Material.MASONRY,
            shape=slope, seed=seed, paint=(0.3, 0.0, 0.0, 0.0),
        )  # fmt: skip
    elif d.chance(0.5):
        part(
            scene, Kind.BOX, "building", at, yaw, (d.uniform(-0.4, 0.4) * half[0], d.uniform(-0.4, 0.4) * half[1]),
            tall, tall + d.uniform(1, 3), (half[0] * 0.4, half[1] * 0.4), roof,
        )  # fmt: skip
    if d.chance(0.4):
        part(
            scene, Kind.BOX, "building", at, yaw, (half[0] * 0.5, half[1] * 0.6), tall, tall + d.uniform(1.5, 3.5),
            (0.4, 0.5), d.jitter((0.25, 0.12, 0.08), 0.3),
        )  # fmt: skip


def wall(scene: Scene, d: Draws, x: float, middles: Sequence[float], long: float, y: float, tall: float) -> None:
    """A free-standing wall along the road, in pieces of length ``long`` with the given middles (z)."""
    scene.begin()
    colour, seed, course = d.jitter(d.pick(PLASTER), 0.25), d.uniform(0, 500), d.uniform(0.2, 0.6)
    for z in middles:
        part(
            scene, Kind.BOX, "wall", (x, y, z), 0, (0, 0), -0.2, tall, (0.15, long / 2), colour,
            material=Material.MASONRY, seed=seed, paint=(course, 1.0, 0, 0),
        )  # fmt: skip


def fence(scene: Scene, d: Draws, x: float, z: float, long: float, y: float) -> None:
    """A picket fence or a railing along the road."""
    scene.begin()
    outline = d.pick((Plate.PICKETS, Plate.RAILING, Plate.RAILING))
    colour = d.pick(((0.7, 0.7, 0.7), (0.25, 0.16, 0.09), (0.03, 0.03, 0.03), (0.05, 0.12, 0.06), (0.3, 0.3, 0.3)))
    part(
        scene, Kind.PLATE, "fence", (x, y, z), math.pi / 2, (0, 0), 0, d.uniform(0.9, 2.0), (long / 2, 0.02),
        d.jitter(colour, 0.3), shape=(outline, d.uniform(0.12, 0.3), 0), seed=d.uniform(0, 500),
    )  # fmt: skip


def guard_rail(scene: Scene, d: Draws, x: float, middles: Sequence[float], long: float, y: float) -> None:
    """A steel rail on posts along the road, in pieces of length ``long`` with the given middles (z)."""
    scene.begin()
    colour, seed, tall = d.jitter((0.45, 0.46, 0.47), 0.3), d.uniform(0, 500), d.uniform(0.65, 0.9)
    for z in middles:
        at = (x, y, z)
        part(scene, Kind.BOX, "fence", at, 0, (0, 0), tall - 0.32, tall, (0.03, long / 2), colour, seed=seed)
        part(
            scene, Kind.PLATE, "fence", at, math.pi / 2, (0, 0), 0, tall, (long / 2, 0.02), colour, seed=seed,
            shape=(Plate.GUARD_RAIL, 2.0, 0),
        )  # fmt: skip


def bridge(scene: Scene, d: Draws, x: float, z: float, half: float) -> None:
    """An overpass across the road; its class is unlabelled, as Cityscapes' bridges are in training.

    Args:
        scene: where to.
        d: random numbers.
        x: middle of the road.
        z: middle of the bridge.
        half: half of the clear width between its piers.
    """
    scene.begin()
    low, deck, wide = d.uniform(4.8, 6.5), d.uniform(0.8, 1.6), d.uniform(4, 9)
    stone = d.jitter(d.pick(((0.4, 0.39, 0.36), (0.28, 0.27, 0.26), (0.25, 0.13, 0.09))), 0.3)
    at, seed, paint = (x, 0.0, z), d.uniform(0, 500), (d.uniform(0.5, 1.5), 0.0, 0.0, 0.0)
    for offset, bottom, top, size in (
        (0.0, low, low + deck, (120.0, wide)),
        (-half - 0.8, -0.5, low, (0.8, wide * 0.9)),
        (half + 0.8, -0.5, low, (0.8, wide * 0.9)),
    ):
        part(
            scene, Kind.BOX, "unlabelled", at, 0, (offset, 0), bottom, top, size, stone, material=Material.MASONRY,
            seed=seed, paint=paint,
        )  # fmt: skip
    scene.begin()
    top = low + deck
    for end in (-1, 1):
        part(
            scene, Kind.PLATE, "fence", (x, 0, z), 0, (0, end * (wide - 0.2)), top, top + 1.1, (120, 0.02),
            d.jitter(METAL, 0.4), shape=(Plate.RAILING, 0.4, 0),
        )  # fmt: skip
