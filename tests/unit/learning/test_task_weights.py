"""Task weights: totals by hand, the closed-form optimum, missing tasks, gradients, checkpoints."""

from __future__ import annotations

import math

import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.task_weights import FixedWeights, UncertaintyWeights
from densemtl_core.tasks import DepthTask, EdgesTask, NormalsTask, SemanticTask

TASKS = (SemanticTask(class_names=("road", "sky")), DepthTask(), NormalsTask(), EdgesTask())
LOSSES = {"semantic": 2.0, "depth": 30.0, "normals": 0.25, "edges": 0.5}
REGRESSIONS = ("depth", "normals")


def losses(*names: str) -> dict[str, torch.Tensor]:
    """Constant losses, of all tasks or of those named."""
    return {name: torch.tensor(LOSSES[name], requires_grad=True) for name in names or LOSSES}


def uncertainty(**values: float) -> UncertaintyWeights:
    """With the log-variances given."""
    weights = UncertaintyWeights(TASKS)
    with torch.no_grad():
        for name, value in values.items():
            weights.log_variances[name].fill_(value)
    return weights


class TestFixedWeights:
    def test_by_hand(self):
        given = losses()
        weights = FixedWeights(TASKS, {"semantic": 50, "normals": 0})
        total = weights(given)
        total.backward()
        assert total.item() == pytest.approx(50 * 2 + 30 + 0.5)
        assert {name: loss.grad.item() for name, loss in given.items()} == weights.factors()
        assert weights.factors() == {"semantic": 50, "depth": 1, "normals": 0, "edges": 1}

    def test_a_missing_task_adds_nothing(self):
        assert FixedWeights(TASKS, {"depth": 3})(losses("depth")).item() == 90
        assert FixedWeights(TASKS)({}).item() == 0

    def test_nothing_is_learned_or_saved(self):
        weights = FixedWeights(TASKS)
        assert list(weights.parameters()) == []
        assert weights.state_dict() == {}

    @pytest.mark.parametrize("wrong", [{"albedo": 1.0}, {"depth": -1.0}, {"depth": math.nan}, {"depth": math.inf}])
    def test_a_wrong_weight_names_the_tasks(self, wrong):
        with pytest.raises(InputError, match="one of semantic, depth, normals, edges"):
            FixedWeights(TASKS, wrong)


class TestUncertaintyWeights:
    def test_by_hand(self):
        s = {"semantic": 0.3, "depth": 2.0, "normals": -1.0, "edges": 0.7}
        weights = uncertainty(**s)
        share = {name: 0.5 if name in REGRESSIONS else 1.0 for name in s}
        expected = sum(share[n] * math.exp(-s[n]) * LOSSES[n] + s[n] / 2 for n in s)
        assert weights(losses()).item() == pytest.approx(expected, rel=1e-6)
        assert weights.factors() == pytest.approx({n: share[n] * math.exp(-s[n]) for n in s})

    def test_gradients_by_hand(self):
        weights, given = uncertainty(depth=2.0, edges=0.7), losses("depth", "edges")
        weights(given).backward()
        assert given["depth"].grad.item() == pytest.approx(math.exp(-2) / 2)
        assert given["edges"].grad.item() == pytest.approx(math.exp(-0.7))
        assert weights.log_variances["depth"].grad.item() == pytest.approx(0.5 - 30 * math.exp(-2) / 2)
        assert weights.log_variances["edges"].grad.item() == pytest.approx(0.5 - 0.5 * math.exp(-0.7))

    def test_descent_finds_the_closed_form(self):
        weights = UncertaintyWeights(TASKS)
        optimiser = torch.optim.Adam(weights.parameters(), lr=0.05)
        for _ in range(900):
            optimiser.zero_grad()
            weights(losses()).backward()
            optimiser.step()
        found = {name: s.item() for name, s in weights.log_variances.items()}
        best = {name: math.log(LOSSES[name] * (1 if name in REGRESSIONS else 2)) for name in LOSSES}
        assert found == pytest.approx(best, abs=1e-3)
        # there every task's weighted loss is one half, whatever its unit
        weighted = {name: factor * LOSSES[name] for name, factor in weights.factors().items()}
        assert weighted == pytest.approx(dict.fromkeys(LOSSES, 0.5), rel=1e-3)

    @pytest.mark.parametrize("zero", [False, True], ids=["no label", "no known pixel"])
    def test_a_missing_task_adds_exactly_zero(self, zero):
        weights, given = uncertainty(semantic=1.5, depth=2.0), losses("semantic")
        raw = torch.ones(3, requires_grad=True)
        if zero:
            given["depth"] = (raw * 0.0).sum()
        total = weights(given)
        total.backward()
        assert total.item() == weights(losses("semantic")).item() == pytest.approx(2 * math.exp(-1.5) + 0.75)
        assert weights.log_variances["depth"].grad.item() == 0.0
        assert weights.log_variances["semantic"].grad.item() != 0.0
        assert not zero or raw.grad.tolist() == [0.0] * 3

    def test_no_label_at_all(self):
        weights = uncertainty(depth=2.0)
        total = weights({})
        total.backward()
        assert total.item() == 0.0
        assert all(s.grad.item() == 0.0 for s in weights.parameters())

    def test_a_loss_that_is_not_a_number_is_not_hidden(self):
        assert UncertaintyWeights(TASKS)({"depth": torch.tensor(math.nan)}).isnan()

    def test_state_goes_over_whatever_the_order_of_the_tasks(self):
        weights = uncertainty(semantic=1.5, depth=2.0, normals=-0.5, edges=0.1)
        other = UncertaintyWeights(TASKS[::-1])
        other.load_state_dict(weights.state_dict())
        assert other.factors() == weights.factors()
        assert list(other.state_dict()) == list(weights.state_dict())
        assert other(losses()).item() == weights(losses()).item()
