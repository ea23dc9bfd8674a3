"""Put things beside the road, one side at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from densemtl_core.data.street import furniture, people, plants, structures, vehicles
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.plot import Plot
from densemtl_core.data.street.scene import BEHIND, PERIOD, Colour, Scene

__all__ = ["Side", "place_roadside"]

_FAR = PERIOD - BEHIND


@dataclass(frozen=True)
class Side:
    """One side of the road.

    Attributes:
        edge: +1 right, -1 left.
        kerb: distance of the kerb from the middle of the road, metres.
        outer: distance at which the sidewalk ends.
        y: height of the ground beside the road (negative = up).
        parking: width of the parking strip, 0 = none.
        leaves: what most trees here look like.
    """

    edge: int
    kerb: float
    outer: float
    y: float
    parking: float
    leaves: Colour


def place_roadside(scene: Scene, d: Draws, plot: Plot, side: Side, country: bool) -> None:
    """Fill one side of the road of a town or of the open country."""
    if side.parking > 0:
        _parked(scene, d, plot, side)
    if country:
        _country(scene, d, plot, side)
    else:
        _town(scene, d, plot, side)
    _furniture(scene, d, plot, side, country)
    if not country:
        _pedestrians(scene, d, plot, side)


def _parked(scene: Scene, d: Draws, plot: Plot, side: Side) -> None:
    z, x = -BEHIND + d.uniform(0, 15), side.edge * (side.kerb - 1.0)
    while z < _FAR - 6:
        free = abs(z) > 4 or abs(x - scene.camera.x) > 2.6
        if free and d.chance(0.7) and plot.take(x, z, 0.5, 2.6):
            vehicles.car(scene, d, x, z, 0.0 if d.chance(0.7) else math.pi, 0.0)
        z += d.uniform(5.6, 9)


def _country(scene: Scene, d: Draws, plot: Plot, side: Side) -> None:
    """Guard rails, slopes, screens against noise, far houses, many plants."""
    edge, kerb = side.edge, side.kerb
    # Long things come in pieces, which a drive can repeat one by one.
    pieces = [-BEHIND + 10 + 20.0 * i for i in range(int(PERIOD / 20))]
    if d.chance(0.5):
        start, end = d.integer(0, 5), d.integer(8, len(pieces))
        structures.guard_rail(scene, d, edge * (kerb + d.uniform(0.4, 2)), pieces[start:end], 20.0, side.y)
    if d.chance(0.4):
        slope_at = edge * (kerb + d.uniform(2.5, 6))
        plants.embankment(scene, d, slope_at, pieces, 20.0, edge, scene.ground.grass_colour)
    if d.chance(0.15):
        structures.wall(scene, d, edge * (kerb + 2.4), pieces, 20.0, side.y, d.uniform(2, 4.5))
    _plants(scene, d, plot, side, kerb + 4, d.uniform(1, 6))
    if d.chance(0.4):
        _houses(scene, d, side, kerb + d.uniform(12, 40), sparse=0.75)


def _town(scene: Scene, d: Draws, plot: Plot, side: Side) -> None:
    """Rows of houses behind walls, fences, hedges or nothing, and perhaps a row of trees."""
    edge = side.edge
    _houses(scene, d, side, side.outer + d.pick((0.2, 0.2, 3.0, 7.0)), sparse=d.pick((0.03, 0.15, 0.5)))
    z, border, x = -BEHIND, d.uniform(), edge * (side.outer + 0.25)
    while z < _FAR - 12 and border < 0.5:
        long = d.uniform(5, 16)
        middle = z + long / 2
        if abs(middle) > long / 2 + 1 or abs(x - scene.camera.x) > 1:
            if border < 0.15:
                structures.wall(scene, d, x, [middle], long, side.y, d.uniform(0.7, 3.0))
            elif border < 0.4:
                structures.fence(scene, d, x, middle, long, side.y)
            else:
                plants.hedge(scene, d, x, middle, long, side.y, side.leaves)
        z += long + d.uniform(0, 8)
    _plants(scene, d, plot, side, side.outer + 1.0, d.uniform(0, 3))
    if d.chance(0.5):
        spacing, tall, z, x = d.uniform(7, 18), d.uniform(4, 10), -BEHIND + d.uniform(0, 8), edge * (side.kerb + 0.65)
        while z < _FAR:
            # A crown must not hold the camera.
            beside = abs(z) < 4 and abs(x - scene.camera.x) < 4.5
            if not beside and plot.take(x, z, 0.4, 0.4):
                plants.tree(scene, d, x, z, side.y, side.leaves, tall * d.uniform(0.8, 1.2))
            z += spacing


def _furniture(scene: Scene, d: Draws, plot: Plot, side: Side, country: bool) -> None:
    edge, inner, y = side.edge, side.kerb + 0.35, side.y
    spacing, z = d.uniform(18, 45), -BEHIND + d.uniform(0, 30)
    if d.chance(0.7):
        while z < _FAR:
            if plot.take(edge * inner, z, 0.2, 0.2):
                furniture.street_light(scene, d, edge * inner, z, y, -edge)
            z += spacing
    for _ in range(d.integer(0, 7)):
        x, z = edge * (inner + d.uniform(0, 0.5)), d.uniform(4, 70)
        if not plot.take(x, z, 0.3, 0.3):
            continue
        if country or d.chance(0.45):
            furniture.sign(scene, d, x, z, y, big=d.chance(0.3 if country else 0.12))
        else:
            furniture.traffic_light(scene, d, x, z, y, -edge)


def _pedestrians(scene: Scene, d: Draws, plot: Plot, side: Side) -> None:
    edge = side.edge
    for _ in range(d.integer(0, 14)):
        x, z = edge * d.uniform(side.kerb + 0.3, side.outer), 3 + 60 * d.uniform() ** 1.5
        if plot.take(x, z, 0.25, 0.25):
            people.person(scene, d, x, z, side.y)
    for _ in range(d.integer(0, 5)):
        x, z = edge * d.uniform(side.kerb + 0.5, side.outer), d.uniform(4, 50)
        if plot.take(x, z, 0.5, 0.5):
            scene.begin()
            people.bicycle(scene, d, x, z, d.uniform(0, 6.3), side.y, name=d.pick(("bicycle", "bicycle", "motorcycle")))
    if d.chance(0.25):
        for _ in range(d.integer(1, 4)):
            x, z = edge * d.uniform(0.5, side.kerb), d.uniform(6, 40)
            if plot.take(x, z, 0.3, 0.3):
                people.person(scene, d, x, z)


def _houses(scene: Scene, d: Draws, side: Side, start: float, sparse: float) -> None:
    """A row of buildings from ``start`` metres off the middle of the road; ``sparse``: share of empty plots."""
    z, typical = -BEHIND, d.pick((4.0, 7.0, 10.0, 16.0, 24.0))
    while z < _FAR - 8:
        half_z, half_x = d.uniform(4, 14), d.uniform(4, 9)
        if not d.chance(sparse):
            x = side.edge * (start + (d.uniform(0, 1.5) if d.chance(0.3) else 0.0) + half_x)
            structures.building(
                scene, d, x, z + half_z, (half_x, half_z), max(3.0, typical * d.uniform(0.7, 1.4)), side.y
            )
        z += 2 * half_z + (d.uniform(0.5, 10) if d.chance(0.35) else 0.0)


def _plants(scene: Scene, d: Draws, plot: Plot, side: Side, start: float, density: float) -> None:
    for _ in range(int(density * 12)):
        x, z = side.edge * (start + 25 * d.uniform() ** 1.5), d.uniform(-8, _FAR)
        if not plot.take(x, z, 0.8, 0.8):
            continue
        if d.chance(0.55):
            plants.tree(scene, d, x, z, side.y, side.leaves, d.uniform(4, 15))
        else:
            plants.bush(scene, d, x, z, side.y, side.leaves, d.uniform(0.4, 1.8))
