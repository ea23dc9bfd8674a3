"""The published exchange against a second, obviously-correct writing of its formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from densemtl_core.models.exchange import CrossTaskAttention, CrossTaskExchange, attend


def randomise(module: nn.Module) -> nn.Module:
    """Weights, running statistics and alpha of order one, so that no term hides."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=buffer.dtype) * 0.2)
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=buffer.dtype) + 0.5)
    return module


def conv_1x1_bn_relu(x: torch.Tensor, block: nn.Sequential) -> torch.Tensor:
    conv, norm = block[0], block[1]
    y = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return ((y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).clamp(min=0)


def conv_3x3(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    padded = torch.zeros(*x.shape[:2], x.shape[2] + 2, x.shape[3] + 2, dtype=x.dtype)
    padded[:, :, 1:-1, 1:-1] = x
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1)
    y = torch.einsum("ocij,bchwij->bohw", weight, windows)
    return y if bias is None else y + bias[:, None, None]


def reference_direction(f_i: torch.Tensor, f_j: torch.Tensor, m: CrossTaskAttention) -> torch.Tensor:
    """XTAM j -> i, written out: loops for the resampling, einsum for the rest, and the full attention matrix."""
    s, (_, c, height, width) = m.downscale, f_i.shape
    g = conv_3x3(f_j, m.extract[0].weight, m.extract[0].bias).clamp(min=0)
    rows, columns = height // s, width // s
    pooled = torch.stack(
        [
            torch.stack([g[:, :, y * s : y * s + s, x * s : x * s + s].amax((2, 3)) for x in range(columns)], dim=-1)
            for y in range(rows)
        ],
        dim=-2,
    )
    q = conv_1x1_bn_relu(f_i[:, :, ::s, ::s], m.query)
    k, v = conv_1x1_bn_relu(pooled, m.key), conv_1x1_bn_relu(pooled, m.value)
    matrix = torch.einsum("bchw,bcyx->bhwyx", q, k) / c**0.5
    attention = torch.softmax(matrix.flatten(3), dim=-1).view_as(matrix)
    assert torch.allclose(attention.sum((3, 4)), torch.ones(()).double(), atol=1e-12)
    coarse = torch.einsum("bhwyx,bcyx->bchw", attention, v)
    h, w = coarse.shape[-2:]
    corr = torch.stack(
        [
            torch.stack([coarse[:, :, y * h // height, x * w // width] for x in range(width)], dim=-1)
            for y in range(height)
        ],
        dim=-2,
    )
    half = m.gate.weight.shape[0] // 2
    gate = torch.sigmoid(conv_3x3(g, m.gate.weight[:half], None)) * conv_3x3(g, m.gate.weight[half:], None)
    return conv_1x1_bn_relu(torch.cat([gate, m.alpha * corr], dim=1), m.merge)


def reference_exchange(features: dict[str, torch.Tensor], m: CrossTaskExchange) -> dict[str, torch.Tensor]:
    mixed = {}
    for i in features:
        sources = sorted(set(features) - {i})
        taken = [reference_direction(features[i], features[j], m.directions[i][j]) for j in sources]
        mixed[i] = features[i] + conv_1x1_bn_relu(torch.cat(taken, dim=1), m.fusion[i])
    return mixed


def make(
    tasks: tuple[str, ...], channels: int = 8, size: tuple[int, int] = (8, 12), downscale: int = 4, batch: int = 2
):
    torch.manual_seed(0)
    exchange = randomise(CrossTaskExchange(tasks, channels, downscale).double()).eval()
    return exchange, {t: torch.randn(batch, channels, *size, dtype=torch.float64) for t in tasks}


@pytest.mark.parametrize("tasks", [("a", "b"), ("semantic", "depth", "normals"), ("s", "d", "n", "e")])
@pytest.mark.parametrize("size", [(8, 12), (9, 14), (4, 4), (11, 5)])
def test_values_equal_the_formulas(tasks, size):
    exchange, features = make(tasks, size=size)
    with torch.no_grad():
        ours, reference = exchange(features), reference_exchange(features, exchange)
    for task in tasks:
        assert ours[task].shape == features[task].shape
        torch.testing.assert_close(ours[task], reference[task], rtol=0, atol=1e-10)


@pytest.mark.parametrize("downscale", [1, 2, 8])
def test_values_at_other_downscales(downscale):
    exchange, features = make(("a", "b"), size=(16, 8), downscale=downscale)
    with torch.no_grad():
        ours, reference = exchange(features), reference_exchange(features, exchange)
    for task in ours:
        torch.testing.assert_close(ours[task], reference[task], rtol=0, atol=1e-10)


def test_attention_rows_sum_to_one():
    # constant values come back unchanged exactly when every row of weights sums to one
    q, k = torch.randn(2, 8, 3, 5, dtype=torch.float64), torch.randn(2, 8, 4, 6, dtype=torch.float64)
    (mixed,) = attend([q], [k], [torch.full_like(k, 7.0)])
    torch.testing.assert_close(mixed, torch.full_like(q, 7.0), rtol=0, atol=1e-12)


def test_alpha_zero_silences_the_correlation_branch():
    exchange, features = make(("a", "b"))
    direction = exchange.directions["a"]["b"]
    direction.alpha.data.zero_()
    before = exchange(features)["a"]
    for block in (direction.query, direction.key, direction.value):
        block[0].weight.data.normal_()
    torch.testing.assert_close(exchange(features)["a"], before, rtol=0, atol=0)
    direction.alpha.data.fill_(0.5)
    assert not torch.allclose(exchange(features)["a"], before)


def test_alpha_starts_at_zero():
    exchange = CrossTaskExchange(("a", "b", "c"), 4)
    alphas = [m.alpha for m in exchange.modules() if isinstance(m, CrossTaskAttention)]
    assert len(alphas) == 6
    assert all(not a.any() for a in alphas)


def test_listing_order_does_not_matter():
    torch.manual_seed(1)
    one = CrossTaskExchange(("s", "d", "n"), 8).eval()
    torch.manual_seed(1)
    other = CrossTaskExchange(("n", "s", "d"), 8).eval()
    features = {t: torch.randn(1, 8, 8, 8) for t in ("s", "d", "n")}
    a, b = one(features), other({t: features[t] for t in ("d", "n", "s")})
    for task in features:
        torch.testing.assert_close(a[task], b[task], rtol=0, atol=0)


def test_the_two_directions_share_no_weights():
    exchange, _ = make(("a", "b"))
    forth, back = exchange.directions["a"]["b"], exchange.directions["b"]["a"]
    assert not {id(p) for p in forth.parameters()} & {id(p) for p in back.parameters()}


def test_gradients_reach_every_parameter():
    exchange, features = make(("a", "b", "c"))
    exchange.train()
    sum(f.square().sum() for f in exchange(features).values()).backward()
    silent = [n for n, p in exchange.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_gradcheck():
    direction = randomise(CrossTaskAttention(4, 2).double()).eval()
    inputs = [torch.randn(1, 4, 4, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(direction, inputs)


def test_single_task_passes_through():
    exchange = CrossTaskExchange(("depth",), 8)
    x = torch.randn(1, 8, 4, 4)
    assert exchange({"depth": x})["depth"] is x
    assert not list(exchange.parameters())


@pytest.mark.parametrize(("count", "millions"), [(2, "0.77"), (3, "2.32"), (4, "4.64")])
def test_parameter_counts_of_the_paper(count, millions):
    exchange = CrossTaskExchange([f"t{i}" for i in range(count)], 128)
    assert f"{sum(p.numel() for p in exchange.parameters()) / 1e6:.2f}" == millions
