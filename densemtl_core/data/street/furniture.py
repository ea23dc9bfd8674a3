"""Street furniture: poles, lamps, signals, signs."""

from __future__ import annotations

from densemtl_core.data.street.colours import DARK, METAL
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.parts import part
from densemtl_core.data.street.scene import Colour, Kind, Material, Plate, Scene, SignFace

__all__ = ["gantry", "pole", "sign", "street_light", "traffic_light"]

_BLUE: Colour = (0.02, 0.08, 0.4)
_GREEN: Colour = (0.02, 0.2, 0.08)
_WHITE: Colour = (0.75, 0.75, 0.75)
_RED: Colour = (0.55, 0.02, 0.03)
_YELLOW: Colour = (0.7, 0.45, 0.02)


def pole(scene: Scene, d: Draws, x: float, z: float, y: float, tall: float, radius: float = 0.06) -> None:
    """A bare pole as a part of the current object."""
    colour = d.jitter(d.pick((METAL, (0.1, 0.1, 0.1), (0.4, 0.4, 0.38), (0.05, 0.1, 0.07))), 0.3)
    part(scene, Kind.CONE, "pole", (x, y, z), 0, (0, 0), -0.1, tall, (radius, radius), colour, shape=(0.75, 0, 0))


def street_light(scene: Scene, d: Draws, x: float, z: float, y: float, inward: float) -> None:
    """A lamp post whose arm reaches over the road (``inward`` is +1 or -1: towards +x or -x)."""
    scene.begin()
    tall, arm = d.uniform(5, 10), d.uniform(0.3, 2.5)
    pole(scene, d, x, z, y, tall, d.uniform(0.06, 0.12))
    at = (x, y, z)
    part(scene, Kind.BOX, "pole", at, 0, (inward * arm / 2, 0), tall - 0.1, tall, (arm / 2, 0.05), METAL)
    part(scene, Kind.BOX, "pole", at, 0, (inward * arm, 0), tall - 0.18, tall - 0.02, (0.35, 0.14), METAL)


def traffic_light(scene: Scene, d: Draws, x: float, z: float, y: float, inward: float) -> None:
    """A signal on a pole, sometimes on an arm over the road as well."""
    scene.begin()
    tall = d.uniform(2.6, 3.6)
    over = d.chance(0.4)
    pole(scene, d, x, z, y, 6.2 if over else tall, 0.09)
    places = [(0.0, tall - 0.3)]
    if over:
        arm = d.uniform(2.5, 5)
        part(scene, Kind.BOX, "pole", (x, y, z), 0, (inward * arm / 2, 0), 5.9, 6.02, (arm / 2, 0.06), METAL)
        places.append((inward * arm, 6.3))
    state, shell = float(d.integer(0, 2)), d.jitter(d.pick((DARK, DARK, (0.04, 0.08, 0.05), (0.4, 0.3, 0.02))), 0.2)
    scene.begin()
    for offset, top in places:
        part(
            scene, Kind.BOX, "traffic light", (x, y, z), 0, (offset, -0.2), top - 0.95, top, (0.16, 0.12), shell,
            material=Material.TRAFFIC_LIGHT, paint=(state, 0, 0, 0),
        )  # fmt: skip


def sign(scene: Scene, d: Draws, x: float, z: float, y: float, big: bool = False) -> None:
    """A traffic sign or two on a pole; big: a direction board on two."""
    scene.begin()
    seed = d.uniform(0, 500)
    if big:
        wide, high, low = d.uniform(1, 2.2), d.uniform(1, 2), d.uniform(1.5, 2.5)
        for side in (-0.7, 0.7):
            pole(scene, d, x + side * wide, z, y, low + high, 0.06)
        scene.begin()
        _board(scene, d, (x, y, z), (0, -0.1), low, low + high, wide, d.pick((_BLUE, _GREEN, _WHITE, _YELLOW)), seed)
        return
    low, size, yaw = d.uniform(1.9, 2.7), d.uniform(0.28, 0.45), d.uniform(-0.15, 0.15)
    pole(scene, d, x, z, y, low + 2 * size + 0.05, 0.04)
    scene.begin()
    for i in range(d.pick((1, 1, 1, 2))):
        bottom = low - 2.1 * size * i
        outline = d.pick((Plate.DISC, Plate.DISC, Plate.TRIANGLE, Plate.RECTANGLE))
        colour, second, face = d.pick(
            (
                (_WHITE, _RED, SignFace.RIM),
                (_RED, _WHITE, SignFace.BAR),
                (_BLUE, _WHITE, SignFace.SYMBOL),
                (_WHITE, _RED, SignFace.RIM),
                (_YELLOW, DARK, SignFace.RIM),
            )
        )
        part(
            scene, Kind.PLATE, "traffic sign", (x, y, z), yaw, (0, -0.08), bottom, bottom + 2 * size, (size, 0.02),
            d.jitter(colour, 0.15), second=d.jitter(second, 0.15), material=Material.SIGN, seed=seed,
            shape=(outline, 0, 0), paint=(face, outline, 0, 0),
        )  # fmt: skip


def gantry(scene: Scene, d: Draws, x: float, z: float, span: float) -> None:
    """Direction boards on a beam over a road of width ``span``."""
    scene.begin()
    seed = d.uniform(0, 500)
    for side in (-1, 1):
        pole(scene, d, x + side * span / 2, z, 0.0, 7.0, 0.18)
    part(scene, Kind.BOX, "pole", (x, 0.0, z), 0, (0, 0), 6.2, 6.8, (span / 2, 0.15), METAL)
    scene.begin()
    for i in range(d.integer(1, 3)):
        place = (-span / 3 + i * span / 3, -0.25)
        _board(scene, d, (x, 0.0, z), place, 5.6, 7.6, min(span / 7, 2.2), d.pick((_BLUE, _GREEN)), seed)


def _board(
    scene: Scene, d: Draws, at: tuple[float, float, float], offset: tuple[float, float], low: float, high: float,
    wide: float, colour: Colour, seed: float,
) -> None:  # fmt: skip
    """A board with lines of lettering, as a part of the current object."""
    part(
        scene, Kind.BOX, "traffic sign", at, 0, offset, low, high, (wide, 0.04), d.jitter(colour, 0.2),
        material=Material.SIGN, second=DARK if colour in (_WHITE, _YELLOW) else _WHITE, seed=seed,
        paint=(SignFace.LETTERING, Plate.RECTANGLE, 0, 0),
    )  # fmt: skip
