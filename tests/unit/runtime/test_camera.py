"""Depth learnt for one canonical camera is metres for any camera whose intrinsics are told."""

from __future__ import annotations

import array
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.runtime import Bundle, BundleError, Predictor
from densemtl_core.runtime.camera import apply_camera, checked_intrinsics
from densemtl_core.tasks import decode, make_tasks
from deploy.bundling import package

NAN, INF = np.nan, np.inf
FOCAL, LIMIT = 60.0, 80.0
RULE = {"focal": FOCAL, "limit": LIMIT}


def matrix(fx: float) -> np.ndarray:
    return np.array([[fx, 0, 47.5], [0, fx, 31.5], [0, 0, 1]])


def photo(height=64, width=96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def canonical_bundle(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    depth = {"kind": "depth", "encoding": "log", "canonical_focal": FOCAL, "max_depth": LIMIT}
    tasks = make_tasks([depth, "normals"])
    path = tmp_path_factory.mktemp("canonical") / "canonical.bundle"
    return package(
        build_model("densemtl_edge_s", tasks), ModelDescription("densemtl_edge_s", tasks, (64, 96)), path
    ).path


@pytest.fixture(scope="module")
def predictor(canonical_bundle) -> Predictor:
    return Predictor(canonical_bundle)


# The rule by itself ---------------------------------------------------------------------------------------------------


def test_the_rule_by_hand():
    depth = np.array([[1, 39.5, 41, NAN, INF]], np.float32)
    outputs = {"depth": depth}
    apply_camera(outputs, 2 * FOCAL, {"depth": RULE}, {"depth": ()})
    assert outputs["depth"].dtype == np.float32
    np.testing.assert_array_equal(outputs["depth"], np.array([[2, 79, INF, NAN, INF]], np.float32))
    assert outputs["depth"] is depth, "a camera-sized array more costs milliseconds"
    apply_camera(outputs, FOCAL / 4, {"depth": RULE}, {"depth": ()})
    np.testing.assert_array_equal(outputs["depth"], np.array([[0.5, 19.75, INF, NAN, INF]], np.float32))


def test_what_cannot_be_written_is_replaced():
    depth, normals = np.array([[1, 41]], np.float32), np.ones((1, 2, 3), np.float32)
    depth.flags.writeable = normals.flags.writeable = False
    outputs = {"depth": depth, "normals": normals}
    apply_camera(outputs, 2 * FOCAL, {"depth": RULE, "normals": {}}, {"depth": (), "normals": ("depth",)})
    np.testing.assert_array_equal(outputs["depth"], np.array([[2, INF]], np.float32))
    np.testing.assert_array_equal(outputs["normals"], np.array([[[1, 1, 1], [NAN, NAN, NAN]]], np.float32))
    assert depth[0, 0] == 1
    assert (normals == 1).all()


def test_the_rule_touches_only_what_it_is_for():
    outputs = {
        "depth": np.array([[10, 50]], np.float32),
        "normals": np.full((1, 2, 3), 0.6, np.float32),
        "semantic": np.array([[1, 2]], np.uint8),
        "edges": np.array([[0.5, 0.5]], np.float32),
    }
    rules = {"semantic": {}, "depth": RULE, "normals": {}, "edges": {}, "elsewhere": RULE}
    needs = {"semantic": ("depth",), "depth": (), "normals": ("depth",), "edges": ()}
    apply_camera(outputs, 2 * FOCAL, rules, needs)
    assert outputs["depth"].tolist() == [[20, INF]]
    assert np.isnan(outputs["normals"][0, 1]).all(), "no surface in range has no normal"
    assert (outputs["normals"][0, 0] == np.float32(0.6)).all()
    assert outputs["semantic"].tolist() == [[1, 2]]
    assert outputs["edges"].tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("given", [matrix(100), matrix(100).ravel().tolist(), array.array("d", matrix(100).ravel())])
def test_forms_of_intrinsics(given):
    np.testing.assert_array_equal(checked_intrinsics(given), matrix(100))


@pytest.mark.parametrize("given", [None, np.zeros((3, 3)), [0.0] * 9])
def test_an_unknown_camera(given):
    assert checked_intrinsics(given) is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([100.0, 100.0, 47.5, 31.5], r"got shape \(4,\)"),
        (np.eye(4), r"got shape \(4, 4\)"),
        (matrix(NAN), "finite with fx above 0"),
        (matrix(INF), "finite with fx above 0"),
        (matrix(-5), "finite with fx above 0"),
        ([0.0] * 8 + [1.0], "finite with fx above 0"),
        ("500,500,320,240", "got a str of something else"),
        ([[1, 2, 3], [4, 5]], "got a list of something else"),
    ],
)
def test_what_is_no_camera_is_one_line(predictor, given, text):
    with pytest.raises(InputError, match=text) as error:
        predictor.predict(photo(), intrinsics=given)
    assert "\n" not in str(error.value)


# The predictor --------------------------------------------------------------------------------------------------------


def test_twice_the_focal_length_is_twice_as_far(predictor):
    canonical = predictor.predict(photo())["depth"]
    same, twice = (predictor.predict(photo(), intrinsics=matrix(k * FOCAL))["depth"] for k in (1, 2))
    np.testing.assert_array_equal(same, canonical)
    near = canonical < LIMIT / 2
    assert near.any()
    np.testing.assert_allclose(twice[near], 2 * canonical[near], rtol=1e-6)
    assert np.isposinf(twice[~near]).all()
    assert twice.dtype == np.float32


