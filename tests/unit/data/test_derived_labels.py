"""Normals and edges that follow from depth and classes."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.data.derived_labels import EdgeRule, check_wanted, derive, edges_from_labels, sources
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix, pixel_rays

SIZE = (12, 16)
K = intrinsics_matrix(20.0, 20.0, 7.5, 3.5)
CLASSES = EdgeRule(depth_step=None)
DEPTH = EdgeRule(classes=False)


def test_a_class_change_marks_one_pixel():
    semantic = torch.zeros(SIZE, dtype=torch.int64)
    semantic[:, 8:] = 1
    edge = edges_from_labels(semantic, None, CLASSES)
    assert edge.shape == (1, *SIZE)
    assert edge.dtype == torch.float32
    expected = torch.zeros(1, *SIZE)
    expected[:, :, 7] = 1
    assert torch.equal(edge, expected)


@pytest.mark.parametrize(("left", "right", "column"), [(5.0, 10.0, 7), (10.0, 5.0, 8), (5.0, float("inf"), 7)])
def test_a_depth_step_marks_the_nearer_pixel(left, right, column):
    depth = torch.full((1, *SIZE), left)
    depth[..., 8:] = right
    edge = edges_from_labels(None, depth, DEPTH)
    expected = torch.zeros(1, *SIZE)
    expected[..., column] = 1
    assert torch.equal(edge, expected)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([9.0, 9, 5, 5], [0.0, 0, 1, 0]),  # nothing else is known beside the first pair and the last
        ([9.0, 5, 5, 9], [0.0, 1, 1, 0]),  # two pixels in front
        ([5.0, 9, 9, 5], [1.0, 0, 0, 1]),  # a gap of two pixels
    ],
)
def test_equal_depths_beside_a_step_have_none(row, expected):
    edge = edges_from_labels(None, torch.tensor([[row]]), DEPTH)
    assert edge[0, 0].tolist() == expected


def test_a_step_below_the_threshold_is_none():
    depth = torch.full((1, *SIZE), 10.0)
    depth[..., 8:] = 10.7
    assert not edges_from_labels(None, depth, DEPTH).any()
    assert edges_from_labels(None, depth, EdgeRule(classes=False, depth_step=0.05)).any()


def test_the_ground_to_the_horizon_and_a_crease_make_no_edge():
    """Depth of the ground doubles between rows near the horizon, yet nothing is in front of anything."""
    rays = pixel_rays(K[None], SIZE)[0]
    ground = 1.5 / rays[1:2].clamp(min=1e-6)
    wall = torch.full_like(ground, 12.0)
    depth = torch.minimum(ground, wall)
    assert (ground[0, 5] / ground[0, 4]).max() < 0.5, "the test's ground must be steep enough to fool a plain ratio"
    assert not edges_from_labels(None, ground[:, 4:], DEPTH).any()
    assert not edges_from_labels(None, depth, DEPTH).any()
    depth[:, 2:9, 10] = 2.0  # a pole, one pixel wide, does
    edge = edges_from_labels(None, depth, DEPTH)
    assert edge[0, 2:7, 10].all()
    assert not edge[0, :, :9].any()


def test_what_is_unlabelled_is_unknown_not_background():
    semantic = torch.zeros(SIZE, dtype=torch.int64)
    semantic[5:, 5:] = 255
    semantic[:, 0] = 1
    edge = edges_from_labels(semantic, None, CLASSES)[0]
    assert edge[6:, 6:].isnan().all()
    assert edge[4, 6].isnan()
    assert edge[0, 10] == 0
    assert (edge[:, 0] == 1).all()


def test_unknown_depth_is_unknown_edge():
    depth = torch.full((1, *SIZE), 10.0)
    depth[0, 6, 6] = torch.nan
    edge = edges_from_labels(None, depth, DEPTH)[0]
    assert int(edge.isnan().sum()) == 5


def test_both_sources_together():
    semantic = torch.zeros(SIZE, dtype=torch.int64)
    semantic[:, 4:] = 1
    depth = torch.full((1, *SIZE), 20.0)
    depth[..., 4:] = 10.0
    depth[..., 12:] = 30.0
    edge = edges_from_labels(semantic, depth)[0]
    assert edge[0].nonzero().flatten().tolist() == [4, 11]


def test_edges_of_nothing_are_refused():
    with pytest.raises(InputError, match="semantic"):
        edges_from_labels(None, torch.ones(1, 4, 4), CLASSES)


@pytest.mark.parametrize("arguments", [{"depth_step": 0.0}, {"depth_step": None, "classes": False}])
def test_a_rule_without_sense_is_refused(arguments):
    with pytest.raises(InputError, match="edges"):
        EdgeRule(**arguments)


def test_sources_are_only_those_needed():
    assert sources(["normals"], EdgeRule()) == {"depth"}
    assert sources(["edges"], EdgeRule()) == {"semantic", "depth"}
    assert sources(["edges"], CLASSES) == {"semantic"}
    assert sources([], EdgeRule()) == set()


def test_an_unknown_label_is_refused():
    with pytest.raises(InputError, match="albedo"):
        check_wanted("X", ["albedo"], ["depth"])


def test_derive_gives_exact_normals_and_keeps_only_what_is_wanted():
    wall = Sample(
        torch.zeros(3, *SIZE), {"depth": torch.full((1, *SIZE), 4.0), "instance": torch.ones(SIZE)}, K, "wall"
    )
    derived = derive(wall, ["normals"])
    assert set(derived.labels) == {"normals", "instance"}
    inner = derived.labels["normals"][:, 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.tensor([0.0, 0.0, -1.0]).view(3, 1, 1).expand_as(inner), atol=1e-5, rtol=0)
    assert derived.labels["normals"][:, 0].isnan().all()


def test_normals_without_a_camera_are_refused():
    with pytest.raises(InputError, match="wall: normals need the camera's intrinsics"):
        derive(Sample(torch.zeros(3, 4, 4), {"depth": torch.ones(1, 4, 4)}, None, "wall"), ["normals"])


def test_a_label_of_another_size_is_refused():
    with pytest.raises(InputError, match="depth is 5x4 pixels but the image 4x4"):
        derive(Sample(torch.zeros(3, 4, 4), {"depth": torch.ones(1, 4, 5)}, None, "wall"), ["depth"])
