"""Figures of how far one engine is from another, on predictions made so that the figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.runtime import BundleError, Predictor, default_bundle
from densemtl_core.tasks import make_tasks
from deploy.agreement import agreement, agreement_of, told

TASKS = make_tasks(("semantic", "depth", "normals", "edges"), num_classes=3)


def picture(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """A prediction of 2 x 4 pixels: one class, 2 m away, a wall that faces the camera, no edge."""
    wall = np.zeros((2, 4, 3), np.float32)
    wall[..., 2] = -1
    plain = {
        "semantic": np.ones((2, 4), np.uint8),
        "depth": np.full((2, 4), 2, np.float32),
        "normals": wall,
        "edges": np.zeros((2, 4), np.float32),
    }
    return {**plain, **changed}


def test_an_engine_agrees_with_itself():
    one = picture(edges=np.eye(2, 4, dtype=np.float32))
    assert agreement(TASKS, [one], [one]) == {
        "semantic": {"same_class": 1},
        "depth": {"median_deviation": 0, "same_range": 1},
        "normals": {"mean_angle": 0, "same_surface": 1},
        "edges": {"F1": 1, "same_edge": 1},
    }


def test_classes_are_counted_over_all_pictures():
    other = np.ones((2, 4), np.uint8)
    other[0, :2] = 2
    found = agreement(TASKS, iter([picture(), picture()]), iter([picture(semantic=other), picture()]))
    assert found["semantic"] == {"same_class": 14 / 16}


def test_depth_is_compared_relatively_where_both_have_one():
    expected, near = np.full((2, 4), 4, np.float32), np.full((2, 4), 5, np.float32)
    near[0, 0] = np.inf
    found = agreement(TASKS, [picture(depth=expected)], [picture(depth=near)])
    assert found["depth"] == {"median_deviation": 0.25, "same_range": 7 / 8}


def test_beyond_range_in_both_is_agreement():
    far = np.full((2, 4), np.inf, np.float32)
    found = agreement(TASKS, [picture(depth=far)], [picture(depth=far.copy())])["depth"]
    assert math.isnan(found["median_deviation"])
    assert found["same_range"] == 1


def test_the_angle_between_normals():
    turned = picture()["normals"].copy()
    turned[0] = (0, math.sin(math.radians(-30)), -math.cos(math.radians(30)))
    turned[1, 0] = np.nan
    found = agreement(TASKS, [picture()], [picture(normals=turned)])["normals"]
    assert found["mean_angle"] == pytest.approx(30 * 4 / 7, abs=1e-4)
    assert found["same_surface"] == 7 / 8


def test_a_tiny_angle_is_not_lost_in_rounding():
    turned = picture()["normals"].astype(np.float64)
    turned[...] = (0, math.sin(1e-6), -math.cos(1e-6))
    found = agreement(TASKS, [picture()], [picture(normals=turned)])
    assert found["normals"]["mean_angle"] == pytest.approx(math.degrees(1e-6), rel=1e-3)


def test_edges_are_compared_as_edges_not_as_background():
    expected, found = np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32)
    expected[0] = 0.9
    found[0, :3], found[1, 0] = 0.6, 0.6
    figures = agreement(TASKS, [picture(edges=expected)], [picture(edges=found)])["edges"]
    assert figures == {"F1": 0.75, "same_edge": 6 / 8}


def test_a_task_of_somebody_elses():
    class Heat:
        kind, name = "heat", "heat"

        def outputs(self):
            return (type("Output", (), {"dtype": "float32"}),)

    found = agreement([Heat()], [{"heat": np.zeros((2, 2))}], [{"heat": np.array([[0, 1], [np.nan, 2]])}])
    assert found == {"heat": {"mean_difference": 1}}


def test_pictures_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        agreement(TASKS, [picture(), picture()], [picture()])
    with pytest.raises(ValueError, match=r"semantic: \(2, 4\) and \(3, 4\)"):
        agreement(TASKS, [picture()], [picture(semantic=np.ones((3, 4), np.uint8))])


def test_figures_for_a_person():
    assert told("same_class", 0.98765) == "same class 98.77 %"
    assert told("mean_angle", 1.234) == "mean angle 1.23 degrees"
    assert told("F1", 0.51) == "F1 0.51"


def test_a_bundles_engine_is_compared_with_its_own_network(monkeypatch):
    bundle, closed = default_bundle(), []
    _, description = load_checkpoint(bundle)
    frames = [np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8) for seed in range(2)]
    monkeypatch.setattr(Predictor, "close", lambda predictor: closed.append(predictor.backend))
    found = agreement_of(bundle, "eager", description.tasks, frames)
    assert found["semantic"] == {"same_class": 1}
    assert found["depth"] == {"median_deviation": 0, "same_range": 1}
    assert found["normals"] == {"mean_angle": 0, "same_surface": 1}
    assert closed == ["eager", "eager"]
    with pytest.raises(BundleError, match="has nothing for backend 'openvino'"):
        agreement_of(bundle, "openvino", description.tasks, frames)
    assert len(closed) == 3
