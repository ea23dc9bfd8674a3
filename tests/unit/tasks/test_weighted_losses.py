"""Labels that are believed in part: every loss with weights against a plain NumPy float64 writing of its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_tasks import SEMANTIC, TASKS, label_for, raw_for

from densemtl_core.tasks import DepthTask, EdgesTask, NormalsTask
from densemtl_core.tasks.base import masked_mean
from densemtl_core.tasks.classification import ClassificationTask

PAPERS = [DepthTask(paper_compatible=True), NormalsTask(paper_compatible=True)]


def weight_for(size=(4, 6)) -> torch.Tensor:
    """``(2, 1, H, W)`` in [0, 1], with zeros and ones among them."""
    return (torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(9)) * 1.6 - 0.3).clamp(0, 1).double()


def partly_known(task) -> torch.Tensor:
    label = label_for(task)
    hidden = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(11)) < 0.3
    if isinstance(task, ClassificationTask):
        return torch.where(hidden, 255, label)
    return torch.where(hidden[:, None], torch.nan, label)


@pytest.mark.parametrize("task", [*TASKS, *PAPERS], ids=repr)
def test_a_weight_of_one_is_none(task):
    label, one = partly_known(task), torch.ones(2, 1, 4, 6)
    plain, weighted = raw_for(task), raw_for(task)
    losses = [task.loss(plain, label), task.loss(weighted, label, one)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-9)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(weighted.grad, plain.grad, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("task", [*TASKS, *PAPERS], ids=repr)
def test_where_the_weight_is_zero_there_is_no_gradient(task):
    raw, weight = raw_for(task), torch.ones(2, 1, 4, 6)
    weight[..., 1, :] = 0
    task.loss(raw, label_for(task), weight).backward()
    assert not raw.grad[..., 1, :].any()
    assert raw.grad[..., [0, 2, 3], :].any()


@pytest.mark.parametrize("task", [*TASKS, *PAPERS], ids=repr)
def test_no_belief_at_all(task):
    raw = raw_for(task)
    loss = task.loss(raw, label_for(task), torch.zeros(2, 1, 4, 6))
    loss.backward()
    # The root in silog is taken of a hundred-millionth more than its argument.
    assert loss.item() == pytest.approx(0.0, abs=1.1e-3 if getattr(task, "criterion", "") == "silog" else 0.0)
    assert not raw.grad.any()


@pytest.mark.parametrize("task", [*TASKS, *PAPERS], ids=repr)
def test_nothing_known_is_zero_whatever_the_weight(task):
    raw = raw_for(task)
    loss = task.loss(raw, label_for(task, known=False), weight_for())
    loss.backward()
    assert loss.item() == 0.0
    assert not raw.grad.any()


@pytest.mark.parametrize("task", [t for t in TASKS if getattr(t, "criterion", "") != "silog"], ids=repr)
def test_half_a_belief_is_half_a_loss(task):
    """Doubt lowers the loss: it is divided by the known pixels, not by their weights."""
    label, half = partly_known(task), torch.full((2, 1, 4, 6), 0.5)
    raw = raw_for(task).detach()
    assert task.loss(raw, label, half).item() == pytest.approx(task.loss(raw, label).item() / 2)


def log_softmax(raw: np.ndarray) -> np.ndarray:
    return raw - np.log(np.exp(raw).sum(1, keepdims=True))


def test_semantic_against_numpy():
    raw, label, weight = raw_for(SEMANTIC).detach(), partly_known(SEMANTIC), weight_for()
    known = label.numpy() != 255
    ids = np.where(known, label.numpy(), 0)
    nll = -np.take_along_axis(log_softmax(raw.numpy()), ids[:, None], axis=1)[:, 0]
    expected = (nll * weight.numpy()[:, 0])[known].sum() / known.sum()
    assert SEMANTIC.loss(raw, label, weight).item() == pytest.approx(expected, rel=1e-12)


def test_edges_against_numpy():
    """Class weights divide, belief does not."""
    task = EdgesTask(edge_weight=0.9)
    raw, label, weight = raw_for(task).detach(), partly_known(task), weight_for()
    known = ~label.isnan().numpy()[:, 0]
    ids = np.where(known, label.numpy()[:, 0], 0).astype(int)
    nll = -np.take_along_axis(log_softmax(raw.numpy()), ids[:, None], axis=1)[:, 0]
    rarity = np.where(ids == 1, 0.9, 0.1)
    expected = (rarity * nll * weight.numpy()[:, 0])[known].sum() / rarity[known].sum()
    assert task.loss(raw, label, weight).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("paper_compatible", [False, True])
def test_normals_against_numpy(paper_compatible):
    task = NormalsTask(paper_compatible=paper_compatible)
    raw, label, weight = raw_for(task).detach(), partly_known(task).double(), weight_for()
    known = ~label.isnan().any(1).numpy()
    off = 1 - (raw * label).sum(1).numpy() / np.linalg.norm(raw.numpy(), axis=1)
    expected = (off * weight.numpy()[:, 0])[known].sum() / (known.size if paper_compatible else known.sum())
    assert task.loss(raw, label, weight).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("encoding", ["inverse", "log"])
@pytest.mark.parametrize("criterion", ["berhu", "l1", "silog"])
def test_depth_against_numpy(encoding, criterion):
    task = DepthTask(encoding=encoding, criterion=criterion)
    label, weight = partly_known(task).double(), weight_for()
    raw = task.encode(label_for(task).double() * torch.linspace(0.5, 1.4, 6).double())
    metres, truth, share = (x.numpy()[:, 0] for x in (task.metres(raw), label, weight))
    known = ~np.isnan(truth)

    def mean(values: np.ndarray) -> float:
        return float((values * share)[known].sum() / known.sum())

    if criterion == "berhu":
        code = (lambda z: 65536 / (100 * z + 1)) if encoding == "inverse" else (lambda z: np.log(z / 10))
        error = np.abs(raw.numpy()[:, 0] - code(truth))
        c = 0.2 * error[known].max()  # of all pixels, believed or not
        expected = mean(np.where(error <= c, error, (error**2 + c**2) / (2 * c)))
    elif criterion == "l1":
        expected = mean(np.abs(metres - truth))
    else:
        d = np.log(metres) - np.log(truth)
        expected = 10 * np.sqrt(mean(d**2) - 0.85 * mean(d) ** 2 + 1e-8)
    assert task.loss(raw, label, weight).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("task", [SEMANTIC, DepthTask(encoding="log", criterion="silog"), NormalsTask(), EdgesTask()])
def test_gradcheck(task):
    label = label_for(task, size=(2, 3))
    label = label if label.dtype == torch.int64 else label.double()
    weight = weight_for((2, 3))
    assert torch.autograd.gradcheck(lambda r: task.loss(r, label, weight), [raw_for(task, (2, 3))])


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_a_coarse_output_with_a_weight_of_the_labels_size(task):
    raw = raw_for(task, (2, 3))
    loss = task.loss(raw, label_for(task), weight_for())
    loss.backward()
    assert loss > 0
    assert raw.grad.isfinite().all()


class TestMaskedMean:
    def test_by_hand(self):
        values = torch.tensor([[1.0, torch.nan], [3.0, 8.0]])
        known = torch.tensor([[True, False], [True, True]])
        assert masked_mean(values, known).item() == pytest.approx(4.0)
        weight = torch.tensor([[1.0, 1.0], [0.5, 0.0]])
        assert masked_mean(values, known, weight).item() == pytest.approx((1 + 1.5) / 3)
        assert masked_mean(values, torch.zeros_like(known), weight).item() == 0.0

    def test_a_weight_is_spread_over_channels(self):
        values, weight = torch.ones(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
        weight[0] = 1
        assert masked_mean(values, torch.ones_like(values, dtype=torch.bool), weight).item() == pytest.approx(0.5)
