"""People, and what they ride."""

from __future__ import annotations

import math

from densemtl_core.data.street.colours import CAR_COLOURS, CLOTHES, DARK, METAL, SKIN
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.parts import part
from densemtl_core.data.street.scene import Kind, Material, Plate, Scene

__all__ = ["bicycle", "person", "rider"]


def _figure(
    scene: Scene, d: Draws, name: str, at: tuple[float, float, float], yaw: float, tall: float, step: float
) -> None:
    """Legs, torso, arms and head of a person of height ``tall``; ``step`` spreads the feet along the walk."""
    top, trousers = d.jitter(d.pick(CLOTHES), 0.3), d.jitter(d.pick(CLOTHES), 0.3)
    skin, hair, seed = d.jitter(d.pick(SKIN), 0.2), d.pick(CLOTHES[:3]), d.uniform(0, 500)
    k, wide = tall / 1.75, d.uniform(0.9, 1.2)
    shape = Kind.ELLIPSOID
    for side in (-1, 1):
        leg, arm = (side * 0.095 * k, side * step), (side * 0.23 * k * wide, -side * step)
        part(scene, shape, name, at, yaw, leg, -0.08, 0.98 * k, (0.085 * wide, 0.1), trousers, seed=seed)
        part(scene, shape, name, at, yaw, arm, 0.72 * k, 1.47 * k, (0.062, 0.085), top, seed=seed)
    low = d.pick((0.82, 0.82, 0.5)) * k  # some wear a coat
    part(scene, shape, name, at, yaw, (0, 0), low, 1.5 * k, (0.2 * wide * k, 0.14 * wide), top, seed=seed)
    part(scene, shape, name, at, yaw, (0, 0), 1.1 * k, 1.52 * k, (0.235 * wide * k, 0.13 * wide), top, seed=seed)
    part(scene, Kind.CONE, name, at, yaw, (0, 0), 1.4 * k, 1.56 * k, (0.055, 0.055), skin, shape=(1, 0, 0))
    part(scene, shape, name, at, yaw, (0, 0), 1.5 * k, tall, (0.08, 0.1), skin, seed=seed)
    part(scene, shape, name, at, yaw, (0, -0.015), 1.6 * k, tall + 0.02, (0.087, 0.1), hair, seed=seed)


def person(scene: Scene, d: Draws, x: float, z: float, y: float = 0.0) -> None:
    """A pedestrian walking in any direction."""
    scene.begin(d.uniform(-1.2, 1.2))
    _figure(scene, d, "person", (x, y, z), d.uniform(0, 2 * math.pi), d.uniform(1.5, 1.92), d.uniform(0.02, 0.14))


def bicycle(scene: Scene, d: Draws, x: float, z: float, yaw: float, y: float = 0.0, name: str = "bicycle") -> None:
    """A bicycle (or, named ``motorcycle``, a motorcycle) as parts of the current object."""
    at, colour = (x, y, z), d.jitter(d.pick(CAR_COLOURS), 0.3)
    heavy = name == "motorcycle"
    radius, base = (0.3, 0.62) if heavy else (0.34, 0.52)
    for along in (-base, base):
        outline = Plate.DISC if heavy else Plate.WHEEL
        part(
            scene, Kind.PLATE, name, at, yaw, (0, along), 0, 2 * radius, (radius, 0.02), DARK, turn=math.pi / 2,
            shape=(outline, 0, 0), material=Material.WHEEL if heavy else Material.PLAIN, second=(0.3, 0.3, 0.3),
        )  # fmt: skip
        # From behind a plate has no width: a tyre does.
        part(
            scene, Kind.ELLIPSOID, name, at, yaw, (0, along), 0, 2 * radius, (0.06 if heavy else 0.02, radius * 0.98
            if heavy else 0.03), DARK,
        )  # fmt: skip
    if heavy:
        part(scene, Kind.ELLIPSOID, name, at, yaw, (0, 0.05), 0.25, 0.85, (0.2, 0.55), colour)
        part(scene, Kind.BOX, name, at, yaw, (0, -0.3), 0.7, 0.82, (0.14, 0.4), DARK)
        part(scene, Kind.BOX, name, at, yaw, (0, 0.55), 0.8, 1.05, (0.3, 0.05), METAL)
    else:
        part(
            scene, Kind.PLATE, name, at, yaw, (0, 0), 0.05, 1.02, (0.83, 0.02), colour, turn=math.pi / 2,
            shape=(Plate.BICYCLE_FRAME, 0, 0),
        )  # fmt: skip
        part(scene, Kind.BOX, name, at, yaw, (0, 0.45), 0.98, 1.03, (0.28, 0.02), DARK)
        part(scene, Kind.BOX, name, at, yaw, (0, -0.25), 0.93, 1.0, (0.07, 0.12), DARK)


def rider(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float) -> None:
    """Somebody on a bicycle or a motorcycle."""
    scene.begin(speed)
    kind = d.pick(("bicycle", "bicycle", "motorcycle"))
    bicycle(scene, d, x, z, yaw, name=kind)
    top, trousers, skin = d.jitter(d.pick(CLOTHES), 0.3), d.jitter(d.pick(CLOTHES), 0.3), d.pick(SKIN)
    at = (x, 0.0, z)
    scene.begin(speed)
    for side in (-1, 1):
        part(
            scene, Kind.ELLIPSOID, "rider", at, yaw, (side * 0.14, -0.02 + 0.08 * side), 0.25, 1.05, (0.09, 0.17),
            trousers,
        )  # fmt: skip
        part(scene, Kind.ELLIPSOID, "rider", at, yaw, (side * 0.27, 0.15), 0.95, 1.4, (0.07, 0.24), top)
    part(scene, Kind.ELLIPSOID, "rider", at, yaw, (0, -0.1), 0.85, 1.55, (0.23, 0.2), top)
    part(scene, Kind.ELLIPSOID, "rider", at, yaw, (0, 0.02), 1.5, 1.78, (0.1, 0.12), skin)
    part(
        scene, Kind.ELLIPSOID, "rider", at, yaw, (0, 0.0), 1.62, 1.84, (0.12, 0.15), d.jitter(d.pick(CAR_COLOURS),
        0.2)
    )  # fmt: skip
