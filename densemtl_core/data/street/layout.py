"""Draw a street: the road, the camera on it, and what stands where."""

from __future__ import annotations

import math
from collections.abc import Sequence

from densemtl_core.data.street import furniture, plants, structures
from densemtl_core.data.street.colours import LEAVES
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.plot import Plot
from densemtl_core.data.street.road import sample_ground
from densemtl_core.data.street.roadside import Side, place_roadside
from densemtl_core.data.street.scene import BEHIND, PERIOD, Camera, Colour, Ground, Scene
from densemtl_core.data.street.traffic import place_jam, place_traffic
from densemtl_core.data.street.weather import sample_light

__all__ = ["sample"]


def sample(d: Draws, light: Draws, style: str, jam: Draws | None = None) -> Scene:
    """Draw one street.

    Args:
        d: its stream of random numbers.
        light: another one for the light, so that a street is the same in both styles.
        jam: another one for a traffic jam; None: traffic flows.
        style: ``sim``, ``real`` or ``mixed``.

    Returns:
        The scene, its camera at z = 0.
    """
    scene = Scene()
    drawn = light.pick(("sim", "real"))
    if style == "mixed":
        style = drawn
    country = d.chance(0.35)
    # On a motorway every lane leads our way; elsewhere half of them come towards us.
    motorway = country and d.chance(0.5)
    lanes, lane = d.integer(2, 4), d.uniform(2.9, 3.7)
    oncoming = 0 if motorway else max(1, lanes // 2)
    keeps_right = d.chance(0.8)
    centres = [-lanes * lane / 2 + lane * (i + 0.5) for i in range(lanes)]
    ours = centres[oncoming:] if keeps_right else centres[: lanes - oncoming]
    theirs = [c for c in centres if c not in ours]
    divide = centres[0] - lane / 2 + lane * (oncoming if keeps_right else lanes - oncoming)
    parking = (0.0, 0.0) if country else (d.pick((0.0, 2.2)), d.pick((0.0, 2.2)))
    shoulder = d.uniform(0.3, 2.5) if country else 0.0
    left, right = -lanes * lane / 2 - parking[0] - shoulder, lanes * lane / 2 + parking[1] + shoulder

    borders = [-lanes * lane / 2 + lane * i for i in range(lanes + 1)]
    scene.ground = sample_ground(d, country, borders, None if motorway else divide, left, right)
    scene.light = sample_light(light, style)
    scene.camera = _camera(d, ours, scene.ground)

    plot = Plot()
    plot.take(scene.camera.x, 0.0, 1.1, PERIOD)  # the camera's way stays free
    if jam is None:
        place_traffic(scene, d, ours, theirs, trams=not country)
    else:
        place_jam(scene, jam, ours, theirs)
    leaves = d.pick(LEAVES)
    g = scene.ground
    for side in (
        Side(-1, -g.left, -g.left + g.verge_left + g.walk_left, -g.kerb, parking[0], leaves),
        Side(+1, g.right, g.right + g.verge_right + g.walk_right, -g.kerb, parking[1], leaves),
    ):
        place_roadside(scene, d, plot, side, country)
    _across(scene, d, country)
    _backdrop(scene, d, country, leaves)
    return scene


def _camera(d: Draws, ours: Sequence[float], ground: Ground) -> Camera:
    x = d.pick(ours) + d.uniform(-0.7, 0.7)
    if ground.walk_right > 1.4 and d.chance(0.06):
        x = ground.right + ground.verge_right + 0.7
    yaw = d.uniform(-12, 12) if d.chance(0.85) else d.uniform(-35, 35)
    if d.chance(0.5):
        yaw *= 0.25  # mostly a camera looks where the car goes
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


def _across(scene: Scene, d: Draws, country: bool) -> None:
    """Gantries and bridges over the road."""
    g = scene.ground
    middle = (g.left + g.right) / 2
    if d.chance(0.3 if country else 0.06):
        furniture.gantry(scene, d, middle, d.uniform(15, 90), g.right - g.left + 1.5)
    if d.chance(0.12):
        outer = max(g.right + g.walk_right + g.verge_right, -g.left + g.walk_left + g.verge_left)
        structures.bridge(scene, d, middle, d.uniform(18, 120), outer + d.uniform(1.5, 6))


def _backdrop(scene: Scene, d: Draws, country: bool, leaves: Colour) -> None:
    """Far trees, hills and houses: the horizon of a road is seldom the sky."""
    if d.chance(0.6):
        for _ in range(d.integer(1, 5)):
            plants.tree_line(
                scene, d, d.uniform(-250, 250), PERIOD - BEHIND + d.uniform(10, 200), d.uniform(60, 250),
                d.uniform(8, 22), d.uniform(-0.3, 0.3), leaves,
            )  # fmt: skip
    if d.chance(0.5 if country else 0.2):
        for _ in range(d.integer(1, 5)):
            z = d.uniform(600, 1500)
            plants.hill(scene, d, d.uniform(-1, 1) * z, z, d.uniform(200, 700), d.uniform(20, 120))
    if not country and d.chance(0.6):
        for _ in range(d.integer(1, 6)):
            x, z = d.uniform(-80, 80), PERIOD - BEHIND + d.uniform(25, 100)
            structures.building(scene, d, x, z, (d.uniform(8, 25), 8.0), d.uniform(8, 40), 0.0, distant=True)
