"""Shadows of one box on the ground, against where the sun's rays put them."""

from __future__ import annotations

import math

import torch

from densemtl_core.data.street.scene import COLUMN, Kind, Scene
from densemtl_core.data.street.shadows import shadow_map, sunlit

HEIGHT = 1.5


def test_a_box_throws_its_shadow_away_from_the_sun() -> None:
    scene = Scene()
    scene.begin()
    scene.add(Kind.BOX, "building", (0.0, -2.0, 12.0), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5))  # 4 m cube
    table = scene.table().T.contiguous()
    table[COLUMN["y"]] += HEIGHT  # relative to the camera
    owner = torch.zeros(1, dtype=torch.int64)
    # The sun stands 45 degrees high on the right: the shadow is 4 m long to the left.
    sun = torch.tensor([[math.sqrt(0.5), -math.sqrt(0.5), 0.0]])
    height = torch.tensor([HEIGHT])
    shadow = shadow_map(table, owner, sun, height, (256, 256))
    places = {(-4.0, 12.0): 0, (-5.2, 12.0): 0, (-7.5, 12.0): 1, (4.0, 12.0): 1, (-4.0, 16.0): 1, (-4.0, 8.0): 1}
    x, z = (torch.tensor([p[i] for p in places]) for i in (0, 1))
    point = torch.stack([x, torch.full_like(x, HEIGHT), z])[None, :, None, :]
    up = torch.tensor([0.0, -1.0, 0.0])[None, :, None, None].expand_as(point)
    assert sunlit(shadow, sun, height, point, up)[0, 0].tolist() == list(map(float, places.values()))
    # The roof of the box itself lies in the sun.
    roof = torch.tensor([0.5, HEIGHT - 4.0, 12.0])[None, :, None, None]
    assert sunlit(shadow, sun, height, roof, up[..., :1]).item() == 1
