"""Parts of an object: primitives placed in the object's own frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

from densemtl_core.data.street.scene import BLACK, Colour, Kind, Material, Scene

__all__ = ["part"]


def part(
    scene: Scene,
    kind: Kind,
    name: str,
    at: tuple[float, float, float],
    yaw: float,
    offset: tuple[float, float],
    low: float,
    high: float,
    half: tuple[float, float],
    colour: Colour,
    *,
    turn: float = 0.0,
    shape: Sequence[float] = (0.0, 0.0, 0.0),
    material: Material = Material.PLAIN,
    second: Sequence[float] = BLACK,
    seed: float = 0.0,
    paint: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
) -> None:
    """Add a part that stands between two heights to the scene's current object.

    Args:
        scene: where to.
        kind: shape of the part.
        name: class name.
        at: where the object stands: x, y of the ground, z in metres (world frame).
        yaw: heading of the object, radians.
        offset: of the part in the object's frame: metres to the right and forwards.
        low: height of the part's bottom above the ground, metres.
        high: height of its top.
        half: half extent across and along.
        colour: linear RGB.
        turn: further yaw of the part itself.
        shape: see `Scene.add`, as for the rest.
        material: how it is painted.
        second: second colour.
        seed: offset into the noise.
        paint: numbers that the material reads.
    """
    x, ground, z = at
    c, s = math.cos(yaw), math.sin(yaw)
    centre = (x + c * offset[0] + s * offset[1], ground - (low + high) / 2, z - s * offset[0] + c * offset[1])
    size = (half[0], (high - low) / 2, half[1])
    scene.add(
        kind, name, centre, size, colour, yaw=yaw + turn, shape=shape, material=material, second=second, seed=seed,
        paint=paint,
    )  # fmt: skip
