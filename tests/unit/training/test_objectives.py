"""From settings to an objective: which task learns from what."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.objective import JointObjective
from densemtl_core.learning.self_supervised import SelfSupervisedDepth
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.task_weights import FixedWeights, UncertaintyWeights
from densemtl_core.tasks import make_tasks
from training.objectives import make_objective
from training.settings import DataSettings, SelfSupervision, Settings

TASKS = make_tasks(["semantic", {"kind": "depth", "encoding": "disparity"}], num_classes=4)


def settings(**changes) -> Settings:
    return Settings(preset="densemtl_edge_s", data=DataSettings(frames=[-1, 1]), **changes)


def test_labels_alone():
    objective = make_objective(settings(weights={"semantic": 50.0}), TASKS)
    assert isinstance(objective, SupervisedObjective)
    assert isinstance(objective.weigh, FixedWeights)
    assert objective.weigh.factors() == {"semantic": 50.0, "depth": 1.0}


def test_learned_weights_are_parameters():
    objective = make_objective(settings(weighting="uncertainty"), TASKS)
    assert isinstance(objective, SupervisedObjective)
    assert isinstance(objective.weigh, UncertaintyWeights)
    assert len(list(objective.parameters())) == 2


def test_depth_from_video_does_not_see_its_label():
    objective = make_objective(settings(self_supervised=SelfSupervision(pose="labels")), TASKS)
    assert isinstance(objective, JointObjective)
    parts = dict(objective.objectives.items())
    assert [task.name for task in parts["supervised"].tasks] == ["semantic"]
    assert isinstance(parts["self_supervised"], SelfSupervisedDepth)

    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 64)
    outputs = {"semantic": [torch.randn(1, 4, 32, 64)], "depth": [torch.randn(1, 1, 32, 64, requires_grad=True)]}
    pose = torch.eye(4)[None].clone()
    pose[:, 2, 3] = -1.0
    labels = {
        "semantic": torch.zeros(1, 32, 64, dtype=torch.int64),
        "image-1": torch.rand(1, 3, 32, 64),
        "image+1": torch.rand(1, 3, 32, 64),
        "pose-1": pose,
        "pose+1": torch.linalg.inv(pose),
    }
    K = torch.tensor([[[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]]])
    totals = []
    for depth in (5.0, 50.0):
        torch.manual_seed(1)  # the tie-breaking noise
        sample = Sample(image, {**labels, "depth": torch.full((1, 1, 32, 64), depth)}, K)
        total, parts = objective(outputs, sample)
        totals.append(float(total.detach()))
    assert totals[0] == totals[1], "the depth label has no say"
    assert {"semantic", "photometric", "smoothness"} <= set(parts)
    total.backward()
    assert outputs["depth"][0].grad.abs().sum() > 0


def test_video_alone_needs_no_supervised_part():
    depth = make_tasks([{"kind": "depth", "encoding": "disparity"}])
    objective = make_objective(settings(self_supervised=SelfSupervision(pose="labels")), depth)
    assert isinstance(objective, SelfSupervisedDepth)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weighting": "guess"}, "weighting is 'guess'"),
        ({"weighting": "uncertainty", "weights": {"depth": 2.0}}, "leave weights out"),
        ({"self_supervised": SelfSupervision(task="semantic")}, "no depth task of this run; there are: depth"),
        ({"weights": {"dpeth": 1.0}}, "dpeth"),
    ],
)
def test_settings_that_contradict_each_other(changes, words):
    with pytest.raises(InputError, match=words):
        make_objective(settings(**changes), TASKS)


def test_video_needs_neighbours():
    without = Settings(preset="densemtl_edge_s", self_supervised=SelfSupervision(pose="labels"))
    with pytest.raises(InputError, match=r"set data.frames to \[-1, 1\]"):
        make_objective(without, TASKS)
