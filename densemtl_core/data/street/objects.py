"""Things on and beside a road, each built from a few primitives. Positions are on the ground, heights grow upwards."""

from __future__ import annotations

import math

from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.scene import Colour, Kind, Material, Plate, Scene

__all__ = [
    "bicycle",
    "building",
    "bus",
    "bush",
    "car",
    "fence",
    "hill",
    "person",
    "pole",
    "rider",
    "sign",
    "street_light",
    "traffic_light",
    "tree",
    "tree_line",
    "truck",
    "wall",
]  # fmt: skip

CAR_COLOURS: tuple[Colour, ...] = (
    (0.75, 0.75, 0.76), (0.55, 0.56, 0.58), (0.3, 0.31, 0.33), (0.1, 0.1, 0.11), (0.025, 0.025, 0.03),
    (0.02, 0.03, 0.1), (0.35, 0.03, 0.03), (0.5, 0.02, 0.02), (0.04, 0.1, 0.3), (0.03, 0.13, 0.08), (0.35, 0.3, 0.2),
    (0.6, 0.4, 0.05), (0.85, 0.85, 0.85),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (
    (0.02, 0.02, 0.03), (0.03, 0.04, 0.1), (0.1, 0.1, 0.11), (0.3, 0.3, 0.3), (0.7, 0.7, 0.7), (0.4, 0.04, 0.04),
    (0.05, 0.12, 0.3), (0.2, 0.14, 0.08), (0.6, 0.7, 0.05), (0.05, 0.2, 0.08), (0.5, 0.2, 0.3),
)  # fmt: skip
SKIN: tuple[Colour, ...] = ((0.55, 0.33, 0.23), (0.4, 0.22, 0.14), (0.18, 0.09, 0.05))
PLASTER: tuple[Colour, ...] = (
    (0.62, 0.6, 0.55), (0.75, 0.74, 0.7), (0.5, 0.42, 0.28), (0.45, 0.3, 0.18), (0.3, 0.12, 0.08), (0.22, 0.1, 0.07),
    (0.35, 0.33, 0.3), (0.22, 0.22, 0.23), (0.12, 0.11, 0.1), (0.5, 0.34, 0.3), (0.35, 0.4, 0.42), (0.55, 0.48, 0.2),
    (0.1, 0.13, 0.16),
)  # fmt: skip
LEAVES: tuple[Colour, ...] = (
    (0.05, 0.1, 0.02), (0.07, 0.13, 0.03), (0.1, 0.16, 0.04), (0.03, 0.07, 0.02), (0.12, 0.14, 0.05),
    (0.16, 0.13, 0.04), (0.04, 0.06, 0.03),
)  # fmt: skip
METAL: Colour = (0.25, 0.26, 0.27)
DARK: Colour = (0.015, 0.015, 0.016)


def _part(
    scene: Scene, kind: Kind, name: str, at: tuple[float, float, float], yaw: float,
    offset: tuple[float, float], low: float, high: float, half: tuple[float, float], colour: Colour,
    **options: object,
) -> None:  # fmt: skip
    """A part standing between two heights, at an offset (right, forward) in the frame of an object turned by yaw."""
    x, ground, z = at
    c, s = math.cos(yaw), math.sin(yaw)
    centre = (x + c * offset[0] + s * offset[1], ground - (low + high) / 2, z - s * offset[0] + c * offset[1])
    turn = float(options.pop("turn", 0.0))  # type: ignore[arg-type]
    scene.add(kind, name, centre, (half[0], (high - low) / 2, half[1]), colour, yaw=yaw + turn, **options)  # type: ignore[arg-type]


def car(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float, y: float = 0.0) -> tuple[float, float]:
    """A car heading along ``yaw``; returns its half width and half length."""
    scene.begin(speed)
    long, wide, tall = d.uniform(3.7, 4.9), d.uniform(1.62, 1.9), d.uniform(1.4, 1.75)
    colour, seed = d.jitter(d.pick(CAR_COLOURS), 0.2), d.uniform(0, 500)
    at, waist, hl, hw = (x, y, z), tall * d.uniform(0.56, 0.64), long / 2, wide / 2
    _part(scene, Kind.BOX, "car", at, yaw, (0, 0), 0.05, 0.32, (hw * 0.86, hl * 0.9), DARK)
    _part(
        scene, Kind.BOX, "car", at, yaw, (0, 0), 0.2, waist, (hw, hl), colour, material=Material.CAR_BODY, seed=seed,
        shape=(0.08, d.uniform(0.1, 0.4), d.uniform(0.05, 0.2)), second=(0.5, 0.5, 0.5),
        paint=(float(d.chance(0.35)), d.uniform(0.25, 0.45), d.uniform(), float(d.chance(0.4))),
    )  # fmt: skip
    rear = d.pick((0.15, 0.35, 0.6, 1.2))  # slope of the rear window: van, estate, hatchback, saloon
    start, end = -hl * d.uniform(0.82, 0.96) if rear < 1 else -hl * 0.75, hl * d.uniform(0.35, 0.5)
    _part(
        scene, Kind.BOX, "car", at, yaw, (0, (start + end) / 2), waist, tall, (hw * 0.95, (end - start) / 2), colour,
        material=Material.CAR_CABIN, seed=seed, shape=(0.28, d.uniform(0.8, 1.6), rear),
    )  # fmt: skip
    for side in (-1, 1):
        for along in (-0.62, 0.62):
            _part(
                scene, Kind.PLATE, "car", at, yaw, (side * (hw + 0.01), along * hl), 0.0, 0.64, (0.32, 0.02), DARK,
                turn=math.pi / 2, shape=(Plate.DISC, 0, 0), material=Material.WHEEL, second=(0.35, 0.35, 0.36),
            )  # fmt: skip
            _part(scene, Kind.BOX, "car", at, yaw, (side * (hw - 0.12), along * hl), 0.0, 0.6, (0.11, 0.28), DARK)
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
    _part(scene, Kind.BOX, name, at, yaw, (0, 0), 0.1, 0.6, (hw * 0.8, hl * 0.95), DARK)
    _part(
        scene, Kind.BOX, name, at, yaw, (0, -cabin * 0.6), 0.35 if van else 1.0, tall, (hw, hl - cabin * 0.6), colour,
        material=Material.CAR_BODY, seed=seed, paint=(0.0, 0.12, d.uniform(), float(d.chance(0.3))),
        second=(0.3, 0.3, 0.3),
    )  # fmt: skip
    cab = colour if van else d.jitter(d.pick(CAR_COLOURS), 0.2)
    _part(
        scene, Kind.BOX, name, at, yaw, (0, hl - cabin), 0.3, tall * (0.5 if van else 0.45), (hw, cabin), cab,
        material=Material.CAR_BODY, seed=seed, paint=(1.0, 0.3, 0.5, 0.0),
    )  # fmt: skip
    _part(
        scene, Kind.BOX, name, at, yaw, (0, hl - cabin), tall * (0.5 if van else 0.45), tall * 0.85,
        (hw, cabin), cab, material=Material.CAR_CABIN, seed=seed, shape=(0.06, 0.7 if van else 0.1, 0.0),
    )  # fmt: skip
    radius = 0.36 if van else 0.5
    for side in (-1, 1):
        for along in (-0.75, -0.5, 0.7) if not van else (-0.65, 0.65):
            _part(
                scene, Kind.PLATE, name, at, yaw, (side * (hw + 0.01), along * hl), 0.0, 2 * radius, (radius, 0.02), DARK,
                turn=math.pi / 2, shape=(Plate.DISC, 0, 0), material=Material.WHEEL, second=(0.25, 0.25, 0.25),
            )  # fmt: skip
            _part(
                scene,
                Kind.BOX,
                name,
                at,
                yaw,
                (side * (hw - 0.2), along * hl),
                0,
                1.8 * radius,
                (0.2, radius * 0.9),
                DARK,
            )
    return hw, hl


def bus(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float) -> tuple[float, float]:
    """A bus; returns its half width and half length."""
    scene.begin(speed)
    hl, hw, tall = d.uniform(4.5, 6.0), 1.25, d.pick((3.0, 3.1, 4.2))
    colour = d.jitter(
        d.pick(((0.6, 0.05, 0.05), (0.7, 0.7, 0.7), (0.6, 0.5, 0.1), (0.1, 0.2, 0.5), (0.2, 0.4, 0.2))), 0.2
    )
    _part(scene, Kind.BOX, "bus", (x, 0, z), yaw, (0, 0), 0.08, 0.5, (hw * 0.9, hl * 0.95), DARK)
    _part(
        scene, Kind.BOX, "bus", (x, 0, z), yaw, (0, 0), 0.3, tall, (hw, hl), colour, material=Material.COACH,
        seed=d.uniform(0, 500), shape=(0.01, 0.03, 0.02), second=d.jitter(d.pick(CAR_COLOURS), 0.2),
        paint=(1.0 if tall < 4 else 2.0, d.uniform(0.9, 1.5), d.uniform(), 0.0),
    )  # fmt: skip
    for side in (-1, 1):
        for along in (-0.5, 0.6):
            _part(
                scene, Kind.PLATE, "bus", (x, 0, z), yaw, (side * (hw + 0.01), along * hl), 0, 0.95, (0.48, 0.02), DARK,
                turn=math.pi / 2, shape=(Plate.DISC, 0, 0), material=Material.WHEEL, second=(0.3, 0.3, 0.3),
            )  # fmt: skip
    return hw, hl


def _figure(
    scene: Scene, d: Draws, name: str, at: tuple[float, float, float], yaw: float, tall: float, step: float
) -> None:
    """Legs, torso, arms and head of a person of height ``tall``; ``step`` spreads the feet along the walk."""
    top, trousers = d.jitter(d.pick(CLOTHES), 0.3), d.jitter(d.pick(CLOTHES), 0.3)
    skin, hair, seed = d.jitter(d.pick(SKIN), 0.2), d.pick(CLOTHES[:3]), d.uniform(0, 500)
    k, wide = tall / 1.75, d.uniform(0.9, 1.2)
    for side in (-1, 1):
        _part(
            scene,
            Kind.ELLIPSOID,
            name,
            at,
            yaw,
            (side * 0.1 * k, side * step),
            0,
            0.95 * k,
            (0.095 * wide, 0.12),
            trousers,
            seed=seed,
        )
        _part(
            scene,
            Kind.ELLIPSOID,
            name,
            at,
            yaw,
            (side * 0.27 * k * wide, -side * step),
            0.72 * k,
            1.45 * k,
            (0.07, 0.09),
            top,
            seed=seed,
        )
    low = d.pick((0.85, 0.85, 0.5)) * k
    _part(scene, Kind.ELLIPSOID, name, at, yaw, (0, 0), low, 1.55 * k, (0.24 * wide * k, 0.16 * wide), top, seed=seed)
    _part(scene, Kind.CONE, name, at, yaw, (0, 0), 1.4 * k, 1.56 * k, (0.06, 0.06), skin, shape=(1, 0, 0))
    _part(scene, Kind.ELLIPSOID, name, at, yaw, (0, 0), 1.5 * k, tall, (0.085, 0.1), skin, seed=seed)
    _part(scene, Kind.ELLIPSOID, name, at, yaw, (0, -0.015), 1.6 * k, tall + 0.02, (0.092, 0.1), hair, seed=seed)


def person(scene: Scene, d: Draws, x: float, z: float, y: float = 0.0) -> None:
    """A pedestrian walking in any direction."""
    scene.begin(d.uniform(-1.2, 1.2))
    _figure(scene, d, "person", (x, y, z), d.uniform(0, 2 * math.pi), d.uniform(1.5, 1.92), d.uniform(0.02, 0.22))


def bicycle(scene: Scene, d: Draws, x: float, z: float, yaw: float, y: float = 0.0, name: str = "bicycle") -> None:
    """A bicycle (or, named ``motorcycle``, a motorcycle) as parts of the current object."""
    at, colour = (x, y, z), d.jitter(d.pick(CAR_COLOURS), 0.3)
    heavy = name == "motorcycle"
    radius, base = (0.3, 0.62) if heavy else (0.34, 0.52)
    for along in (-base, base):
        outline = Plate.DISC if heavy else Plate.WHEEL
        _part(
            scene, Kind.PLATE, name, at, yaw, (0, along), 0, 2 * radius, (radius, 0.02), DARK, turn=math.pi / 2,
            shape=(outline, 0, 0), material=Material.WHEEL if heavy else Material.PLAIN, second=(0.3, 0.3, 0.3),
        )  # fmt: skip
        # From behind a plate has no width: a tyre does.
        _part(
            scene,
            Kind.ELLIPSOID,
            name,
            at,
            yaw,
            (0, along),
            0,
            2 * radius,
            (0.06 if heavy else 0.02, radius * 0.98 if heavy else 0.03),
            DARK,
        )
    if heavy:
        _part(scene, Kind.ELLIPSOID, name, at, yaw, (0, 0.05), 0.25, 0.85, (0.2, 0.55), colour)
        _part(scene, Kind.BOX, name, at, yaw, (0, -0.3), 0.7, 0.82, (0.14, 0.4), DARK)
        _part(scene, Kind.BOX, name, at, yaw, (0, 0.55), 0.8, 1.05, (0.3, 0.05), METAL)
    else:
        _part(
            scene, Kind.PLATE, name, at, yaw, (0, 0), 0.05, 1.02, (0.83, 0.02), colour, turn=math.pi / 2,
            shape=(Plate.BICYCLE_FRAME, 0, 0),
        )  # fmt: skip
        _part(scene, Kind.BOX, name, at, yaw, (0, 0.45), 0.98, 1.03, (0.28, 0.02), DARK)
        _part(scene, Kind.BOX, name, at, yaw, (0, -0.25), 0.93, 1.0, (0.07, 0.12), DARK)


def rider(scene: Scene, d: Draws, x: float, z: float, yaw: float, speed: float) -> None:
    """Somebody on a bicycle or a motorcycle."""
    scene.begin(speed)
    kind = d.pick(("bicycle", "bicycle", "motorcycle"))
    bicycle(scene, d, x, z, yaw, name=kind)
    top, trousers, skin = d.jitter(d.pick(CLOTHES), 0.3), d.jitter(d.pick(CLOTHES), 0.3), d.pick(SKIN)
    at = (x, 0.0, z)
    scene.begin(speed)
    for side in (-1, 1):
        _part(
            scene,
            Kind.ELLIPSOID,
            "rider",
            at,
            yaw,
            (side * 0.14, -0.02 + 0.08 * side),
            0.25,
            1.05,
            (0.09, 0.17),
            trousers,
        )
        _part(scene, Kind.ELLIPSOID, "rider", at, yaw, (side * 0.27, 0.15), 0.95, 1.4, (0.07, 0.24), top)
    _part(scene, Kind.ELLIPSOID, "rider", at, yaw, (0, -0.1), 0.85, 1.55, (0.23, 0.2), top)
    _part(scene, Kind.ELLIPSOID, "rider", at, yaw, (0, 0.02), 1.5, 1.78, (0.1, 0.12), skin)
    _part(
        scene, Kind.ELLIPSOID, "rider", at, yaw, (0, 0.0), 1.62, 1.84, (0.12, 0.15), d.jitter(d.pick(CAR_COLOURS), 0.2)
    )


def tree(scene: Scene, d: Draws, x: float, z: float, y: float, leaves: Colour, tall: float) -> None:
    """A broad-leaved tree, a poplar, a conifer, or a bare one."""
    scene.begin()
    bark = d.jitter((0.1, 0.075, 0.05), 0.4)
    at, colour, seed = (x, y, z), d.jitter(leaves, 0.3), d.uniform(0, 500)
    thick, crown = tall * d.uniform(0.015, 0.03) + 0.04, tall * d.uniform(0.15, 0.4)
    name, form = "vegetation", d.uniform()
    _part(scene, Kind.CONE, name, at, 0, (0, 0), -0.1, tall * 0.75, (thick, thick), bark, shape=(0.45, 0, 0), seed=seed)
    leaf = {"material": Material.FOLIAGE, "seed": seed}
    if form < 0.15:  # conifer
        for i in range(4):
            low, r = crown * 0.5 + (tall - crown * 0.5) * i / 4, tall * 0.2 * (1 - i / 4.6)
            _part(
                scene,
                Kind.CONE,
                name,
                at,
                0,
                (0, 0),
                low,
                low + tall * 0.34,
                (r, r),
                colour,
                shape=(0.05, 0, 0),
                **leaf,
            )
        return
    if form < 0.25:  # poplar
        _part(
            scene,
            Kind.ELLIPSOID,
            name,
            at,
            0,
            (0, 0),
            crown * 0.6,
            tall,
            (tall * 0.13, tall * 0.13),
            colour,
            shape=(0.5, 0, 0),
            **leaf,
        )
        return
    if form < 0.35:  # bare branches
        for _ in range(14):
            a, r = d.uniform(0, 6.28), tall * d.uniform(0.02, 0.2)
            low = tall * d.uniform(0.35, 0.6)
            _part(
                scene,
                Kind.CONE,
                name,
                at,
                0,
                (r * math.cos(a), r * math.sin(a)),
                low,
                low + tall * d.uniform(0.2, 0.4),
                (thick * 0.4, thick * 0.4),
                bark,
                shape=(0.2, 0, 0),
            )
        _part(
            scene,
            Kind.ELLIPSOID,
            name,
            at,
            0,
            (0, 0),
            crown,
            tall,
            (tall * 0.25, tall * 0.25),
            bark,
            shape=(1.75, 0, 0),
            **leaf,
        )
        return
    radius = tall * d.uniform(0.2, 0.34)
    for i in range(d.integer(4, 7)):
        a, r = d.uniform(0, 6.28), radius * (0.0 if i == 0 else d.uniform(0.3, 0.75))
        size = radius * (0.85 if i == 0 else d.uniform(0.4, 0.7))
        middle = crown + (tall - crown) * (0.55 if i == 0 else d.uniform(0.25, 0.8))
        flat = d.uniform(0.7, 1.1)
        _part(
            scene, Kind.ELLIPSOID, name, at, 0, (r * math.cos(a), r * math.sin(a)), middle - size * flat,
            middle + size * flat, (size, size), d.jitter(colour, 0.15), shape=(d.uniform(0.35, 0.7), 0, 0),
            material=Material.FOLIAGE, seed=seed + 37 * i,
        )  # fmt: skip


def bush(scene: Scene, d: Draws, x: float, z: float, y: float, leaves: Colour, size: float) -> None:
    """A shrub of a few overlapping balls."""
    scene.begin()
    for _ in range(d.integer(1, 4)):
        r = size * d.uniform(0.5, 1.0)
        _part(
            scene, Kind.ELLIPSOID, "vegetation", (x, y, z), 0, (d.uniform(-size, size), d.uniform(-size, size)),
            -0.3 * r, 1.3 * r, (r, r), d.jitter(leaves, 0.3), shape=(d.uniform(0.2, 0.5), 0, 0),
            material=Material.FOLIAGE, seed=d.uniform(0, 500),
        )  # fmt: skip


def building(
    scene: Scene, d: Draws, x: float, z: float, half: tuple[float, float], tall: float, y: float, yaw: float = 0.0, distant: bool = False,
) -> None:
    """A house or block with a window grid, perhaps with a pitched roof; ``half`` is half its extent in x and z."""
    scene.begin(distant=distant)
    colour, seed = d.jitter(d.pick(PLASTER), 0.25), d.uniform(0, 500)
    storey, window = d.uniform(2.7, 3.8), d.uniform(1.5, 3.8)
    # p2, p3: share of a cell that is glass, with the shop front as the integer part of p2.
    glassy = d.chance(0.12)
    share = (0.9, 0.8) if glassy else (d.uniform(0.3, 0.7), d.uniform(0.4, 0.65))
    trim = d.jitter(d.pick(((0.7, 0.7, 0.7), (0.1, 0.1, 0.1), (0.3, 0.2, 0.12), colour)), 0.2)
    at = (x, y, z)
    _part(
        scene, Kind.BOX, "building", at, yaw, (0, 0), -0.5, tall, half, colour, material=Material.FACADE, second=trim,
        seed=seed, paint=(storey, window, share[0] + (1.0 if d.chance(0.4) else 0.0), share[1]),
    )  # fmt: skip
    roof = d.jitter(d.pick(((0.12, 0.12, 0.13), (0.28, 0.1, 0.06), (0.2, 0.13, 0.09))), 0.3)
    if tall < 14 and d.chance(0.6):
        rise = min(half) * d.uniform(0.5, 1.0)
        across = half[0] < half[1]
        slope = (half[0] / rise, 0.0, 0.0) if across else (0.0, half[1] / rise, half[1] / rise)
        # The planes lean by half/height: they meet in a ridge at the top.
        _part(
            scene,
            Kind.BOX,
            "building",
            at,
            yaw,
            (0, 0),
            tall,
            tall + rise,
            half,
            roof,
            material=Material.MASONRY,
            shape=slope,
            seed=seed,
            paint=(0.3, 0.0, 0.0, 0.0),
        )
    elif d.chance(0.5):
        _part(
            scene,
            Kind.BOX,
            "building",
            at,
            yaw,
            (d.uniform(-0.4, 0.4) * half[0], d.uniform(-0.4, 0.4) * half[1]),
            tall,
            tall + d.uniform(1, 3),
            (half[0] * 0.4, half[1] * 0.4),
            roof,
        )
    if d.chance(0.4):
        _part(
            scene,
            Kind.BOX,
            "building",
            at,
            yaw,
            (half[0] * 0.5, half[1] * 0.6),
            tall,
            tall + d.uniform(1.5, 3.5),
            (0.4, 0.5),
            d.jitter((0.25, 0.12, 0.08), 0.3),
        )


def wall(scene: Scene, d: Draws, x: float, z: float, long: float, y: float) -> None:
    """A free-standing wall along the road."""
    scene.begin()
    colour = d.jitter(d.pick(PLASTER), 0.25)
    _part(
        scene, Kind.BOX, "wall", (x, y, z), 0, (0, 0), -0.2, d.uniform(0.7, 3.0), (0.15, long / 2), colour,
        material=Material.MASONRY, seed=d.uniform(0, 500), paint=(d.uniform(0.2, 0.6), 1.0, 0, 0),
    )  # fmt: skip


def fence(scene: Scene, d: Draws, x: float, z: float, long: float, y: float, rail: bool = False) -> None:
    """A picket fence, a railing or a guard rail along the road."""
    scene.begin()
    outline = Plate.GUARD_RAIL if rail else d.pick((Plate.PICKETS, Plate.RAILING, Plate.RAILING))
    tall = d.uniform(0.7, 0.9) if rail else d.uniform(0.9, 2.0)
    period = 2.0 if rail else d.uniform(0.12, 0.3) if outline == Plate.PICKETS else d.uniform(0.12, 0.25)
    colour = (
        d.jitter((0.45, 0.46, 0.47), 0.3)
        if rail
        else d.jitter(
            d.pick(((0.7, 0.7, 0.7), (0.25, 0.16, 0.09), (0.03, 0.03, 0.03), (0.05, 0.12, 0.06), (0.3, 0.3, 0.3))), 0.3
        )
    )
    if rail:
        _part(
            scene,
            Kind.BOX,
            "fence",
            (x, y, z),
            0,
            (0, 0),
            tall - 0.32,
            tall,
            (0.03, long / 2),
            colour,
            seed=d.uniform(0, 500),
        )
    _part(
        scene, Kind.PLATE, "fence", (x + (0.04 if rail else 0.0), y, z), math.pi / 2, (0, 0), 0, tall, (long / 2, 0.02), colour,
        shape=(outline, period, 0), seed=d.uniform(0, 500),
    )  # fmt: skip


def pole(scene: Scene, d: Draws, x: float, z: float, y: float, tall: float, radius: float = 0.06) -> None:
    """A bare pole as a part of the current object."""
    colour = d.jitter(d.pick((METAL, (0.1, 0.1, 0.1), (0.4, 0.4, 0.38), (0.05, 0.1, 0.07))), 0.3)
    _part(scene, Kind.CONE, "pole", (x, y, z), 0, (0, 0), -0.1, tall, (radius, radius), colour, shape=(0.75, 0, 0))


def street_light(scene: Scene, d: Draws, x: float, z: float, y: float, inward: float) -> None:
    """A lamp post whose arm reaches over the road (``inward`` is +1 or -1: towards +x or -x)."""
    scene.begin()
    tall, arm = d.uniform(5, 10), d.uniform(0.3, 2.5)
    pole(scene, d, x, z, y, tall, d.uniform(0.06, 0.12))
    at = (x, y, z)
    _part(scene, Kind.BOX, "pole", at, 0, (inward * arm / 2, 0), tall - 0.1, tall, (arm / 2, 0.05), METAL)
    _part(scene, Kind.BOX, "pole", at, 0, (inward * arm, 0), tall - 0.18, tall - 0.02, (0.35, 0.14), METAL)


def traffic_light(scene: Scene, d: Draws, x: float, z: float, y: float, inward: float) -> None:
    """A signal on a pole, sometimes on an arm over the road as well."""
    scene.begin()
    tall = d.uniform(2.6, 3.6)
    over = d.chance(0.4)
    pole(scene, d, x, z, y, 6.2 if over else tall, 0.09)
    places = [(0.0, tall - 0.3)]
    if over:
        arm = d.uniform(2.5, 5)
        _part(scene, Kind.BOX, "pole", (x, y, z), 0, (inward * arm / 2, 0), 5.9, 6.02, (arm / 2, 0.06), METAL)
        places.append((inward * arm, 6.3))
    state, shell = float(d.integer(0, 2)), d.jitter(d.pick((DARK, DARK, (0.04, 0.08, 0.05), (0.4, 0.3, 0.02))), 0.2)
    scene.begin()
    for offset, top in places:
        _part(
            scene, Kind.BOX, "traffic light", (x, y, z), 0, (offset, -0.2), top - 0.95, top, (0.16, 0.12), shell,
            material=Material.TRAFFIC_LIGHT, paint=(state, 0, 0, 0),
        )  # fmt: skip


def sign(scene: Scene, d: Draws, x: float, z: float, y: float, big: bool = False, span: float = 0.0) -> None:
    """A traffic sign on a pole; big: a direction board; ``span``: a gantry over the road of that width."""
    scene.begin()
    yaw, seed = d.uniform(-0.15, 0.15), d.uniform(0, 500)
    blue, green, white, red, yellow = (
        (0.02, 0.08, 0.4),
        (0.02, 0.2, 0.08),
        (0.75, 0.75, 0.75),
        (0.55, 0.02, 0.03),
        (0.7, 0.45, 0.02),
    )
    if span > 0:
        for side in (-1, 1):
            pole(scene, d, x + side * span / 2, z, y, 7.0, 0.18)
        _part(scene, Kind.BOX, "pole", (x, y, z), 0, (0, 0), 6.2, 6.8, (span / 2, 0.15), METAL)
        scene.begin()
        for i in range(d.integer(1, 3)):
            _part(
                scene, Kind.BOX, "traffic sign", (x, y, z), 0, (-span / 3 + i * span / 3, -0.25), 5.6, 7.6,
                (min(span / 7, 2.2), 0.05), d.jitter(d.pick((blue, green)), 0.2), material=Material.SIGN, second=white,
                seed=seed, paint=(3, 0, 0, 0),
            )  # fmt: skip
        return
    if big:
        wide, high, low = d.uniform(1, 2.2), d.uniform(1, 2), d.uniform(1.5, 2.5)
        for side in (-0.7, 0.7):
            pole(scene, d, x + side * wide, z, y, low + high, 0.06)
        scene.begin()
        _part(
            scene, Kind.BOX, "traffic sign", (x, y, z), 0, (0, -0.1), low, low + high, (wide, 0.03),
            d.jitter(d.pick((blue, green, white, yellow)), 0.2), material=Material.SIGN,
            second=white, seed=seed, paint=(3, 0, 0, 0),
        )  # fmt: skip
        return
    low, size = d.uniform(1.9, 2.7), d.uniform(0.28, 0.45)
    pole(scene, d, x, z, y, low + 2 * size + 0.05, 0.04)
    scene.begin()
    for i in range(d.pick((1, 1, 1, 2))):
        outline = d.pick((Plate.DISC, Plate.DISC, Plate.TRIANGLE, Plate.RECTANGLE))
        # paint 0 = rim in the second colour, 1 = plain with a bar, 2 = plain, 3 = board with text.
        colour, second, style = d.pick(
            ((white, red, 0.0), (red, white, 1.0), (blue, white, 2.0), (white, red, 0.0), (yellow, DARK, 0.0))
        )
        _part(
            scene, Kind.PLATE, "traffic sign", (x, y, z), yaw, (0, -0.08), low - 2.1 * size * i, low - 2.1 * size * i + 2 * size, (size, 0.02),
            d.jitter(colour, 0.15), second=d.jitter(second, 0.15), material=Material.SIGN, seed=seed,
            shape=(outline, 0, 0), paint=(style, float(outline), 0, 0),
        )  # fmt: skip


def tree_line(scene: Scene, d: Draws, x: float, z: float, half: float, tall: float, yaw: float, leaves: Colour) -> None:
    """A far row of trees as one ragged plate of the backdrop."""
    scene.begin(distant=True)
    _part(
        scene, Kind.PLATE, "vegetation", (x, 0.0, z), yaw, (0, 0), -3, tall, (half, 0.1), d.jitter(leaves, 0.2),
        shape=(Plate.RAGGED, 1, 0), material=Material.FOLIAGE, seed=d.uniform(0, 500), paint=(4.0, 0, 0, 0),
    )  # fmt: skip


def hill(scene: Scene, d: Draws, x: float, z: float, half: float, tall: float) -> None:
    """A far hill of the backdrop, wooded or grassy."""
    scene.begin(distant=True)
    wooded = d.chance(0.6)
    colour = d.jitter(d.pick(LEAVES) if wooded else (0.2, 0.2, 0.09), 0.3)
    _part(
        scene, Kind.ELLIPSOID, "vegetation" if wooded else "terrain", (x, 0.0, z), 0, (0, 0), -tall, tall,
        (half, half * 0.4), colour, material=Material.FOLIAGE, seed=d.uniform(0, 500), paint=(20.0, 0, 0, 0),
    )  # fmt: skip
