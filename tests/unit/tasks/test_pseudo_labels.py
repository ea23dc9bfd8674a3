"""What tasks say where there are no labels: views of a teacher as labels, and what a discriminator sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_tasks import NAN, SEMANTIC, TASKS, label_for, raw_for

from densemtl_core.errors import InputError
from densemtl_core.tasks import DepthTask, EdgesTask, NormalsTask, PlanesTask, SemanticTask
from densemtl_core.tasks.base import Task, self_information

INF = math.inf
TEACHING = [task for task in TASKS if type(task).pseudo_label is not Task.pseudo_label]


def logits(*probabilities: float) -> torch.Tensor:
    """``(1, C, 1, 1)`` whose softmax they are, shifted by something that does not matter."""
    return (torch.tensor(probabilities).double().log() + 3.0).view(1, -1, 1, 1)


@pytest.mark.parametrize("task", TEACHING, ids=repr)
@pytest.mark.parametrize("views", [1, 2, 3])
def test_a_label_as_a_sample_stores_it(task, views):
    raws = [raw_for(task).detach().float() + 0.1 * k for k in range(views)]
    label, confidence = task.pseudo_label(raws)
    assert label.shape == label_for(task).shape
    assert label.dtype == label_for(task).dtype
    assert confidence.shape == (2, 1, 4, 6)
    assert confidence.min() >= 0
    assert confidence.max() <= 1 + 1e-6
    assert task.loss(raws[0], label, confidence).isfinite()


@pytest.mark.parametrize("task", [t for t in TEACHING if not t.classifies], ids=repr)
def test_views_that_agree_say_what_they_say_and_are_believed(task):
    raw = raw_for(task).detach()
    if isinstance(task, DepthTask):
        raw = raw.clamp(max=task.encode(torch.tensor(60.0)).item() if task.encoding == "log" else None, min=-2)
    label, confidence = task.pseudo_label([raw, raw])
    torch.testing.assert_close(confidence, torch.ones(2, 1, 4, 6).double())
    # silog's root is taken of a hundred-millionth more than its argument; beyond max_depth criteria are blind
    assert task.loss(raw, label).item() == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_mirrored_twice_is_as_it_was(task):
    raw = raw_for(task).detach()
    once = task.mirrored(raw)
    assert not torch.equal(once, raw)
    assert torch.equal(task.mirrored(once), raw)
    if not isinstance(task, NormalsTask | PlanesTask):
        assert torch.equal(once, raw.flip(-1))


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_an_alignment_map_has_its_channels_and_a_gradient(task):
    raw = raw_for(task)
    seen = task.alignment_map(raw, label_for(task))
    assert seen.shape == (2, task.alignment_channels, 4, 6)
    seen.square().sum().backward()
    assert raw.grad.isfinite().all()
    assert raw.grad.any()


def test_a_task_that_says_nothing_of_it_has_defaults():
    class Plain(EdgesTask):
        pseudo_label, alignment_map, mirrored = Task.pseudo_label, Task.alignment_map, Task.mirrored

    task, raw = Plain(name="seams"), raw_for(EdgesTask())
    assert task.alignment_map(raw, torch.zeros(0)) is raw
    assert task.alignment_channels == 2
    assert torch.equal(task.mirrored(raw), raw.flip(-1))
    with pytest.raises(InputError, match=r"^task 'seams' \(edges\) has no pseudo-labels; leave it out"):
        task.pseudo_label([raw])


class TestSelfInformation:
    def test_against_numpy(self):
        raw = np.random.default_rng(0).normal(size=(2, 5, 3, 4)) * 3
        p = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
        expected = -p * np.log2(p) / np.log2(5)
        np.testing.assert_allclose(self_information(torch.from_numpy(raw)).numpy(), expected, rtol=1e-12)

    def test_no_idea_and_no_doubt(self):
        assert self_information(torch.zeros(1, 4, 1, 1)).sum().item() == pytest.approx(1.0)
        sure = torch.tensor([200.0, 0.0, 0.0, -200.0]).view(1, 4, 1, 1).requires_grad_()
        seen = self_information(sure)
        assert seen.sum().item() == pytest.approx(0.0, abs=1e-6)
        seen.sum().backward()
        assert sure.grad.isfinite().all(), "0 log 0 is zero, and has a gradient"

    @pytest.mark.parametrize("task", [SEMANTIC, EdgesTask()])
    def test_it_is_what_classifiers_show(self, task):
        raw = raw_for(task).detach()
        assert torch.equal(task.alignment_map(raw, label_for(task)), self_information(raw))


class TestSemantic:
    def test_the_mean_of_probabilities_decides(self):
        """Not of logits: one sure view and two that lean the other way."""
        views = [logits(0.1, 0.9, 1e-9), logits(0.6, 0.4, 1e-9), logits(0.55, 0.45, 1e-9)]
        ids, confidence = SEMANTIC.pseudo_label(views)
        assert ids.item() == 1
        assert confidence.item() == pytest.approx((0.9 + 0.4 + 0.45) / 3)
        assert SEMANTIC.pseudo_label(views[1:])[0].item() == 0


class TestDepth:
    @pytest.mark.parametrize(("encoding", "mean"), [("log", 6.0), ("inverse", None)])
    def test_two_views_by_hand(self, encoding, mean):
        """4 m and 9 m: the logarithmic mean is 6, that of inverse depth 5.53; the nearer is 4/9 of the farther."""
        task = DepthTask(encoding=encoding)
        views = [task.encode(torch.full((1, 1, 1, 1), z).double()) for z in (4.0, 9.0)]
        label, confidence = task.pseudo_label(views)
        expected = mean or (2 / (1 / 401 + 1 / 901) - 1) / 100
        assert label.item() == pytest.approx(expected)
        assert confidence.item() == pytest.approx(4 / 9)

    def test_the_farthest_is_a_depth(self):
        """Sky is past the range of the loss's criteria, and no NaN."""
        task = DepthTask()
        label, confidence = task.pseudo_label([torch.full((1, 1, 1, 1), -3.0)] * 2)
        assert label.item() == pytest.approx(655.35)
        assert confidence.item() == 1.0

    @pytest.mark.parametrize(("encoding", "raw"), [("inverse", 1e6), ("log", -200.0)])
    def test_a_collapsed_depth_is_no_nan(self, encoding, raw):
        label, confidence = DepthTask(encoding=encoding).pseudo_label([torch.full((1, 1, 1, 1), raw)] * 2)
        assert label.isfinite()
        assert 0 <= confidence.item() <= 1

    @pytest.mark.parametrize("encoding", ["inverse", "log"])
    def test_the_simulators_labels_span_zero_to_one(self, encoding):
        task = DepthTask(encoding=encoding)
        reference = torch.tensor([3.0, 10.0, NAN, 50.0]).double().view(1, 1, 1, 4)
        seen = task.alignment_map(task.encode(torch.tensor([50.0, 3.0, 10.0]).double()).view(1, 1, 1, 3), reference)
        code = (lambda z: 65536 / (100 * z + 1)) if encoding == "inverse" else math.log
        ends = sorted((code(3.0), code(50.0)))
        by_hand = [(code(z) - ends[0]) / (ends[1] - ends[0]) for z in (50.0, 3.0, 10.0)]
        assert seen.flatten().tolist() == pytest.approx(by_hand)
        assert sorted(seen.flatten().tolist())[::2] == pytest.approx([0.0, 1.0])

    def test_the_sky_is_the_far_end(self):
        task = DepthTask()
        seen = task.alignment_map(torch.tensor([1.0]).view(1, 1, 1, 1), torch.tensor([[[[INF, 10.0]]]]))
        assert seen.item() == pytest.approx(0.0, abs=1e-3)

    def test_what_no_depth_reaches_is_cut_as_released(self):
        reference = torch.tensor([[[[3.0, 50.0]]]])
        raw = torch.tensor([-40.0, 0.0, 40.0]).view(1, 1, 1, 3).requires_grad_()
        seen = DepthTask().alignment_map(raw, reference).flatten()
        assert seen[0] == seen[1] < seen[2]
        seen.sum().backward()
        assert raw.grad.flatten().tolist() == pytest.approx([0, 0, 1 / (65536 / 301 - 65536 / 5001)])
        log = DepthTask(encoding="log").alignment_map(raw / 40, reference).flatten()
        assert log[0] < log[1] < log[2], "the logarithm of a depth below ten metres is negative"

    @pytest.mark.parametrize("reference", [torch.full((1, 1, 1, 2), NAN), torch.full((1, 1, 1, 2), 7.0)])
    def test_a_simulator_that_says_nothing_or_one_depth(self, reference):
        raw = torch.tensor([[[[1.0, 90.0]]]]).requires_grad_()
        seen = DepthTask().alignment_map(raw, reference)
        assert seen.isfinite().all()
        assert reference.isnan().all().item() is not seen.any().item()


