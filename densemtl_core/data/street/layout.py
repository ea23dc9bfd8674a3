"""Draw a street: where things stand, how the light falls, where the camera is."""

from __future__ import annotations

import math

from densemtl_core.data.street import objects
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.scene import BEHIND, MARKINGS, PERIOD, Camera, Ground, Light, Scene

__all__ = ["SPEED", "sample"]

SPEED = 8.0
"""Speed of the camera in a sequence, metres a second."""


class _Ground:
    """Which parts of the ground are taken: rectangles that nothing else may overlap."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float, float, float]] = []

    def take(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Claim a rectangle; False when it meets one that is taken."""
        new = (x - half_x, x + half_x, z - half_z, z + half_z)
        if any(new[0] < b and a < new[1] and new[2] < e and c < new[3] for a, b, c, e in self.taken):
            return False
        self.taken.append(new)
        return True


def sample(d: Draws, style: str) -> Scene:
    """Draw one street.

    Args:
        d: its stream of random numbers.
        style: ``sim``, ``real`` or ``mixed``.

    Returns:
        The scene, its camera at z = 0.
    """
    scene = Scene()
    if style == "mixed":
        style = d.pick(("sim", "real"))
    country = d.chance(0.35)
    lanes, lane = d.integer(2, 4), d.uniform(2.9, 3.7)
    # A lane to the left of `ours` comes towards us where traffic keeps right; a motorway's lanes all go our way.
    motorway = country and d.chance(0.5)
    side = 1 if d.chance(0.8) else -1  # +1: traffic keeps right
    oncoming = 0 if motorway else max(1, lanes // 2)
    parking = [0.0, 0.0] if country else [d.pick((0.0, 2.2)), d.pick((0.0, 2.2))]
    shoulder = d.uniform(0.3, 2.5) if country else 0.0
    left, right = -lanes * lane / 2 - parking[0] - shoulder, lanes * lane / 2 + parking[1] + shoulder
    centres = [-lanes * lane / 2 + lane * (i + 0.5) for i in range(lanes)]
    ours = centres[oncoming:] if side > 0 else centres[: lanes - oncoming]
    theirs = [c for c in centres if c not in ours]

    scene.ground = _ground(d, country, motorway, lanes, lane, left, right, len(theirs), side, shoulder)
    scene.light = _light(d, style)
    scene.camera = _camera(d, ours, scene.ground)

    ground = _Ground()
    ground.take(scene.camera.x, (PERIOD - BEHIND) / 2 - BEHIND / 2, 1.1, PERIOD)  # the camera's way stays free
    _traffic(scene, d, ours, theirs, ground)
    leaves = d.pick(objects.LEAVES)
    for edge in (-1, 1):
        _roadside(scene, d, ground, edge, country, parking[0 if edge < 0 else 1], leaves)
    _backdrop(scene, d, country, leaves)
    return scene


def _grey(d: Draws, low: float, high: float, tint: float = 0.06) -> tuple[float, float, float]:
    level = d.uniform(low, high)
    warm = d.uniform(-tint, tint)
    return level * (1 + warm), level, level * (1 - warm)


def _ground(
    d: Draws, country: bool, motorway: bool, lanes: int, lane: float, left: float, right: float, theirs: int, side: int,
    shoulder: float,
) -> Ground:  # fmt: skip
    lines: list[tuple[float, float, float]] = []
    marked = d.chance(0.9)
    yellow = float(d.chance(0.25))
    for i in range(lanes + 1):
        x = -lanes * lane / 2 + i * lane
        border = i in (0, lanes)
        middle = i == (theirs if side > 0 else lanes - theirs) and theirs > 0
        if (border and not country and d.chance(0.6)) or not marked:
            continue
        solid = 1.0 if border and d.chance(0.8) else float(middle and d.chance(0.5))
        if middle and d.chance(0.3) and len(lines) < MARKINGS - 1:
            lines.append((x - 0.14, 1.0, yellow))
            x += 0.14
        lines.append((x, solid, yellow if middle else 0.0))
    lines = (lines + [(1e6, 0.0, 0.0)] * MARKINGS)[:MARKINGS]
    grassy = d.pick(((0.08, 0.14, 0.03), (0.1, 0.15, 0.05), (0.16, 0.16, 0.06), (0.28, 0.23, 0.1), (0.06, 0.1, 0.03)))
    walk = [0.0, 0.0] if country else [d.uniform(1.5, 4.5), d.uniform(1.5, 4.5)]
    verge = [0.0, 0.0] if country else [d.pick((0.0, 0.0, 1.2, 2.5)), d.pick((0.0, 0.0, 1.2, 2.5))]
    return Ground(
        left=left,
        right=right,
        kerb=0.02 if country else d.uniform(0.06, 0.16),
        verge_left=verge[0],
        verge_right=verge[1],
        walk_left=walk[0],
        walk_right=walk[1],
        paved=float(not country and d.chance(0.5)),
        slab=d.pick((0.4, 0.6, 1.0, 2.0)),
        crossing=d.uniform(6, 60) if not country and d.chance(0.25) else 1e6,
        road_colour=_grey(d, 0.05, 0.28) if d.chance(0.8) else _grey(d, 0.2, 0.45),
        walk_colour=d.jitter(
            d.pick(((0.28, 0.28, 0.27), (0.4, 0.38, 0.34), (0.18, 0.17, 0.17), (0.3, 0.17, 0.13))), 0.3
        ),
        grass_colour=d.jitter(grassy, 0.3),
        soil_colour=d.jitter((0.22, 0.17, 0.1), 0.4),
        bare=d.uniform(0, 0.6),
        paint_colour=d.jitter((0.7, 0.7, 0.68), 0.2),
        wear=d.uniform(0, 0.8),
        patches=d.uniform(0, 0.6),
        dash=d.pick((4.0, 6.0, 9.0, 12.0)),
        line_x=tuple(e[0] for e in lines),
        line_solid=tuple(e[1] for e in lines),
        line_yellow=tuple(e[2] for e in lines),
        line_width=d.uniform(0.1, 0.2),
    )


def _light(d: Draws, style: str) -> Light:
    real = style == "real"
    azimuth, elevation = d.uniform(0, 2 * math.pi), math.radians(d.uniform(12, 70))
    sun = (math.cos(elevation) * math.sin(azimuth), -math.sin(elevation), math.cos(elevation) * math.cos(azimuth))
    overcast = d.chance(0.4)
    strength = d.uniform(0.0, 0.15) if overcast else d.uniform(0.8, 1.8)
    warm = d.uniform(0.0, 0.3)
    fill = d.uniform(0.35, 0.7)
    blue = 0.0 if overcast else d.uniform(0.0, 0.25)
    sky = d.uniform(0.6, 1.6) if overcast else d.uniform(0.35, 0.9)
    white = _grey(d, 0.85, 1.0, 0.04)
    tint = d.uniform(0.05, 0.3) if overcast else d.uniform(0.4, 1.0)
    zenith = tuple(sky * (w * (1 - tint) + tint * b) for w, b in zip(white, (0.16, 0.36, 0.8), strict=True))
    pale = d.uniform(1.0, 1.8)
    horizon = tuple(sky * pale * (0.55 * w + 0.45 * b) for w, b in zip(white, (0.75, 0.88, 1.0), strict=True))
    gain = 0.12 if real else 0.04
    return Light(
        sun=sun,
        sun_colour=(strength, strength * (1 - 0.4 * warm), strength * (1 - warm)),
        ambient=(fill * (1 - blue * 0.6), fill, fill * (1 + blue)),
        zenith=(zenith[0], zenith[1], zenith[2]),
        horizon=(horizon[0], horizon[1], horizon[2]),
        cloud_colour=_grey(d, 0.7, 2.0, 0.03) if not overcast else _grey(d, 0.5, 1.3, 0.03),
        cloud_cover=d.uniform(0.3, 1.0) if overcast else d.uniform(0.0, 0.7),
        cloud_scale=d.uniform(0.5, 2.0),
        cloud_seed=d.uniform(0, 500),
        haze=math.exp(d.uniform(math.log(90), math.log(300)) if d.chance(0.15) else d.uniform(math.log(350), math.log(4000))),
        overcast=float(overcast),
        texture=d.uniform(0.6, 1.6) if real else d.uniform(0.2, 0.7),
        exposure=math.exp(d.uniform(math.log(0.13), math.log(0.42))) if real else d.uniform(0.17, 0.34),
        balance=(1 + d.uniform(-gain, gain), 1.0, 1 + d.uniform(-gain, gain)),
        contrast=d.uniform(0.85, 1.6) if real else d.uniform(0.95, 1.15),
        saturation=d.uniform(0.4, 1.25) if real else d.uniform(0.85, 1.2),
        lift=d.uniform(-0.02, 0.08) if real else 0.0,
        vignette=d.uniform(0, 0.35) if real else 0.0,
        blur=d.uniform(0.25, 0.9) if real else 0.25,
        noise=d.uniform(0.0, 0.035) if real else 0.0,
    )


def _camera(d: Draws, ours: list[float], ground: Ground) -> Camera:
    x = d.pick(ours) + d.uniform(-0.7, 0.7)
    yaw = d.uniform(-12, 12) if d.chance(0.85) else d.uniform(-35, 35)
    if d.chance(0.5):
        yaw *= 0.25
    if ground.walk_right > 1.4 and d.chance(0.06):
        x = ground.right + ground.verge_right + 0.7
    return Camera(
        x=x,
        height=d.uniform(1.2, 2.2),
        yaw=math.radians(yaw),
        pitch=math.radians(d.uniform(-5, 5)),
        roll=math.radians(d.uniform(-2, 2)),
        fov=math.radians(d.uniform(45, 95)),
        shift_x=d.uniform(-0.03, 0.03),
        shift_y=d.uniform(-0.08, 0.08),
    )


def _vehicle(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float) -> None:
    kind = d.uniform()
    if kind < 0.8:
        objects.car(scene, d, x, z, yaw, speed)
    elif kind < 0.92:
        objects.truck(scene, d, x, z, yaw, speed)
    else:
        objects.bus(scene, d, x, z, yaw, speed)


def _traffic(scene: Scene, d: Draws, ours: list[float], theirs: list[float], ground: _Ground) -> None:
    camera = scene.camera
    busy = d.pick((0.0, 0.5, 1.0, 2.0))
    for lane in ours + theirs:
        away = lane in ours
        same = abs(lane - camera.x) < 2.3
        z = -BEHIND + d.uniform(0, 20)
        while z < PERIOD - BEHIND - 8:
            gap = d.uniform(9, 60) / max(busy, 0.15)
            if same and z < 8:
                z = 9.0 + min(gap, 60) * d.uniform(0, 1)
                continue
            if abs(z) > 7 or abs(lane - camera.x) > 2.9:
                # Vehicles of our own direction keep the camera's speed, so a drive never runs into one.
                if d.chance(0.88):
                    _vehicle(
                        scene, d, lane + d.uniform(-0.3, 0.3), z, 0.0 if away else math.pi, SPEED if away else -SPEED
                    )
                else:
                    objects.rider(
                        scene, d, lane + d.uniform(-0.8, 0.8), z, 0.0 if away else math.pi, SPEED if away else -4
                    )
            z += 7 + gap


def _roadside(
    scene: Scene,
    d: Draws,
    ground: _Ground,
    edge: int,
    country: bool,
    parking: float,
    leaves: tuple[float, float, float],
) -> None:
    g = scene.ground
    kerb = g.right if edge > 0 else -g.left  # distance of the kerb from x = 0
    verge, walk = (g.verge_right, g.walk_right) if edge > 0 else (g.verge_left, g.walk_left)
    y, far = -g.kerb, PERIOD - BEHIND
    inner, outer = kerb + 0.35, kerb + verge + walk

    if parking > 0:
        z = -BEHIND + d.uniform(0, 15)
        while z < far - 6:
            x = edge * (kerb - 1.0)
            if d.chance(0.7) and (abs(z) > 4 or abs(x - scene.camera.x) > 2.6):
                if ground.take(x, z, 0.5, 2.6):
                    objects.car(scene, d, x, z, 0.0 if d.chance(0.7) else math.pi, 0.0)
            z += d.uniform(5.6, 9)

    # What stands beside the road in a row, from a few schemes drawn once a side.
    if country:
        if d.chance(0.5):
            near, z = kerb + d.uniform(0.4, 2), -BEHIND
            while z < far - 20:
                if d.chance(0.9):
                    objects.fence(scene, d, edge * near, z + 10, 20.0, y, rail=True)
                z += 20.0
        _verge_plants(scene, d, ground, edge, kerb + 4, far, y, leaves, d.uniform(1, 6))
        if d.chance(0.4):
            _houses(scene, d, ground, edge, kerb + d.uniform(12, 40), far, y, sparse=0.75)
    else:
        _houses(scene, d, ground, edge, outer + d.pick((0.2, 0.2, 3.0, 7.0)), far, y, sparse=d.pick((0.03, 0.15, 0.5)))
        z, barrier = -BEHIND, d.uniform()
        while z < far - 12 and barrier < 0.45:
            long = d.uniform(5, 16)
            x = edge * (outer + 0.25)
            if abs(z + long / 2) > long / 2 + 1 or abs(x - scene.camera.x) > 1:
                (objects.wall if barrier < 0.15 else objects.fence)(scene, d, x, z + long / 2, long, y)
            z += long + d.uniform(0, 8)
        _verge_plants(scene, d, ground, edge, outer + 1.0, far, y, leaves, d.uniform(0, 3))
        if d.chance(0.5):
            spacing, tall, z = d.uniform(7, 18), d.uniform(4, 10), -BEHIND + d.uniform(0, 8)
            while z < far:
                x = edge * inner + edge * 0.3
                if ground.take(x, z, 0.4, 0.4):
                    objects.tree(scene, d, x, z, y, leaves, tall * d.uniform(0.8, 1.2))
                z += spacing

    spacing, z = d.uniform(18, 45), -BEHIND + d.uniform(0, 30)
    if d.chance(0.7):
        while z < far:
            if ground.take(edge * inner, z, 0.2, 0.2):
                objects.street_light(scene, d, edge * inner, z, y, -edge)
            z += spacing
    for _ in range(d.integer(0, 6)):
        x, z = edge * (inner + d.uniform(0, 0.5)), d.uniform(4, 70)
        if ground.take(x, z, 0.3, 0.3):
            if country or d.chance(0.6):
                objects.sign(scene, d, x, z, y, big=d.chance(0.35 if country else 0.12))
            else:
                objects.traffic_light(scene, d, x, z, y, -edge)
    if edge > 0 and d.chance(0.3 if country else 0.08):
        objects.sign(scene, d, (g.left + g.right) / 2, d.uniform(15, 90), 0, span=g.right - g.left + 1.5)
    if country:
        return
    for _ in range(d.integer(0, 14)):
        x, z = edge * d.uniform(kerb + 0.3, outer), 3 + 60 * d.uniform() ** 1.5
        if ground.take(x, z, 0.25, 0.25):
            objects.person(scene, d, x, z, y)
    for _ in range(d.integer(0, 5)):
        x, z = edge * d.uniform(kerb + 0.5, outer), d.uniform(4, 50)
        if ground.take(x, z, 0.5, 0.5):
            scene.begin()
            objects.bicycle(scene, d, x, z, d.uniform(0, 6.3), y, name=d.pick(("bicycle", "bicycle", "motorcycle")))
    if d.chance(0.25):
        for _ in range(d.integer(1, 4)):
            x, z = edge * d.uniform(0.5, kerb), d.uniform(6, 40)
            if ground.take(x, z, 0.3, 0.3):
                objects.person(scene, d, x, z)


def _houses(
    scene: Scene, d: Draws, ground: _Ground, edge: int, start: float, far: float, y: float, sparse: float
) -> None:
    z = -BEHIND
    typical = d.pick((4.0, 7.0, 10.0, 16.0, 24.0))
    while z < far - 8:
        half_z, half_x = d.uniform(4, 14), d.uniform(4, 9)
        if not d.chance(sparse):
            setback = start + (d.uniform(0, 1.5) if d.chance(0.3) else 0.0)
            x = edge * (setback + half_x)
            objects.building(scene, d, x, z + half_z, (half_x, half_z), max(3.0, typical * d.uniform(0.7, 1.4)), y)
        z += 2 * half_z + (d.uniform(0.5, 10) if d.chance(0.35) else 0.0)


def _verge_plants(
    scene: Scene, d: Draws, ground: _Ground, edge: int, start: float, far: float, y: float,
    leaves: tuple[float, float, float], density: float,
) -> None:  # fmt: skip
    for _ in range(int(density * 12)):
        x, z = edge * (start + 25 * d.uniform() ** 1.5), d.uniform(-8, far)
        if ground.take(x, z, 0.8, 0.8):
            if d.chance(0.55):
                objects.tree(scene, d, x, z, y, leaves, d.uniform(4, 15))
            else:
                objects.bush(scene, d, x, z, y, leaves, d.uniform(0.4, 1.8))


def _backdrop(scene: Scene, d: Draws, country: bool, leaves: tuple[float, float, float]) -> None:
    if d.chance(0.6):
        for _ in range(d.integer(1, 5)):
            z = d.uniform(210, 400)
            objects.tree_line(
                scene, d, d.uniform(-250, 250), z, d.uniform(60, 250), d.uniform(8, 22), d.uniform(-0.3, 0.3), leaves
            )
    if d.chance(0.5 if country else 0.2):
        for _ in range(d.integer(1, 5)):
            z = d.uniform(600, 1500)
            objects.hill(scene, d, d.uniform(-1, 1) * z, z, d.uniform(200, 700), d.uniform(20, 120))
    if not country and d.chance(0.6):
        for _ in range(d.integer(1, 6)):
            objects.building(
                scene, d, d.uniform(-80, 80), d.uniform(215, 300), (d.uniform(8, 25), 8.0), d.uniform(8, 40), 0.0
            )
