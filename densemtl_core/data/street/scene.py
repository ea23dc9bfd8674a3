"""A street scene as numbers: camera, ground, light, and a table of analytic primitives.

World frame: x to the right across the road, y down, z forward along the road, metres; the road surface is y = 0, so
that things above the road have negative y. At zero yaw, pitch and roll the camera's optical frame is parallel to it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.sample import IGNORE_CLASS

__all__ = [
    "BEHIND",
    "BLACK",
    "COLUMN",
    "MARKINGS",
    "PERIOD",
    "SPEED",
    "Camera",
    "Colour",
    "Ground",
    "Kind",
    "Light",
    "Material",
    "Plate",
    "Scene",
    "SignFace",
    "stack",
]

Colour = tuple[float, float, float]
BLACK: Colour = (0.02, 0.02, 0.02)
MARKINGS = 6
"""Lane lines a road can have."""
PERIOD = 240.0
"""A drive repeats its scene after this many metres."""
SPEED = 8.0
"""Speed of the camera and of the traffic in a drive, metres a second."""
BEHIND = 40.0
"""How far behind the camera a scene begins, metres."""


class Kind(IntEnum):
    """Shape of a primitive."""

    BOX = 0
    CONE = 1
    ELLIPSOID = 2
    PLATE = 3


class Plate(IntEnum):
    """Outline of a plate (column ``g0``)."""

    RECTANGLE = 0
    DISC = 1
    TRIANGLE = 2
    WHEEL = 3
    BICYCLE_FRAME = 4
    PICKETS = 5
    GUARD_RAIL = 6
    RAGGED = 7
    RAILING = 8


class Material(IntEnum):
    """How a primitive's surface is painted."""

    PLAIN = 0
    FACADE = 1
    FOLIAGE = 2
    CAR_BODY = 3
    CAR_CABIN = 4
    WHEEL = 5
    SIGN = 6
    TRAFFIC_LIGHT = 7
    MASONRY = 8
    COACH = 9


class SignFace(IntEnum):
    """What is painted on a traffic sign (first number of its paint)."""

    RIM = 0
    BAR = 1
    SYMBOL = 2
    LETTERING = 3


_COLUMNS = (
    "kind", "x", "y", "z", "hx", "hy", "hz", "cos", "sin", "g0", "g1", "g2", "class", "instance", "material",
    "r", "g", "b", "r2", "g2b", "b2", "seed", "p0", "p1", "p2", "p3", "speed", "distant",
)  # fmt: skip
COLUMN = {name: i for i, name in enumerate(_COLUMNS)}
"""Column of the primitive table by name: centre, half size, yaw, shape, class, instance, paint, speed along z."""


_IDS = {name: id_ for id_, name in enumerate(CITYSCAPES_19.classes)} | {"unlabelled": IGNORE_CLASS}


@dataclass
class Camera:
    """Pose (metres, radians), horizontal field of view, principal point offset (fractions of the image)."""

    x: float = 0.0
    height: float = 1.5
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    fov: float = math.radians(70)
    shift_x: float = 0.0
    shift_y: float = 0.0


@dataclass
class Ground:
    """Cross-section of the road and how it is painted; colours are linear RGB."""

    left: float = -4.0
    right: float = 4.0
    kerb: float = 0.12
    verge_left: float = 0.0
    verge_right: float = 0.0
    walk_left: float = 2.0
    walk_right: float = 2.0
    paved: float = 0.0  # 1: paved up to the buildings, 0: grass beyond the sidewalk
    slab: float = 0.6
    crossing: float = 1e6  # z of a zebra crossing
    road_colour: Colour = (0.1, 0.1, 0.1)
    walk_colour: Colour = (0.25, 0.25, 0.25)
    grass_colour: Colour = (0.08, 0.14, 0.04)
    soil_colour: Colour = (0.2, 0.16, 0.1)
    bare: float = 0.3
    paint_colour: Colour = (0.7, 0.7, 0.7)
    wear: float = 0.3
    patches: float = 0.3
    dash: float = 9.0
    line_x: tuple[float, ...] = (1e6,) * MARKINGS
    line_solid: tuple[float, ...] = (0.0,) * MARKINGS
    line_yellow: tuple[float, ...] = (0.0,) * MARKINGS
    line_width: float = 0.14


