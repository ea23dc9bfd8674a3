"""The gate: by how much a task may fall, in its own unit and direction."""

from __future__ import annotations

import math

import pytest

from densemtl_core.data.class_lists import CITYSCAPES_19, VKITTI_8
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks
from deploy.accuracy import drops, labelled_street, scores
from deploy.bundling import package

TASKS = make_tasks(("semantic", "depth", "normals", "edges"), num_classes=19)
BEFORE = {"semantic": {"mIoU": 0.5}, "depth": {"RMSE": 4.0}, "normals": {"mErr": 10.0}, "edges": {"macroF1": 0.7}}


def after(**changes: float) -> dict[str, dict[str, float]]:
    changed = {name: dict(values) for name, values in BEFORE.items()}
    for task, value in changes.items():
        changed[task] = dict.fromkeys(changed[task], value)
    return changed


@pytest.mark.parametrize(
    ("task", "good", "bad"),
    [("semantic", 0.4851, 0.4849), ("depth", 4.119, 4.121), ("normals", 10.69, 10.71), ("edges", 0.6851, 0.6849)],
)
def test_each_task_may_lose_so_much_and_no_more(task, good, bad):
    for value, passes in ((good, True), (bad, False)):
        found = {drop.task: drop for drop in drops(TASKS, BEFORE, after(**{task: value}))}
        assert found[task].passes is passes
        assert all(drop.passes and drop.lost == 0 for name, drop in found.items() if name != task)


def test_gains_are_no_loss():
    better = after(semantic=0.9, depth=1.0, normals=1.0, edges=0.99)
    assert all(drop.passes and drop.lost < 0 for drop in drops(TASKS, BEFORE, better))


def test_a_score_that_vanished_never_passes_and_one_that_never_was_is_not_asked_for():
    vanished = drops(TASKS, BEFORE, after(depth=math.nan))[1]
    assert not vanished.passes
    never = {**BEFORE, "depth": {"RMSE": math.nan}}
    assert drops(TASKS, never, after(depth=math.nan))[1].passes


def test_scores_are_those_of_the_bundle_as_it_runs(model, description, tmp_path):
    bundle = package(model, description, tmp_path / "judged.bundle").path
    samples = labelled_street((64, 96), 2)
    found = scores(bundle, "eager", description.tasks, samples)
    assert set(found) == {"semantic", "depth", "normals", "edges"}
    assert 0 <= found["semantic"]["mIoU"] < 0.2  # random weights
    assert found == scores(bundle, "eager", description.tasks, samples)


def test_classes_are_told_in_the_networks_own_list():
    native = labelled_street((64, 96), 1)[0].labels["semantic"]
    eight = make_tasks(("semantic",), class_names=VKITTI_8.classes)
    found = labelled_street((64, 96), 1, eight)[0].labels["semantic"]
    sky = native == CITYSCAPES_19.id("sky")
    assert sky.any()
    assert (found[sky] == VKITTI_8.id("sky")).all()
    assert (found[native == CITYSCAPES_19.id("sidewalk")] == 255).all()
    foreign = labelled_street((64, 96), 1, make_tasks(("semantic",), class_names=("cat", "dog")))[0]
    assert "semantic" not in foreign.labels
    assert "depth" in foreign.labels


def test_a_network_of_foreign_classes_is_judged_on_its_other_tasks(tmp_path):
    tasks = tuple(make_tasks(("semantic", "edges"), class_names=("cat", "dog")))
    description = ModelDescription("densemtl_edge_s", tasks, (64, 96))
    bundle = package(build_model("densemtl_edge_s", tasks), description, tmp_path / "cats.bundle").path
    found = scores(bundle, "eager", tasks, labelled_street((64, 96), 1, tasks))
    assert math.isnan(found["semantic"]["mIoU"])
    assert not math.isnan(found["edges"]["macroF1"])
    assert all(drop.passes for drop in drops(tasks, found, found))


def test_labelled_frames_are_not_those_of_training():
    sample = labelled_street((64, 96), 1)[0]
    assert {"semantic", "depth", "normals", "edges"} <= set(sample.labels)
    assert "/val/" in sample.name
