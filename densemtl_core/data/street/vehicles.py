"""Cars, vans and lorries, buses, trams."""

from __future__ import annotations

import math

from densemtl_core.data.street.colours import CAR_COLOURS, DARK, METAL
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.parts import part
from densemtl_core.data.street.scene import Colour, Kind, Material, Plate, Scene

__all__ = ["bus", "car", "tram", "truck"]

_LIVERIES: tuple[Colour, ...] = ((0.6, 0.05, 0.05), (0.7, 0.7, 0.7), (0.6, 0.5, 0.1), (0.1, 0.2, 0.5), (0.2, 0.4, 0.2))


def car(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float, y: float = 0.0) -> tuple[float, float]:
    """A car heading along ``yaw``; returns its half width and half length."""
    scene.begin(speed)
    long, wide, tall = d.uniform(3.7, 4.9), d.uniform(1.62, 1.9), d.uniform(1.4, 1.75)
    colour, seed = d.jitter(d.pick(CAR_COLOURS), 0.2), d.uniform(0, 500)
    at, waist, hl, hw = (x, y, z), tall * d.uniform(0.56, 0.64), long / 2, wide / 2
    part(scene, Kind.BOX, "car", at, yaw, (0, 0), 0.05, 0.32, (hw * 0.86, hl * 0.9), DARK)
    part(
        scene, Kind.BOX, "car", at, yaw, (0, 0), 0.2, waist, (hw, hl), colour, material=Material.CAR_BODY, seed=seed,
        shape=(0.08, d.uniform(0.1, 0.4), d.uniform(0.05, 0.2)), second=(0.5, 0.5, 0.5),
        paint=(float(d.chance(0.35)), d.uniform(0.25, 0.45), d.uniform(), float(d.chance(0.4))),
    )  # fmt: skip
    rear = d.pick((0.15, 0.35, 0.6, 1.2))  # slope of the rear window: van, estate, hatchback, saloon
    start, end = -hl * d.uniform(0.82, 0.96) if rear < 1 else -hl * 0.75, hl * d.uniform(0.35, 0.5)
    part(
        scene, Kind.BOX, "car", at, yaw, (0, (start + end) / 2), waist, tall, (hw * 0.95, (end - start) / 2), colour,
        material=Material.CAR_CABIN, seed=seed, shape=(0.28, d.uniform(0.8, 1.6), rear),
    )  # fmt: skip
    for side in (-1, 1):
        for along in (-0.62, 0.62):
            part(
                scene, Kind.PLATE, "car", at, yaw, (side * (hw + 0.01), along * hl), 0.0, 0.64, (0.32, 0.02), DARK,
                turn=math.pi / 2, shape=(Plate.DISC, 0, 0), material=Material.WHEEL, second=(0.35, 0.35, 0.36),
            )  # fmt: skip
            part(scene, Kind.BOX, "car", at, yaw, (side * (hw - 0.12), along * hl), 0.0, 0.6, (0.11, 0.28), DARK)
    return hw, hl


def truck(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float) -> tuple[float, float]:
    """A van or lorry; returns its half width and half length."""
    scene.begin(speed)
    van = d.chance(0.5)
    hl, hw, tall = (
        (d.uniform(2.5, 3.0), 1.0, d.uniform(2.0, 2.6)) if van else (d.uniform(4, 8), 1.25, d.uniform(3, 3.9))
    )
    name, at, seed = ("car" if van and tall < 2.3 else "truck"), (x, 0.0, z), d.uniform(0, 500)
    colour = d.jitter(
        d.pick(((0.75, 0.75, 0.75), (0.4, 0.03, 0.03), (0.1, 0.15, 0.4), (0.3, 0.3, 0.3), (0.6, 0.45, 0.1))), 0.3
    )
    cabin = 0.9 if van else 1.1
    part(scene, Kind.BOX, name, at, yaw, (0, 0), 0.1, 0.6, (hw * 0.8, hl * 0.95), DARK)
    part(
        scene, Kind.BOX, name, at, yaw, (0, -cabin * 0.6), 0.35 if van else 1.0, tall, (hw, hl - cabin * 0.6), colour,
        material=Material.CAR_BODY, seed=seed, paint=(0.0, 0.12, d.uniform(), float(d.chance(0.3))),
        second=(0.3, 0.3, 0.3),
    )  # fmt: skip
    cab = colour if van else d.jitter(d.pick(CAR_COLOURS), 0.2)
    part(
        scene, Kind.BOX, name, at, yaw, (0, hl - cabin), 0.3, tall * (0.5 if van else 0.45), (hw, cabin), cab,
        material=Material.CAR_BODY, seed=seed, paint=(1.0, 0.3, 0.5, 0.0),
    )  # fmt: skip
    part(
        scene, Kind.BOX, name, at, yaw, (0, hl - cabin), tall * (0.5 if van else 0.45), tall * 0.85,
        (hw, cabin), cab, material=Material.CAR_CABIN, seed=seed, shape=(0.06, 0.7 if van else 0.1, 0.0),
    )  # fmt: skip
    radius = 0.36 if van else 0.5
    for side in (-1, 1):
        for along in (-0.75, -0.5, 0.7) if not van else (-0.65, 0.65):
            part(
                scene, Kind.PLATE, name, at, yaw, (side * (hw + 0.01), along * hl), 0, 2 * radius, (radius, 0.02), DARK,
                turn=math.pi / 2, shape=(Plate.DISC, 0, 0), material=Material.WHEEL, second=(0.25, 0.25, 0.25),
            )  # fmt: skip
            part(
                scene, Kind.BOX, name, at, yaw, (side * (hw - 0.2), along * hl), 0, 1.8 * radius, (0.2, radius * 0.9),
                DARK,
            )  # fmt: skip
    return hw, hl