class TestNormals:
    def test_the_mean_direction_and_the_angle_between(self):
        for degrees in (0, 30, 60, 90, 140):
            half = math.radians(degrees / 2)
            views = [
                k * torch.tensor([s * math.sin(half), 0.0, -math.cos(half)], dtype=torch.float64)
                for s, k in ((1, 5), (-1, 2))
            ]
            label, confidence = NormalsTask().pseudo_label([v.view(1, 3, 1, 1) for v in views])
            torch.testing.assert_close(label.flatten(), torch.tensor([0.0, 0.0, -1.0]).double())
            assert confidence.item() == pytest.approx(max(0.0, math.cos(2 * half)), abs=1e-9)

    def test_opposite_views_say_nothing_and_no_nan(self):
        view = torch.tensor([0.0, 0.6, -0.8]).view(1, 3, 1, 1)
        label, confidence = NormalsTask().pseudo_label([view, -view])
        assert not label.isnan().any()
        assert confidence.item() == 0.0

    def test_in_a_mirror_left_and_right_change_places(self):
        raw = torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]).view(1, 3, 1, 2)
        assert NormalsTask().mirrored(raw)[0, :, 0].tolist() == [[-4.0, -1.0], [5.0, 2.0], [6.0, 3.0]]

    def test_a_discriminator_sees_unit_vectors(self):
        seen = NormalsTask().alignment_map(torch.tensor([3.0, 0.0, -4.0]).view(1, 3, 1, 1) * 7, torch.zeros(0))
        assert seen.flatten().tolist() == pytest.approx([0.6, 0.0, -0.8])


