"""Trees, bushes, and the far green of the backdrop."""

from __future__ import annotations

import math
from collections.abc import Sequence

from densemtl_core.data.street.colours import LEAVES
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.parts import part
from densemtl_core.data.street.scene import Colour, Kind, Material, Plate, Scene

__all__ = ["bush", "embankment", "hedge", "hill", "tree", "tree_line"]


def tree(scene: Scene, d: Draws, x: float, z: float, y: float, leaves: Colour, tall: float) -> None:
    """A broad-leaved tree, a poplar, a conifer, or a bare one."""
    scene.begin()
    bark = d.jitter((0.1, 0.075, 0.05), 0.4)
    at, colour, seed = (x, y, z), d.jitter(leaves, 0.3), d.uniform(0, 500)
    thick, crown = tall * d.uniform(0.015, 0.03) + 0.04, tall * d.uniform(0.15, 0.4)
    name, form, ball = "vegetation", d.uniform(), Kind.ELLIPSOID
    leafy = Material.FOLIAGE
    part(scene, Kind.CONE, name, at, 0, (0, 0), -0.1, tall * 0.75, (thick, thick), bark, shape=(0.45, 0, 0), seed=seed)
    if form < 0.12:  # conifer
        spread = tall * d.uniform(0.13, 0.22)
        for i in range(4):
            low, r = crown * 0.5 + (tall - crown * 0.5) * i / 4, spread * (1 - i / 4.6)
            part(
                scene, Kind.CONE, name, at, 0, (0, 0), low, low + tall * 0.34, (r, r), colour, shape=(0.05, 0, 0),
                material=leafy, seed=seed,
            )  # fmt: skip
        return
    if form < 0.2:  # poplar
        half = (tall * 0.13, tall * 0.13)
        part(
            scene, ball, name, at, 0, (0, 0), crown * 0.6, tall, half, colour, shape=(0.5, 0, 0), material=leafy,
            seed=seed,
        )  # fmt: skip
        return
    if form < 0.32:  # bare branches, and the haze of twigs around them
        for _ in range(9):
            # Upright ones close to the trunk, like a broom: farther out they would hang in the air.
            a, r, low = d.uniform(0, 6.28), thick * d.uniform(0.4, 2.2), tall * d.uniform(0.3, 0.5)
            high, half = low + tall * d.uniform(0.2, 0.45), (thick * 0.4, thick * 0.4)
            part(
                scene, Kind.CONE, name, at, 0, (r * math.cos(a), r * math.sin(a)), low, high, half, bark,
                shape=(0.2, 0, 0),
            )  # fmt: skip
        half = (tall * 0.25, tall * 0.25)
        part(
            scene, ball, name, at, 0, (0, 0), crown, tall, half, bark, shape=(1.75, 0, 0), material=leafy, seed=seed,
        )  # fmt: skip
        return
    radius = tall * d.uniform(0.2, 0.34)
    for i in range(d.integer(4, 7)):
        a, r = d.uniform(0, 6.28), radius * (0.0 if i == 0 else d.uniform(0.3, 0.75))
        size = radius * (0.85 if i == 0 else d.uniform(0.4, 0.7))
        middle = crown + (tall - crown) * (0.55 if i == 0 else d.uniform(0.25, 0.8))
        flat = d.uniform(0.7, 1.1)
        part(
            scene, Kind.ELLIPSOID, name, at, 0, (r * math.cos(a), r * math.sin(a)), middle - size * flat,
            middle + size * flat, (size, size), d.jitter(colour, 0.15), shape=(d.uniform(0.35, 0.7), 0, 0),
            material=Material.FOLIAGE, seed=seed + 37 * i,
        )  # fmt: skip


def bush(scene: Scene, d: Draws, x: float, z: float, y: float, leaves: Colour, size: float) -> None:
    """A shrub of a few overlapping balls."""
    scene.begin()
    for _ in range(d.integer(1, 4)):
        r = size * d.uniform(0.5, 1.0)
        part(
            scene, Kind.ELLIPSOID, "vegetation", (x, y, z), 0, (d.uniform(-size, size), d.uniform(-size, size)),
            -0.3 * r, 1.3 * r, (r, r), d.jitter(leaves, 0.3), shape=(d.uniform(0.2, 0.5), 0, 0),
            material=Material.FOLIAGE, seed=d.uniform(0, 500),
        )  # fmt: skip


def tree_line(scene: Scene, d: Draws, x: float, z: float, half: float, tall: float, yaw: float, leaves: Colour) -> None:
    """A far row of trees as one ragged plate of the backdrop."""
    scene.begin(distant=True)
    part(
        scene, Kind.PLATE, "vegetation", (x, 0.0, z), yaw, (0, 0), -3, tall, (half, 0.1), d.jitter(leaves, 0.2),
        shape=(Plate.RAGGED, 1, 0), material=Material.FOLIAGE, seed=d.uniform(0, 500), paint=(4.0, 0, 0, 0),
    )  # fmt: skip


def hill(scene: Scene, d: Draws, x: float, z: float, half: float, tall: float) -> None:
    """A far hill of the backdrop, wooded or grassy."""
    scene.begin(distant=True)
    wooded = d.chance(0.6)
    colour = d.jitter(d.pick(LEAVES) if wooded else (0.2, 0.2, 0.09), 0.3)
    part(
        scene, Kind.ELLIPSOID, "vegetation" if wooded else "terrain", (x, 0.0, z), 0, (0, 0), -tall, tall,
        (half, half * 0.4), colour, material=Material.FOLIAGE, seed=d.uniform(0, 500), paint=(20.0, 0, 0, 0),
    )  # fmt: skip


def embankment(
    scene: Scene, d: Draws, x: float, middles: Sequence[float], long: float, side: int, colour: Colour
) -> None:
    """A grassy slope that begins at ``x`` and rises away from the road (``side`` +1: to the right), in pieces."""
    scene.begin()
    tall, slope, seed, tone = d.uniform(1.2, 5), d.uniform(1.2, 3), d.uniform(0, 500), d.jitter(colour, 0.2)
    for z in middles:
        part(
            scene, Kind.BOX, "terrain", (x + side * 20, 0, z), 0, (0, 0), 0.0, tall, (20.0, long / 2), tone,
            shape=(slope, 0, 0), material=Material.FOLIAGE, seed=seed, paint=(3.0, 0, 0, 0),
        )  # fmt: skip


def hedge(scene: Scene, d: Draws, x: float, z: float, long: float, y: float, leaves: Colour) -> None:
    """A clipped hedge along the road."""
    scene.begin()
    part(
        scene, Kind.BOX, "vegetation", (x, y, z), 0, (0, 0), -0.1, d.uniform(0.8, 2.5), (0.4, long / 2),
        d.jitter(leaves, 0.3), shape=(d.uniform(0, 0.1), 0, 0), material=Material.FOLIAGE, seed=d.uniform(0, 500),
    )  # fmt: skip
