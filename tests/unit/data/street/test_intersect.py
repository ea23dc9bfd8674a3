"""Intersections against values worked out by hand, in a primitive's own frame (x right, y down, z forward)."""

from __future__ import annotations

import math

import pytest
import torch

from densemtl_core.data.street.intersect import (
    box_face,
    intersect_box,
    intersect_cone,
    intersect_ellipsoid,
    intersect_plate,
)
from densemtl_core.data.street.scene import Plate


def vector(x: float, y: float, z: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor([float(x)]), torch.tensor([float(y)]), torch.tensor([float(z)])


FORWARD = (0.0, 0.0, 1.0)
ZERO = torch.zeros(1)


@pytest.mark.parametrize(
    ("origin", "direction", "shape", "t", "face"),
    [
        ((0, 0, -10), FORWARD, (0, 0, 0), 7.0, 5),  # the near face of a box 3 m half long
        ((0, 0, 10), (0, 0, -1), (0, 0, 0), 7.0, 4),
        ((-5, 0, 0), (2, 0, 0), (0, 0, 0), 2.0, 1),  # from the left: 4 m at 2 m a unit
        ((0, -6, 0), (0, 1, 0), (0, 0, 0), 4.0, 3),  # from above
        ((0.9, 0, -10), FORWARD, (0, 0, 0), 7.0, 5),
        ((1.1, 0, -10), FORWARD, (0, 0, 0), math.inf, None),  # beside it
        ((0, 0, 0), FORWARD, (0, 0, 0), math.inf, None),  # from inside nothing is seen
        ((0, 0, -10), (0, 0, -1), (0, 0, 0), math.inf, None),  # behind
        ((0, 0, -10), FORWARD, (0, 0, 0.5), 8.0, 5),  # near face leaning back 0.5 m a metre: 2 m up it is 1 m in
        ((0, -1, -10), FORWARD, (0, 0, 0.5), 8.5, 5),
        ((-5, 0, 0), (1, 0, 0), (0.25, 0, 0), 4.5, 1),
    ],
)
def test_box(origin, direction, shape, t, face) -> None:
    box = (vector(*origin), vector(*direction), vector(1, 2, 3), vector(*shape))
    assert intersect_box(*box).item() == pytest.approx(t, rel=1e-5)
    assert face is None or box_face(*box).item() == face


@pytest.mark.parametrize(
    ("origin", "direction", "top", "t", "cap"),
    [
        ((0, 0, -10), FORWARD, 1.0, 9.5, 0),  # cylinder of radius 0.5
        ((0.3, 0, -10), FORWARD, 1.0, 9.6, 0),  # 3-4-5 triangle
        ((0.6, 0, -10), FORWARD, 1.0, math.inf, 0),
        ((0, -2.1, -10), FORWARD, 1.0, math.inf, 0),  # over the top
        ((0, -5, 0.2), (0, 1, 0), 1.0, 3.0, 1),  # down onto the cap
        ((0, 0, -10), FORWARD, 0.0, 9.75, 0),  # a cone has half its radius half way up
    ],
)
def test_cone(origin, direction, top, t, cap) -> None:
    got, on_cap = intersect_cone(vector(*origin), vector(*direction), vector(0.5, 2, 0.5), torch.tensor([top]))
    assert got.item() == pytest.approx(t, rel=1e-5)
    assert on_cap.item() == cap


@pytest.mark.parametrize(
    ("origin", "direction", "t"),
    [
        ((0, 0, -10), FORWARD, 7.0),
        ((0.6, 0, -10), FORWARD, 7.6),  # 3 * sqrt(1 - 0.36) = 2.4
        ((-5, 0, 0), (1, 0, 0), 4.0),
        ((0, -6, 0), (0, 2, 0), 2.0),
        ((1.01, 0, -10), FORWARD, math.inf),
        ((0, 0, 10), FORWARD, math.inf),
    ],
)
def test_ellipsoid(origin, direction, t) -> None:
    got = intersect_ellipsoid(vector(*origin), vector(*direction), vector(1, 2, 3), ZERO, ZERO)
    assert got.item() == pytest.approx(t, rel=1e-5)


def test_a_ragged_ellipsoid_loses_only_its_outline() -> None:
    x = torch.linspace(-0.999, 0.999, 401)
    rays = (x, torch.zeros_like(x), torch.full_like(x, -10.0))
    forward = (torch.zeros_like(x), torch.zeros_like(x), torch.ones_like(x))
    one = torch.ones_like(x)
    half = (one, 2 * one, 3 * one)
    smooth = intersect_ellipsoid(rays, forward, half, 0 * one, one)
    ragged = intersect_ellipsoid(rays, forward, half, 0.6 * one, one)
    seen = torch.isfinite(ragged)
    assert torch.isfinite(smooth).all()
    assert not seen.all()
    assert seen[x.abs() < 0.6].all()  # at most 0.6 of the squared radius is missing
    assert torch.equal(ragged[seen], smooth[seen])


@pytest.mark.parametrize(
    ("outline", "x", "y", "hit"),
    [
        (Plate.RECTANGLE, 0.95, 0.95, True),
        (Plate.RECTANGLE, 1.05, 0.0, False),
        (Plate.DISC, 0.7, 0.7, True),
        (Plate.DISC, 0.75, 0.75, False),
        (Plate.TRIANGLE, 0.0, -0.9, True),
        (Plate.TRIANGLE, 0.5, -0.9, False),  # narrow at its top
        (Plate.TRIANGLE, 0.9, 0.95, True),
        (Plate.WHEEL, 0.95, 0.0, True),
        (Plate.WHEEL, 0.4, 0.4, False),  # between the spokes
        (Plate.GUARD_RAIL, 0.5, -0.5, True),
        (Plate.GUARD_RAIL, 0.5, 0.5, False),  # under the rail
    ],
)
def test_plate(outline: Plate, x: float, y: float, hit: bool) -> None:
    one = torch.ones(1)
    got = intersect_plate(vector(x, y, -4), vector(0, 0, 2), vector(1, 1, 0), one * float(outline), one, ZERO)
    assert got.item() == (pytest.approx(2.0) if hit else math.inf)
