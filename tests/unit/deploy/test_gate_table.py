"""The gate's table has units and verdicts, and says when the network itself is poor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from densemtl_core.runtime import Bundle, default_bundle
from densemtl_core.tasks import make_tasks
from deploy.accuracy import Drop, drops, street_frames
from deploy.gate_table import beside_shipped, gate_table

FRAMES = street_frames((192, 320), 32)
SHIPPED = {"semantic": {"mIoU": 0.48}, "depth": {"RMSE": 7.5}, "normals": {"mErr": 13.0}, "edges": {"macroF1": 0.67}}


@pytest.fixture
def shipped():
    manifest = Bundle(default_bundle()).manifest
    return replace(manifest, accuracy={"dataset": FRAMES, "scores": SHIPPED})


@pytest.fixture
def tasks(shipped):
    names = shipped.tasks["semantic"].class_names
    return make_tasks(("semantic", "depth", "normals", "edges"), class_names=names)


def test_units_and_verdicts(tasks):
    after = {**SHIPPED, "normals": {"mErr": 14.0}, "semantic": {"mIoU": 0.471}}
    head, *lines, verdict = gate_table(drops(tasks, SHIPPED, after), "onnx int8").splitlines()
    assert head.split() == ["task", "metric", "eager", "fp32", "onnx", "int8", "lost", "allowed", "verdict"]
    assert [line.split() for line in lines] == [
        ["semantic", "mIoU", "%", "48.00", "47.10", "0.90", "1.50", "passed"],
        ["depth", "RMSE", "metres", "7.50", "7.50", "0.00", "0.22", "passed"],
        ["normals", "mErr", "degrees", "13.00", "14.00", "1.00", "0.70", "FAILED:", "too", "much", "is", "lost"],
        ["edges", "macroF1", "%", "67.00", "67.00", "0.00", "1.50", "passed"],
    ]
    assert verdict == "gate      FAILED by normals"


def test_all_passed_and_what_is_not_judged():
    nan = float("nan")
    text = gate_table([Drop("depth", "RMSE", 7, 7, 0.2, 0), Drop("own", "score", nan, nan, 0, 0)], "onnx int8")
    assert "own         score              not judged" in text
    assert text.splitlines()[-1].startswith("gate      passed")


def test_a_poor_network_is_told(tasks, shipped):
    mine = {**SHIPPED, "normals": {"mErr": 18.7}, "semantic": {"mIoU": 0.47}}
    line = beside_shipped(tasks, mine, FRAMES, shipped)
    assert line.endswith("yours is WORSE: normals mErr 18.7 degrees, the shipped one's 13.0")


def test_a_good_one_too(tasks, shipped):
    better = {**SHIPPED, "semantic": {"mIoU": 0.9}}
    assert "none of semantic, depth, normals, edges is much worse" in beside_shipped(tasks, better, FRAMES, shipped)


def test_other_frames_or_classes_are_not_compared(tasks, shipped):
    poor = {**SHIPPED, "semantic": {"mIoU": 0.1}}
    assert beside_shipped(tasks, poor, street_frames((256, 512), 32), shipped) == ""
    others = make_tasks(("semantic", "depth"), num_classes=19)
    assert "semantic" not in beside_shipped(others, poor, FRAMES, shipped)


def test_what_ships_has_scores_to_compare_with():
    manifest = Bundle(default_bundle()).manifest
    assert manifest.accuracy["dataset"] == street_frames(manifest.input_size, 32)
    assert set(manifest.accuracy["scores"]) == set(manifest.tasks)