@dataclass
class Light:
    """Sun, sky, air and camera electronics; colours are linear RGB."""

    sun: Colour = (0.3, -0.8, 0.5)  # unit vector towards the sun
    sun_colour: Colour = (1.0, 0.95, 0.85)
    ambient: Colour = (0.5, 0.55, 0.65)
    zenith: Colour = (0.2, 0.4, 0.8)
    horizon: Colour = (0.7, 0.8, 0.9)
    cloud_colour: Colour = (1.0, 1.0, 1.0)
    cloud_cover: float = 0.4
    cloud_scale: float = 1.0
    cloud_seed: float = 0.0
    haze: float = 800.0
    overcast: float = 0.0
    texture: float = 1.0
    exposure: float = 0.4
    balance: Colour = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    lift: float = 0.0
    vignette: float = 0.0
    blur: float = 0.3
    noise: float = 0.0


@dataclass
class Scene:
    """One street: what `layout.sample` draws and the ray caster renders."""

    camera: Camera = field(default_factory=Camera)
    ground: Ground = field(default_factory=Ground)
    light: Light = field(default_factory=Light)
    values: array[float] = field(default_factory=lambda: array("d"))
    instance: int = 0
    speed: float = 0.0
    distant: bool = False

    def begin(self, speed: float = 0.0, distant: bool = False) -> None:
        """Start a new object: the primitives that follow are its parts.

        Args:
            speed: of the object along z, metres a second.
            distant: part of the backdrop, which keeps its distance while the camera drives.
        """
        self.instance += 1
        self.speed, self.distant = speed, distant

    def add(
        self,
        kind: Kind,
        name: str,
        centre: Sequence[float],
        half: Sequence[float],
        colour: Sequence[float],
        *,
        yaw: float = 0.0,
        shape: Sequence[float] = (0.0, 0.0, 0.0),
        material: Material = Material.PLAIN,
        second: Sequence[float] = BLACK,
        seed: float = 0.0,
        paint: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    ) -> None:
        """Add one primitive to the current object.

        Args:
            kind: its shape.
            name: class name of `CITYSCAPES_19`, or "unlabelled".
            centre: x, y, z in metres.
            half: half extent along its own x, y, z before the yaw.
            colour: linear RGB.
            yaw: turn about the vertical, radians; positive turns its z axis to the right.
            shape: box: slopes of the sides, of the far (+z) and of the near (-z) face; cone: radius at the top as a
                fraction; ellipsoid: raggedness; plate: `Plate`.
            material: how it is painted.
            second: second colour of the material.
            seed: offset into the noise.
            paint: four numbers that the material reads.
        """
        self.values.extend(
            (
                kind, *centre, *half, math.cos(yaw), math.sin(yaw), *shape, _IDS[name], self.instance, material,
                *colour, *second, seed, *paint, self.speed, self.distant,
            )
        )  # fmt: skip

    def rows(self) -> Tensor:
        """``(M, len(COLUMN))`` float64 primitives as they were added."""
        if not self.values:
            return torch.zeros(0, len(COLUMN), dtype=torch.float64)
        return torch.frombuffer(self.values, dtype=torch.float64).clone().view(-1, len(COLUMN))

    def table(self, time: float = 0.0, z: float = 0.0) -> Tensor:
        """Primitives as seen after a drive: z is relative to the camera, and the scene repeats every `PERIOD` metres.

        Args:
            time: seconds since the scene's start (moves the vehicles).
            z: distance driven, metres.

        Returns:
            ``(M, len(COLUMN))`` float32, sorted by kind.
        """
        table = self.rows()
        relative = table[:, COLUMN["z"]] + table[:, COLUMN["speed"]] * time - z
        # Also at the start, so that what stands beyond the last metre does not vanish with the first one driven.
        wrapped = relative - PERIOD * torch.floor((relative + BEHIND) / PERIOD)
        relative = torch.where(table[:, COLUMN["distant"]] > 0, table[:, COLUMN["z"]], wrapped)
        table[:, COLUMN["z"]] = relative
        order = torch.argsort(table[:, COLUMN["kind"]], stable=True)
        return table[order].float()


def stack(items: Sequence[Any], device: torch.device) -> dict[str, Tensor]:
    """Turn equal dataclasses of numbers into tensors: a number to ``(B, 1, 1)``, a tuple to ``(B, n, 1, 1)``."""
    names = [f.name for f in fields(items[0])]
    flat: list[float] = []
    for item in items:
        for name in names:
            value = getattr(item, name)
            flat += value if isinstance(value, tuple) else (value,)
    sizes = [len(v) if isinstance(v, tuple) else 0 for v in (getattr(items[0], name) for name in names)]
    # One tensor for all of them: many small ones would cost more than the arithmetic.
    table = torch.tensor(flat, dtype=torch.float32).view(len(items), -1).to(device)
    parts = torch.split(table, [max(n, 1) for n in sizes], dim=1)
    return {
        name: (part if n else part[:, 0])[..., None, None] for name, n, part in zip(names, sizes, parts, strict=True)
    }
