"""Put vehicles on the lanes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from densemtl_core.data.street import people, vehicles
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.scene import BEHIND, PERIOD, SPEED, Scene

__all__ = ["place_jam", "place_traffic"]


def _vehicle(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float) -> None:
    kind = d.uniform()
    if kind < 0.72:
        vehicles.car(scene, d, x + d.uniform(-0.3, 0.3), z, yaw, speed)
    elif kind < 0.82:
        vehicles.truck(scene, d, x + d.uniform(-0.2, 0.2), z, yaw, speed)
    elif kind < 0.88:
        vehicles.bus(scene, d, x, z, yaw, speed)
    else:
        people.rider(scene, d, x + d.uniform(-0.8, 0.8), z, yaw, speed)


def place_traffic(scene: Scene, d: Draws, ours: Sequence[float], theirs: Sequence[float], trams: bool = False) -> None:
    """Fill the lanes; none, some or much traffic.

    Everything keeps the camera's speed in its own direction: a drive never runs into anything.

    Args:
        scene: where to; its camera is placed already.
        d: random numbers.
        ours: middles of the lanes that lead away from the camera, metres.
        theirs: middles of the lanes of oncoming traffic.
        trams: one lane is the trams'.
    """
    camera = scene.camera
    busy = d.pick((0.15, 0.5, 1.0, 2.0))
    tramway = d.pick((*ours, *theirs)) if trams and d.chance(0.25) else None
    for lane in (*ours, *theirs):
        beside = abs(lane - camera.x)
        yaw, speed = (0.0, SPEED) if lane in ours else (math.pi, -SPEED)
        z = -BEHIND + d.uniform(0, 20)
        while z < PERIOD - BEHIND - 8:
            gap = d.uniform(9, 60) / busy
            if beside < 2.3 and z < 9:
                # Our own lane: nothing behind the windscreen, the next one a braking distance ahead.
                z = 9.0 + min(gap, 60.0) * d.uniform()
                continue
            if lane == tramway:
                if z > 24 or (beside > 2.9 and z > 6):
                    vehicles.tram(scene, d, lane, z + 14, yaw, speed)
                z += 45 + gap
                continue
            if abs(z) > 8 or beside > 2.9:
                _vehicle(scene, d, lane, z, yaw, speed)
            z += 7 + gap
    # People on two wheels keep to the edge of a lane, close enough to be more than a few pixels.
    for _ in range(d.pick((0, 0, 1, 2, 4))):
        lane, z = d.pick((*ours, *theirs)), 6 + 40 * d.uniform() ** 1.5
        x = lane + d.pick((-1.2, 1.2)) + d.uniform(-0.2, 0.2)
        if abs(x - camera.x) > 1.3:
            yaw, speed = (0.0, SPEED) if lane in ours else (math.pi, -SPEED)
            people.rider(scene, d, x, z, yaw, speed)


def place_jam(scene: Scene, d: Draws, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Fill the lanes bumper to bumper, with many lorries and buses: what is near fills the picture.

    Args:
        scene: where to; its camera is placed already.
        d: random numbers.
        ours: middles of the lanes that lead away from the camera, metres.
        theirs: middles of the lanes of oncoming traffic.
    """
    camera = scene.camera
    large = d.uniform(0.1, 0.6)
    for lane in (*ours, *theirs):
        beside = abs(lane - camera.x)
        yaw, speed = (0.0, SPEED) if lane in ours else (math.pi, -SPEED)
        front = d.uniform(3.5, 9) if beside < 2.9 else -BEHIND + d.uniform(0, 10)
        while front < PERIOD - BEHIND - 20:
            kind = d.uniform()
            # the room that the longest of its kind needs
            long = 5.0 if kind > large else 16.5 if kind < 0.7 * large else 13.0
            z = front + long / 2
            if kind > large:
                vehicles.car(scene, d, lane + d.uniform(-0.3, 0.3), z, yaw, speed)
            elif kind < 0.7 * large:
                vehicles.truck(scene, d, lane + d.uniform(-0.2, 0.2), z, yaw, speed)
            else:
                vehicles.bus(scene, d, lane, z, yaw, speed)
            front += long + d.uniform(1.0, 7.0)