def bus(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float) -> tuple[float, float]:
    """A bus; returns its half width and half length."""
    scene.begin(speed)
    hl, hw, tall = d.uniform(4.5, 6.0), 1.25, d.pick((3.0, 3.1, 4.2))
    colour = d.jitter(d.pick(_LIVERIES), 0.2)
    part(scene, Kind.BOX, "bus", (x, 0, z), yaw, (0, 0), 0.08, 0.5, (hw * 0.9, hl * 0.95), DARK)
    part(
        scene, Kind.BOX, "bus", (x, 0, z), yaw, (0, 0), 0.3, tall, (hw, hl), colour, material=Material.COACH,
        seed=d.uniform(0, 500), shape=(0.01, 0.03, 0.02), second=d.jitter(d.pick(CAR_COLOURS), 0.2),
        paint=(1.0 if tall < 4 else 2.0, d.uniform(0.9, 1.5), d.uniform(), 0.0),
    )  # fmt: skip
    for side in (-1, 1):
        for along in (-0.5, 0.6):
            part(
                scene, Kind.PLATE, "bus", (x, 0, z), yaw, (side * (hw + 0.01), along * hl), 0, 0.95, (0.48, 0.02), DARK,
                turn=math.pi / 2, shape=(Plate.DISC, 0, 0), material=Material.WHEEL, second=(0.3, 0.3, 0.3),
            )  # fmt: skip
    return hw, hl


def tram(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float) -> tuple[float, float]:
    """A tram of two to four jointed cars; returns its half width and half length."""
    scene.begin(speed)
    cars, long, hw, tall = d.integer(2, 4), d.uniform(3.2, 4.5), d.uniform(1.15, 1.3), d.uniform(3.1, 3.5)
    colour, seed = d.jitter(d.pick(_LIVERIES), 0.2), d.uniform(0, 500)
    stripe, at, hl = d.jitter(d.pick(CAR_COLOURS), 0.2), (x, 0.0, z), cars * long
    part(scene, Kind.BOX, "train", at, yaw, (0, 0), 0.0, 0.5, (hw * 0.85, hl * 0.97), DARK)
    part(scene, Kind.BOX, "train", at, yaw, (0, 0), 0.35, tall - 0.2, (hw * 0.9, hl - 1.5), DARK)  # the bellows
    for i in range(cars):
        # Only the outer ends lean back.
        shape = (0.01, 0.12 * (i == cars - 1), 0.12 * (i == 0))
        part(
            scene, Kind.BOX, "train", at, yaw, (0, -hl + (2 * i + 1) * long), 0.3, tall, (hw, long - 0.25), colour,
            material=Material.COACH, seed=seed, shape=shape, second=stripe, paint=(1.0, 1.3, 0.5, 0.0),
        )  # fmt: skip
    # A pantograph as far up as the wire would be.
    part(scene, Kind.BOX, "train", at, yaw, (0, 0), tall, tall + 0.25, (hw * 0.6, 1.2), METAL)
    part(
        scene, Kind.PLATE, "train", at, yaw, (0, 0), tall + 0.2, tall + 1.2, (0.7, 0.02), DARK, turn=math.pi / 2,
        shape=(Plate.TRIANGLE, 0, 0),
    )  # fmt: skip
    return hw, hl
