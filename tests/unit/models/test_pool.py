"""The pool against a second writing of its formulas, a matrix a pair of tasks."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from densemtl_core.models.pool import PoolExchange

TASKS = ("normals", "depth", "edges")


@pytest.fixture
def exchange():
    torch.manual_seed(0)
    made = PoolExchange(TASKS, 8).double().eval()
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return made


@pytest.fixture
def features():
    return {t: torch.randn(2, 8, 5, 7, dtype=torch.float64) for t in TASKS}


def pairwise(exchange: PoolExchange, features: dict[str, torch.Tensor], reader: str) -> torch.Tensor:
    """Task by task, with the product of the reader's and the writer's matrix written out; no pool anywhere."""
    x = features[reader]
    choose = exchange.choose[reader]
    chosen = torch.sigmoid(torch.einsum("oc,bchw->bohw", choose.weight[:, :, 0, 0], x) + choose.bias[:, None, None])
    conv, norm, _ = exchange.read[reader]
    total = torch.zeros_like(x)
    for writer in features:
        if writer == reader:
            continue
        gate = exchange.gate[writer](exchange.extract[writer](features[writer]))
        offered = torch.sigmoid(gate[:, :4]) * gate[:, 4:]
        for b in range(2):
            for y in range(5):
                for u in range(7):
                    # R_i diag(what the reader chooses) W_j: a matrix of this pair at this place
                    matrix = conv.weight[:, :, 0, 0] @ torch.diag(chosen[b, :, y, u])
                    total[b, :, y, u] += matrix @ exchange.write[writer].weight[:, :, 0, 0] @ offered[b, :, y, u]
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return x + ((total - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).relu()


@torch.no_grad()
def test_values_equal_a_matrix_a_pair(exchange, features):
    mixed = exchange(features)
    for task in TASKS:
        torch.testing.assert_close(mixed[task], pairwise(exchange, features, task), rtol=0, atol=1e-10)


def test_nobody_reads_what_it_wrote(exchange, features):
    features = {t: x.requires_grad_() for t, x in features.items()}
    exchange(features)["depth"].square().sum().backward()
    wrote = [p.grad for part in (exchange.extract, exchange.gate, exchange.write) for p in part["depth"].parameters()]
    # the pool less a task's own part leaves rounding errors of it, at most
    assert all(g is None or g.abs().max() < 1e-12 for g in wrote)
    assert features["edges"].grad.abs().max() > 1e-3


def test_gradients_reach_every_parameter(exchange, features):
    exchange.train()
    sum(x.square().sum() for x in exchange(features).values()).backward()
    assert [n for n, p in exchange.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_listing_order_does_not_matter(exchange, features):
    torch.manual_seed(0)
    other = PoolExchange(TASKS[::-1], 8).double()
    other.load_state_dict(exchange.state_dict())
    mixed, again = exchange(features), other.eval()({t: features[t] for t in reversed(TASKS)})
    assert all(torch.equal(mixed[t], again[t]) for t in TASKS)


def test_a_single_task_passes_through():
    exchange, x = PoolExchange(("depth",), 8), torch.randn(1, 8, 4, 4)
    assert exchange({"depth": x})["depth"] is x
    assert not list(exchange.parameters())


def test_twice_the_tasks_cost_twice_as_much():
    def flop(tasks: int) -> int:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            names = [str(i) for i in range(tasks)]
            PoolExchange(names, 64)({t: torch.empty(1, 64, 64, 128) for t in names})
        return counter.get_total_flops()

    assert flop(8) == 2 * flop(4)