class TestEdges:
    @pytest.mark.parametrize(
        ("weight", "said", "likely"), [(0.95, 0.95, 0.5), (0.95, 0.99, 0.8389830508), (0.5, 0.7, 0.7)]
    )
    def test_what_the_class_weights_made_of_it_is_turned_back(self, weight, said, likely):
        """By hand: 0.99 * 0.05 / (0.99 * 0.05 + 0.01 * 0.95) = 0.0495 / 0.059 = 0.839."""
        _, confidence = EdgesTask(edge_weight=weight).pseudo_label([logits(1 - said, said)])
        assert confidence.item() == pytest.approx(max(likely, 1 - likely), rel=1e-6)

    def test_a_network_at_the_optimum_of_its_loss_tells_the_true_probability(self):
        """Of pixels that are edges one time in five, the weighted loss makes the network say 0.826."""
        task, raw = EdgesTask(), torch.zeros(1, 2, 1, 10, dtype=torch.float64, requires_grad=True)
        label = torch.tensor([1.0] * 2 + [0.0] * 8).view(1, 1, 1, 10).double()
        shared = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([shared], max_iter=60, tolerance_grad=1e-12, tolerance_change=0)

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            loss = task.loss(raw + shared.view(1, 2, 1, 1), label)
            loss.backward()
            return loss

        optimiser.step(closure)
        said = shared.detach().softmax(0)[1].item()
        assert said == pytest.approx(0.2 * 0.95 / (0.2 * 0.95 + 0.8 * 0.05), abs=1e-5)
        edges, confidence = task.pseudo_label([shared.detach().view(1, 2, 1, 1)])
        assert confidence.item() == pytest.approx(0.8, abs=1e-5)
        assert edges.item() == 0.0

    def test_an_edge_is_where_it_is_more_likely_than_not(self):
        raw = torch.cat([logits(1 - p, p) for p in (0.5, 0.9, 0.94, 0.96, 0.999)], dim=-1)
        edges, _ = EdgesTask().pseudo_label([raw])
        assert edges.flatten().tolist() == [0, 0, 0, 1, 1]

    def test_views_are_averaged_as_probabilities(self):
        _, confidence = EdgesTask(edge_weight=0.5).pseudo_label([logits(0.2, 0.8), logits(0.6, 0.4)])
        assert confidence.item() == pytest.approx(0.6)

    def test_certainty_is_no_nan(self):
        raw = torch.tensor([500.0, -500.0]).view(1, 2, 1, 1)
        for sign, edge in ((1, 0.0), (-1, 1.0)):
            edges, confidence = EdgesTask().pseudo_label([sign * raw])
            assert (edges.item(), confidence.item()) == (edge, 1.0)


def test_classes_have_any_name():
    """Nothing of this asks for a task's name."""
    task = SemanticTask(name="ground", class_names=("a", "b"))
    assert task.pseudo_label([logits(0.3, 0.7)])[0].item() == 1
