"""Dense traffic: near vehicles fill the picture, nobody else's frames change, and nothing stands in the camera."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.street import StreetWorld
from densemtl_core.errors import InputError

SIZE = (48, 96)
VEHICLES = torch.tensor([CITYSCAPES_19.id(name) for name in ("car", "truck", "bus")])


def world(jams: float, **options) -> StreetWorld:
    return StreetWorld(seed=5, size=SIZE, length=48, jams=jams, **options)


def vehicle_share(batch) -> float:
    return torch.isin(batch.labels["semantic"], VEHICLES).float().mean().item()


def test_vehicles_fill_the_picture():
    flowing, dense = (world(jams).batch(range(24)) for jams in (0.0, 1.0))
    assert vehicle_share(dense) > 2 * vehicle_share(flowing)
    assert vehicle_share(dense) > 0.2


def test_a_share_of_the_samples_and_the_others_stay_as_they_were():
    flowing, some, dense = (world(jams) for jams in (0.0, 0.5, 1.0))
    changed = 0
    for index in range(16):
        image = some[index].image
        as_before = torch.equal(image, flowing[index].image)
        assert as_before or torch.equal(image, dense[index].image)
        changed += not as_before
    assert 3 <= changed <= 13


def test_the_camera_is_never_inside_a_vehicle():
    batch = world(1.0).batch(range(48))
    vehicles = torch.isin(batch.labels["semantic"], VEHICLES)
    assert batch.labels["depth"][:, 0][vehicles].min() > 0.3


def test_both_styles_show_the_same_street():
    sim, real = (world(1.0, style=style)[2] for style in ("sim", "real"))
    assert torch.equal(sim.labels["semantic"], real.labels["semantic"])
    assert not torch.equal(sim.image, real.image)


@pytest.mark.parametrize("jams", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none(jams):
    with pytest.raises(InputError, match="jams is"):
        world(jams)
