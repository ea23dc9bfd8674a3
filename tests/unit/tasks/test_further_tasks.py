"""Albedo, shading, boundary distance, instance centres, planes: encodings and losses by hand, mirror, wrong options."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from densemtl_core.data.further_labels import BOUNDARY_LIMIT, MIRRORED_PLANES
from densemtl_core.errors import InputError
from densemtl_core.tasks import (
    PLANES,
    AlbedoTask,
    BoundaryDistanceTask,
    InstanceCenterTask,
    PlanesTask,
    ShadingTask,
    Task,
    from_config,
    registered,
)
from densemtl_core.tasks.boundary_distance import FARTHEST
from densemtl_core.tasks.regression import RegressionTask

NAN = math.nan
REGRESSIONS: list[RegressionTask] = [
    AlbedoTask(),
    ShadingTask(),
    BoundaryDistanceTask(),
    BoundaryDistanceTask("d", 0.05),
]
TASKS: list[Task] = [*REGRESSIONS, InstanceCenterTask(), PlanesTask()]


def labels(task: RegressionTask) -> torch.Tensor:
    """Within the range, ``(2, C, 3, 5)`` float64."""
    share = torch.rand(2, task.channels, 3, 5, generator=torch.Generator().manual_seed(1)).double()
    return {"albedo": share * 0.9 + 0.05, "shading": share * 8 - 5}.get(task.kind, share * getattr(task, "limit", 1.0))


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_it_is_known_by_its_kind(task):
    assert task.kind in registered()
    assert from_config(task.config()) == task
    assert type(from_config({"kind": task.kind})) is type(task)


@pytest.mark.parametrize("task", REGRESSIONS, ids=repr)
def test_read_back_is_exact_and_scores_zero(task):
    label = labels(task)
    raw = task.encode(label)
    decoded = task.decode(raw)
    value = decoded[task.name]
    torch.testing.assert_close(value if task.channels > 1 else value[:, None], label)
    metric = task.metric()
    task.score(metric, decoded, label)
    assert metric.compute()["MAE"] == pytest.approx(0.0, abs=1e-9)
    assert task.loss(raw, label).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("task", REGRESSIONS, ids=repr)
def test_whatever_the_network_says_is_in_range(task):
    value = task.decode(torch.tensor([-1e9, 1e9]).view(1, 1, 1, 2).expand(1, task.channels, 1, 2))[task.name]
    low, high = {"shading": (-6.0, 3.0), "albedo": (0.0, 1.0)}.get(task.kind, (0.0, getattr(task, "limit", 1.0)))
    torch.testing.assert_close(value.unique(), torch.tensor([low, high]))


@pytest.mark.parametrize("task", REGRESSIONS, ids=repr)
def test_loss_against_numpy(task):
    label = labels(task)
    label[0, 0, 1, 2] = NAN  # of albedo one channel is enough
    raw = torch.randn(label.shape, generator=torch.Generator().manual_seed(2)).double()
    weight = torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(3)).double()
    truth = label.numpy()
    code = {"albedo": np.sqrt, "shading": lambda x: x}.get(task.kind, lambda x: x / getattr(task, "limit", 1.0))(truth)
    known = np.broadcast_to(~np.isnan(truth).any(1, keepdims=True), truth.shape)
    expected = (np.abs(raw.numpy() - code) * weight.numpy())[known].sum() / known.sum()
    assert task.loss(raw, label, weight).item() == pytest.approx(expected, rel=1e-6)


BEYOND: list[tuple[RegressionTask, float, float]] = [  # task, label, the end of the range
    (BoundaryDistanceTask(limit=0.05), 0.1, 0.05),
    (BoundaryDistanceTask(), math.inf, 0.1),
    (ShadingTask(), -9.9, -6.0),
    (ShadingTask(), -math.inf, -6.0),
    (ShadingTask(), math.inf, 3.0),
    (AlbedoTask(), 1.5, 1.0),
    (AlbedoTask(), math.inf, 1.0),
]


@pytest.mark.parametrize(("task", "beyond", "end"), BEYOND, ids=repr)
def test_a_label_beyond_the_range_is_its_end(task, beyond, end):
    """In the metric as in the loss: a network that says what it can is perfect, and an error is one from the end."""
    label = labels(task).float()
    label[0, :, 0, 0] = beyond
    label[1, :, 2, 4] = NAN
    known = task.known(label)
    perfect = task.encode(torch.where(known, label, torch.ones_like(label)))
    assert perfect.isfinite().all()
    metric = task.metric()
    task.score(metric, task.decode(perfect), label)
    assert metric.compute()["MAE"] == 0.0
    assert task.loss(perfect, label).item() == 0.0

    only = label[:1, :, :1, :1]
    middle = task.encode(torch.full_like(only, end * 0.5))
    metric = task.metric()
    task.score(metric, task.decode(middle), only)
    assert metric.compute()["MAE"] == pytest.approx(abs(end) * 0.5, rel=1e-6)


def test_cut_off_distances_score_what_they_would_by_hand():
    task, metric = BoundaryDistanceTask(limit=0.05), BoundaryDistanceTask(limit=0.05).metric()
    label = torch.tensor([0.0, 0.02, 0.05, 0.1, NAN]).view(1, 1, 1, 5)
    predicted = torch.tensor([0.01, 0.02, 0.04, 0.03, 0.0]).view(1, 1, 5)  # off by 0.01, 0, 0.01, 0.02
    task.score(metric, {"boundary_distance": predicted}, label)
    assert metric.compute()["MAE"] == pytest.approx(0.01, rel=1e-5)


def test_a_network_that_says_nothing_is_not_rescued():
    task = ShadingTask()
    metric = task.metric()
    task.score(metric, {"shading": torch.full((1, 1, 2), NAN)}, torch.zeros(1, 1, 1, 2))
    assert math.isnan(metric.compute()["MAE"])


def test_labels_reach_as_far_as_the_task_may():
    """Tasks may not import data: two constants that must agree."""
    assert FARTHEST == BOUNDARY_LIMIT
    assert BoundaryDistanceTask(limit=BOUNDARY_LIMIT) == BoundaryDistanceTask()


def test_black_is_no_albedo():
    """The street world's sky."""
    task, label = AlbedoTask(), torch.full((1, 3, 1, 2), 0.25)
    label[..., 1] = 0.0
    raw = torch.zeros(1, 3, 1, 2, requires_grad=True)
    loss = task.loss(raw, label)
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert not raw.grad[..., 1].any()
    metric = task.metric()
    task.score(metric, task.decode(raw.detach()), label)
    assert metric.compute()["MAE"] == pytest.approx(0.25)
    label[:, 0, 0, 1] = 0.5  # a pure red is a colour
    assert task.known(label).all()


