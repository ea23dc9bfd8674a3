"""The built-in tasks: decoding, losses against an independent writing, masks, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.tasks import (
    AlbedoTask,
    BoundaryDistanceTask,
    DepthTask,
    EdgesTask,
    InstanceCenterTask,
    NormalsTask,
    PlanesTask,
    SemanticTask,
    ShadingTask,
    decode,
    from_config,
    make_tasks,
)
from densemtl_core.tasks.classification import ClassificationTask

NAN, INF = math.nan, math.inf
SEMANTIC = SemanticTask(class_names=("road", "sky", "car"))
TASKS = [
    SEMANTIC,
    DepthTask(),
    DepthTask(encoding="log"),
    DepthTask(encoding="log", criterion="silog"),
    DepthTask(criterion="l1"),
    DepthTask(encoding="disparity", criterion="l1", up_to_scale=True, side_outputs=2),
    NormalsTask(),
    EdgesTask(),
    AlbedoTask(),
    ShadingTask(),
    BoundaryDistanceTask(),
    InstanceCenterTask(),
    PlanesTask(),
]


def label_for(task, known: bool = True, size=(4, 6)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    if isinstance(task, ClassificationTask):
        label = torch.randint(0, 3, (2, *size), generator=generator)
        return label if known else torch.full_like(label, 255)
    if isinstance(task, DepthTask):
        label = torch.rand(2, 1, *size, generator=generator) * 60 + 2
    elif isinstance(task, NormalsTask):
        label = torch.nn.functional.normalize(torch.randn(2, 3, *size, generator=generator), dim=1)
    elif isinstance(task, EdgesTask):
        label = torch.randint(0, 2, (2, 1, *size), generator=generator).float()
    elif isinstance(task, InstanceCenterTask):
        label = (torch.rand(2, 1, *size, generator=generator) * 1.2).clamp(max=1)
    else:
        label = torch.rand(2, task.channels, *size, generator=generator) * 0.1 + 0.01
    return label if known else torch.full_like(label, NAN)


def raw_for(task, size=(4, 6)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(6)
    raw = torch.randn(2, task.channels, *size, generator=generator)
    if isinstance(task, DepthTask) and task.encoding == "inverse":
        raw = raw.abs() * 50 + 20
    return raw.double().requires_grad_()


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_smoke(task):
    label = label_for(task)
    loss = task.loss(raw_for(task, (2, 3)), label)  # another size: the task resizes
    assert loss.ndim == 0
    assert loss > 0
    decoded = task.decode(raw_for(task).detach())
    assert [o.name for o in task.outputs()] == list(decoded)
    for output in task.outputs():
        value = decoded[output.name]
        assert value.shape == ((2, 4, 6) if output.channels == 1 else (2, output.channels, 4, 6))
    metric = task.metric()
    task.score(metric, decoded, label)
    assert math.isfinite(metric.compute()[metric.primary])


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_nothing_known_is_exactly_zero_with_zero_gradient(task):
    raw = raw_for(task)
    loss = task.loss(raw, label_for(task, known=False))
    loss.backward()
    assert loss.item() == 0.0
    assert raw.grad is not None
    assert not raw.grad.any()


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_unknown_pixels_have_no_influence(task):
    label = label_for(task)
    hidden = label.clone()
    hidden[..., 0, :] = 255 if isinstance(task, ClassificationTask) else NAN
    one, other = raw_for(task), raw_for(task)
    with torch.no_grad():
        other[..., 0, :] += 3.0
    losses = [task.loss(raw, hidden) for raw in (one, other)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)
    losses[0].backward()
    assert not one.grad[..., 0, :].any()
    assert one.grad[..., 1, :].any()


@pytest.mark.parametrize("task", [SEMANTIC, DepthTask(encoding="log", criterion="silog"), NormalsTask(), EdgesTask()])
def test_gradcheck(task):
    label = label_for(task, size=(2, 3))
    label = label if label.dtype == torch.int64 else label.double()
    assert torch.autograd.gradcheck(lambda r: task.loss(r, label), [raw_for(task, (2, 3))])


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_configuration_round_trip(task):
    assert from_config(task.config()) == task


class TestSemantic:
    def test_decode_is_argmax_and_softmax(self):
        raw = raw_for(SEMANTIC).detach()
        decoded = SEMANTIC.decode(raw)
        probabilities = raw.softmax(1)
        assert decoded["semantic"].dtype == torch.uint8
        assert torch.equal(decoded["semantic"].long(), probabilities.argmax(1))
        torch.testing.assert_close(decoded["semantic_confidence"], probabilities.max(1).values)

    def test_loss_by_hand(self):
        raw = torch.tensor([0.0, math.log(3.0), 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
        label = torch.tensor([[[1, 255]]])
        assert SEMANTIC.loss(raw, label).item() == pytest.approx(-math.log(3 / 5))

    def test_colours_are_made_when_none_are_given(self):
        assert len(set(SemanticTask(class_names=tuple("abcdefghijklmnop")).palette)) == 16

    def test_colours_must_match(self):
        with pytest.raises(ValueError, match="3 class names but 1 palette colours"):
            SemanticTask(class_names=("a", "b", "c"), palette=((0, 0, 0),))


class TestDepth:
    @pytest.mark.parametrize(("metres", "code"), [(10.0, 65.47), (80.0, 8.19)])
    def test_published_encoding(self, metres, code):
        assert DepthTask().encode(torch.tensor(metres)).item() == pytest.approx(code, abs=0.01)

    def test_published_disparity_runs_from_a_tenth_to_a_hundred(self):
        task = DepthTask(encoding="disparity")
        metres = task.metres(torch.tensor([40.0, 0.0, -40.0], dtype=torch.float64))
        torch.testing.assert_close(metres, torch.tensor([0.1, 2 / 10.01, 100.0], dtype=torch.float64))

    def test_of_unknown_scale_nothing_is_cut_and_the_scores_say_so(self):
        task = DepthTask(encoding="disparity", up_to_scale=True)
        raw = task.encode(torch.tensor([[[[0.5, 90.0]]]], dtype=torch.float64))
        torch.testing.assert_close(task.decode(raw)["depth"].flatten().tolist(), [0.5, 90.0])
        assert task.outputs()[0].unit == "unknown unit along the optical axis"
        metric = task.metric()
        task.score(metric, {"depth": torch.tensor([[[1.0, 2.0, 3.0]]])}, torch.tensor([[[[10.0, 20.0, 30.0]]]]))
        assert metric.compute()[metric.primary] == 0.0
        assert metric.primary == "RMSE_median_scaled"

    @pytest.mark.parametrize("encoding", ["inverse", "log", "disparity"])
    def test_read_back_is_exact(self, encoding):
        task = DepthTask(encoding=encoding)
        metres = torch.tensor([0.11 if encoding == "disparity" else 0.05, 0.99, 5.0, 79.9], dtype=torch.float64)
        torch.testing.assert_close(task.metres(task.encode(metres)), metres, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("encoding", ["inverse", "log", "disparity"])
    def test_beyond_range_is_infinite(self, encoding):
        task = DepthTask(encoding=encoding)
        raw = task.encode(torch.tensor([79.0, 85.0, INF])).view(1, 1, 1, 3)
        assert task.decode(raw)["depth"].flatten().isinf().tolist() == [False, True, True]

    def test_negative_inverse_depth_is_beyond_range_not_an_error(self):
        assert DepthTask().decode(torch.full((1, 1, 1, 1), -5.0))["depth"].item() == INF

    def test_berhu_by_hand(self):
        # errors 1 and 10, c = 2: linear 1, quadratic (100 + 4) / 4 = 26
        task = DepthTask()
        label = task.metres(torch.tensor([100.0, 100.0]).double()).view(1, 1, 1, 2)
        raw = torch.tensor([101.0, 110.0]).double().view(1, 1, 1, 2)
        assert task.loss(raw, label).item() == pytest.approx((1 + 26) / 2)

    def test_sky_pulls_the_encoding_to_its_far_end(self):
        task = DepthTask(encoding="log")
        label = torch.full((1, 1, 2, 2), INF)
        assert task.loss(task.encode(label), label).item() == pytest.approx(0.0, abs=1e-6)

    def test_a_wrong_option_names_the_known_ones(self):
        with pytest.raises(InputError, match="known: inverse, log"):
            from_config({"kind": "depth", "encoding": "linear"})


class TestNormals:
    def test_decode_is_unit(self):
        decoded = NormalsTask().decode(raw_for(NormalsTask()).detach())
        torch.testing.assert_close(decoded["normals"].norm(dim=1), torch.ones(2, 4, 6).double())

    def test_loss_by_hand(self):
        label = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
        raw = torch.tensor([3.0, 0.0, -3.0]).view(1, 3, 1, 1)
        assert NormalsTask().loss(raw, label).item() == pytest.approx(1 - math.cos(math.pi / 4))

    def test_no_surface_no_normal(self):
        tasks = (DepthTask(), NormalsTask())
        raw = {"depth": torch.tensor([65.0, 0.1]).view(1, 1, 1, 2), "normals": torch.ones(1, 3, 1, 2)}
        decoded = decode(tasks, raw)
        assert decoded["normals"][0, :, 0].isnan().all(0).tolist() == [False, True]
        assert not decode(tasks[1:], raw)["normals"].isnan().any()


class TestEdges:
    def test_decode_is_the_softmax(self):
        raw = raw_for(EdgesTask()).detach()
        torch.testing.assert_close(EdgesTask().decode(raw)["edges"], raw.softmax(1)[:, 1])

    def test_loss_equals_weighted_cross_entropy(self):
        raw, label = raw_for(EdgesTask()).detach(), label_for(EdgesTask())
        label[0, 0, 0, 0] = NAN
        nll = -raw.log_softmax(1)
        known = ~label[:, 0].isnan()
        is_edge = label[:, 0] == 1
        weight = torch.where(is_edge, 0.95, 0.05)
        chosen = torch.where(is_edge, nll[:, 1], nll[:, 0])
        expected = (weight * chosen)[known].sum() / weight[known].sum()
        assert EdgesTask().loss(raw, label).item() == pytest.approx(expected.item())


class TestMakeTasks:
    def test_mixture(self):
        tasks = make_tasks(["semantic", {"kind": "depth", "encoding": "log"}, NormalsTask()], num_classes=4)
        assert [t.name for t in tasks] == ["semantic", "depth", "normals"]
        assert [t.channels for t in tasks] == [4, 1, 3]

    def test_num_classes_must_agree_with_names(self):
        with pytest.raises(InputError, match="num_classes is 3"):
            make_tasks(["semantic"], num_classes=3, class_names=("a", "b"))
