from __future__ import annotations

import numpy as np
import pytest

from densemtl_core import render


def test_classes_use_the_palette_and_black_for_the_unknown():
    ids = np.array([[0, 1], [255, 7]])
    picture = render.classes(ids, [(1, 2, 3), (4, 5, 6)])
    assert picture.tolist() == [[[1, 2, 3], [4, 5, 6]], [[0, 0, 0], [0, 0, 0]]]


def test_depth_gets_darker_with_distance_and_marks_the_unknown():
    picture = render.depth(np.array([[1.0, 10.0, 79.0, np.nan, np.inf]]), far=80.0)
    brightness = picture.astype(int).sum(-1)[0]
    assert brightness[0] > brightness[1] > brightness[2]
    assert brightness[3] == 0
    assert brightness[4] == 3 * 255


def test_normals_use_the_simulators_map():
    picture = render.normals(np.array([[[0.0, -1.0, 0.0], [1.0, 0.0, -1.0], [np.nan, 0.0, 0.0]]]))
    assert picture[0, 0].tolist() == [128, 0, 128]
    assert picture[0, 1].tolist() == [255, 128, 0]
    assert picture[0, 2].tolist() == [0, 0, 0]


def test_probability_and_rgb_and_scalar():
    assert render.probability(np.array([[0.0, 1.0, np.nan, 2.0]]))[0, :, 0].tolist() == [0, 255, 0, 255]
    assert render.rgb(np.full((1, 1, 3), 0.5))[0, 0].tolist() == [128, 128, 128]
    assert render.linear_rgb(np.array([[[0.25, 1.0, np.nan]]]))[0, 0].tolist() == [128, 255, 0]
    low, high, unknown = render.scalar(np.array([[0.0, 1.0, np.nan]]))[0].astype(int).sum(-1)
    assert high > low > unknown == 0


@pytest.mark.parametrize("kind", list(render.PICTURES))
def test_every_way_of_painting_gives_a_picture(kind):
    values = np.zeros((4, 6, 3) if kind in ("normals", "rgb", "linear_rgb") else (4, 6))
    options = {"palette": [(0, 0, 0)]} if kind == "classes" else {}
    picture = render.picture(kind, values, **options)
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8


def test_unknown_way_of_painting():
    with pytest.raises(ValueError, match="known: classes, depth"):
        render.picture("fresco", np.zeros((2, 2)))


def test_overlay_blends():
    image, paint = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert render.overlay(image, paint, 0.25)[0, 0, 0] == 125
    with pytest.raises(ValueError, match="must be the same"):
        render.overlay(image, paint[:1])


def test_panel_lays_cells_out_in_a_grid():
    red = np.full((20, 40, 3), (255, 0, 0), np.uint8)
    blue = np.full((10, 10, 3), (0, 0, 255), np.uint8)
    picture = render.panel([("a", red), ("b", blue), ("c", red)], columns=2, width=80)
    assert picture.shape == (2 * (40 + 24), 160, 3)
    assert picture[24 + 20, 40].tolist() == [255, 0, 0]
    assert picture[24 + 20, 120].tolist() == [0, 0, 255]
    with pytest.raises(ValueError, match="at least one"):
        render.panel([])