def test_the_loss_of_centres_is_one_for_zero_and_counts_a_street_once():
    task = InstanceCenterTask()
    label = torch.zeros(1, 1, 8, 8)
    label[..., 2:6, 2:6] = 1.0
    assert task.loss(torch.zeros(1, 1, 8, 8), label).item() == pytest.approx(1.0)
    assert task.loss(label, label).item() == 0.0
    twice = torch.cat([label, label])
    raw = torch.rand(1, 1, 8, 8)
    assert task.loss(torch.cat([raw, raw]), twice).item() == pytest.approx(task.loss(raw, label).item())


def test_centres_of_an_empty_street_pull_to_zero():
    raw = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    loss = InstanceCenterTask().loss(raw, torch.zeros(1, 1, 4, 4))
    loss.backward()
    assert loss.item() == pytest.approx(16 * 0.25 / 10)
    assert (raw.grad > 0).all()


@pytest.mark.parametrize("task", [AlbedoTask(), ShadingTask(), BoundaryDistanceTask(), InstanceCenterTask()])
def test_gradcheck(task):
    label = torch.rand(1, task.channels, 2, 3, generator=torch.Generator().manual_seed(4)).double() + 0.01
    label[..., 0, 0] = NAN
    raw = torch.randn(1, task.channels, 2, 3, generator=torch.Generator().manual_seed(5)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda r: task.loss(r, label), [raw])


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_mirroring_twice_is_nothing(task):
    raw = torch.randn(1, task.channels, 2, 3)
    assert torch.equal(task.mirrored(task.mirrored(raw)), raw)
    assert not torch.equal(task.mirrored(raw), raw)


def test_planes_swap_sides_as_their_label_does():
    task, ids = PlanesTask(), torch.arange(len(PLANES))[None]
    raw = torch.eye(len(PLANES))[None, :, None]  # class k at column k
    assert torch.equal(
        task.decode(task.mirrored(raw))["planes"][0, 0].long(), torch.tensor(MIRRORED_PLANES)[ids].flip(-1)[0]
    )
    for name, other in zip(PLANES, MIRRORED_PLANES, strict=True):
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert PLANES[other] == swapped


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "boundary_distance", "limit": 0}, "limit is 0; it is a share of the diagonal"),
        ({"kind": "boundary_distance", "limit": 0.11}, "limit is 0.11; .* at most 0.1, where labels are cut off"),
        ({"kind": "boundary_distance", "limit": NAN}, "limit is nan; it is a share of the diagonal"),
        ({"kind": "instance_center", "tolerance": 1.5}, "tolerance is 1.5; it is a share of the diagonal"),
        ({"kind": "planes", "class_names": ["floor", "wall"], "palette": []}, "class_names cannot be chosen"),
    ],
)
def test_wrong_options_are_refused_in_one_line(config, message):
    with pytest.raises(InputError, match=message) as error:
        from_config(config)
    assert "\n" not in str(error.value)