def test_each_image_of_several_has_its_own_camera(predictor):
    matrices = [matrix(FOCAL), None, matrix(2 * FOCAL)]
    together = predictor.predict_batch([photo()] * 3, intrinsics=matrices)
    for K, found in zip(matrices, together, strict=True):
        np.testing.assert_allclose(found["depth"], predictor.predict(photo(), intrinsics=K)["depth"], rtol=1e-5)
    assert not np.array_equal(together[0]["depth"], together[2]["depth"])


def test_beyond_the_limit_is_out_of_range(predictor):
    canonical = predictor.predict(photo())["depth"]
    ratio = LIMIT / float(np.median(canonical))
    found = predictor.predict(photo(), intrinsics=matrix(ratio * FOCAL))["depth"]
    assert 0.3 < np.isposinf(found).mean() < 0.7
    assert found[np.isfinite(found)].max() <= LIMIT


def test_an_image_of_another_size_has_its_own_focal_length(predictor):
    """Twice the pixels in width and twice fx is the same camera, and so is twice the output size."""
    small, large = photo(), np.repeat(np.repeat(photo(), 2, 0), 2, 1)
    expected = predictor.predict(large)["depth"] * 1.5
    found = predictor.predict(large, intrinsics=matrix(2 * 1.5 * FOCAL))["depth"]
    np.testing.assert_allclose(found, np.where(expected > LIMIT, INF, expected), rtol=1e-6)
    whole, half = (predictor.predict(small, size=s, intrinsics=matrix(1.5 * FOCAL)) for s in (None, (32, 48)))
    assert half["depth"].shape == (32, 48)
    ratio = np.median(half["depth"]) / np.median(whole["depth"])
    assert ratio == pytest.approx(1, abs=0.1)


def test_equals_what_the_tasks_themselves_decode(predictor, canonical_bundle):
    """NumPy on the robot, PyTorch where it is judged: one rule, normals at the end of the range included."""
    model, description = load_checkpoint(canonical_bundle)
    K = matrix(LIMIT / float(np.median(predictor.predict(photo())["depth"])) * FOCAL)
    with torch.no_grad():
        raw = model.eval()(torch.from_numpy(photo()).permute(2, 0, 1)[None] / 255.0)
        full = {t.name: t.resize(raw[t.name][0], (64, 96)) for t in description.tasks}
        expected = decode(description.tasks, full, torch.from_numpy(K)[None].float())
    found = predictor.predict(photo(), intrinsics=K)
    depth, normals = expected["depth"][0].numpy(), expected["normals"][0].permute(1, 2, 0).numpy()
    decided = np.abs(np.nan_to_num(depth, posinf=2 * LIMIT) - LIMIT) > 0.1  # rounding may decide at the limit itself
    assert np.isposinf(depth[decided]).any()
    assert np.isfinite(depth[decided]).any()
    np.testing.assert_allclose(found["depth"][decided], depth[decided], rtol=1e-3)
    np.testing.assert_allclose(found["normals"][decided], normals[decided], atol=1e-3)
    assert np.isnan(found["normals"][np.isposinf(found["depth"])]).all()


def test_unknown_is_the_canonical_camera(predictor):
    canonical = predictor.predict(photo())
    for unknown in (None, np.zeros((3, 3)), [0.0] * 9):
        np.testing.assert_array_equal(predictor.predict(photo(), intrinsics=unknown)["depth"], canonical["depth"])


def test_a_bundle_without_a_rule_ignores_the_camera(pristine_bundle):
    plain = Predictor(pristine_bundle)
    before, after = plain.predict(photo()), plain.predict(photo(), intrinsics=matrix(500))
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


# The manifest ---------------------------------------------------------------------------------------------------------


def edited(bundle: Path, change) -> Path:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest["tasks"]["depth"])
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


def test_the_manifest_tells_the_rule(canonical_bundle):
    manifest = Bundle(canonical_bundle).manifest
    assert {name: task.camera for name, task in manifest.tasks.items()} == {"depth": RULE, "normals": {}}
    assert type(manifest).from_json(manifest.to_json(), "memory") == manifest


def test_a_manifest_from_before_the_rule_is_read(bundle):
    opened = edited(bundle, lambda depth: depth.pop("camera"))
    assert Predictor(opened).manifest.tasks["depth"].camera == {}


@pytest.mark.parametrize(
    "rule",
    [
        None,
        [60, 80],
        {"focal": 60},
        {"focal": 0, "limit": 80},
        {"focal": 60, "limit": INF},
        {"focal": NAN, "limit": 80},
        {"focal": "wide", "limit": 80},
        {"focal": 60, "limit": 80, "more": 1},
    ],
)
def test_a_rule_that_is_none_is_refused_in_one_line(bundle, rule):
    with pytest.raises(BundleError, match=r"manifest\.json is damaged") as error:
        Bundle(edited(bundle, lambda depth: depth.update(camera=rule)))
    assert "\n" not in str(error.value)


def test_manifest_and_model_must_agree(bundle):
    opened = edited(bundle, lambda depth: depth.update(camera=RULE))
    with pytest.raises(BundleError, match=r"manifest\.json says camera .*60.* for task 'depth', model\.json \{\}"):
        Predictor(opened)
