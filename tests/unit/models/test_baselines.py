"""Baselines: their sizes, what they exchange, and that in one frame nothing but the exchange differs."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.models import PRESETS, build_model
from densemtl_core.models.baselines import GatingExchange

ALL = ("semantic", "depth", "normals", "edges")
CHANNELS = {"semantic": 7, "depth": 1, "normals": 3, "edges": 2}
SMALL = [
    "mtl_r18",
    "padnet_r18",
    "threeways_r18",
    "mtl_edge_s",
    "padnet_edge_s",
    "threeways_edge_s",
    "xtam_edge_s",
    "xtam_fine_edge_s",
]
EXCHANGING = [name for name in SMALL if not name.startswith("mtl")]


def make(preset: str, tasks: tuple[str, ...] = ALL) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(preset, tasks, num_classes=7)


def parameters(preset: str, tasks: tuple[str, ...], classes: int) -> float:
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(preset, tasks, num_classes=classes).parameters()) / 1e6


@pytest.mark.parametrize("classes", [14, 16])
@pytest.mark.parametrize(
    ("tasks", "expected"), [(("semantic",), "58.6"), (("depth",), "58.6"), (("semantic", "depth"), "74.8")]
)
def test_parameter_counts_of_the_published_baselines(tasks, expected, classes):
    assert f"{parameters('mtl_r101', tasks, classes):.1f}" == expected


def test_every_published_backbone_has_every_baseline():
    assert {f"{m}_{b}" for m in ("mtl", "padnet", "threeways") for b in ("r101", "r50", "r18")} <= set(PRESETS)
    sizes = [parameters(f"padnet_{b}", ("semantic", "depth"), 14) for b in ("r101", "r50", "r18")]
    assert sizes[0] - sizes[1] == pytest.approx(42.50 - 23.51, abs=0.02)  # the backbones' difference
    assert sizes[1] > sizes[2]


# Gating


def test_gating_is_its_formula():
    torch.manual_seed(0)
    exchange = GatingExchange(("b", "a", "c"), 6).double()
    features = {task: torch.randn(2, 6, 5, 7, dtype=torch.float64) for task in ("a", "b", "c")}
    mixed = exchange(features)
    for target in features:
        expected = features[target].clone()
        for source in features.keys() - {target}:
            weight = exchange.gates[target][source].weight
            gate = torch.nn.functional.conv2d(features[source], weight[:6], padding=1)
            value = torch.nn.functional.conv2d(features[source], weight[6:], padding=1)
            expected += value / (1 + torch.exp(-gate))
        torch.testing.assert_close(mixed[target], expected, rtol=0, atol=1e-12)


def test_gating_alone_with_itself_changes_nothing():
    exchange = GatingExchange(("depth",), 4)
    x = torch.randn(1, 4, 3, 3)
    assert exchange({"depth": x})["depth"] is x
    assert list(exchange.parameters()) == []


def test_gating_directions_share_no_weights():
    exchange = GatingExchange(("a", "b", "c"), 4)
    weights = [p.data_ptr() for p in exchange.parameters()]
    assert len(weights) == len(set(weights)) == 6


# Networks


@pytest.mark.parametrize("preset", SMALL)
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 32)])
def test_any_size(preset, size):
    model = make(preset).eval()
    with torch.no_grad():
        outputs = model(torch.rand(2, 3, *size))
    for task, (final,) in outputs.items():
        assert final.shape[:2] == (2, CHANNELS[task])
        assert torch.isfinite(final).all()
        if preset.endswith("r18"):
            assert final.shape[-2:] == size


@pytest.mark.parametrize("preset", SMALL)
def test_training_supervises_every_head_and_reaches_every_parameter(preset):
    model = make(preset).train()
    for parameter in (p for p in model.parameters() if not p.any()):
        parameter.data.fill_(0.1)  # what starts at zero rightly keeps gradients back
    outputs = model(torch.rand(2, 3, 64, 96))
    # The published single-task and multi-task heads have nothing before an exchange that could be supervised.
    assert {len(scales) for scales in outputs.values()} == {1 if preset == "mtl_r18" else 2}
    sum(o.square().mean() for scales in outputs.values() for o in scales).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("preset", SMALL)
def test_order_of_tasks_is_only_the_order_of_outputs(preset):
    one, other = (
        make(preset, ("semantic", "depth", "edges")).eval(),
        make(preset, ("edges", "semantic", "depth")).eval(),
    )
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        a, b = one(image), other(image)
    assert tuple(b) == ("edges", "semantic", "depth")
    for task in a:
        torch.testing.assert_close(a[task][0], b[task][0], rtol=0, atol=0)


@pytest.mark.parametrize("preset", SMALL)
def test_a_task_hears_of_another_only_through_the_exchange(preset):
    model = make(preset).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            parameter.data.fill_(1.0)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before = model(image)["semantic"][0]
        for parameter in model.decoders["depth"].parameters():
            parameter.add_(0.1)
        after = model(image)["semantic"][0]
    assert torch.equal(before, after) == (preset not in EXCHANGING)


@pytest.mark.parametrize(
    ("preset", "stride", "channels"),
    [("padnet_r18", 16, 256), ("threeways_r18", 4, 128), ("densemtl_r18", 2, 128), ("padnet_edge_s", 8, 64),
     ("threeways_edge_s", 4, 48), ("xtam_edge_s", 8, 64), ("densemtl_edge_s", 8, 64)],
)  # fmt: skip
def test_where_tasks_meet(preset, stride, channels):
    model = make(preset, ("semantic", "depth")).eval()
    seen = []
    model.exchange.register_forward_pre_hook(lambda module, given: seen.extend(given[0].values()))
    with torch.no_grad():
        model(torch.rand(1, 3, 64, 128))
    assert [tuple(x.shape) for x in seen] == 2 * [(1, channels, 64 // stride, 128 // stride)]


@pytest.mark.parametrize("other", ["densemtl_edge_s", "padnet_edge_s", "xtam_edge_s"])
def test_in_the_edge_frame_only_the_exchange_differs(other):
    plain, mixed = make("mtl_edge_s").state_dict(), make(other).state_dict()
    assert all(name.startswith("exchange.") for name in mixed.keys() - plain.keys())
    assert plain.keys() <= mixed.keys()
    assert all(plain[name].shape == mixed[name].shape for name in plain)


def test_3_ways_in_the_edge_frame_is_the_same_decoder_cut_elsewhere():
    plain, ways = make("mtl_edge_s").state_dict(), make("threeways_edge_s").state_dict()
    differing = {n for n in plain if n not in ways or plain[n].shape != ways[n].shape}
    assert {n.split(".")[2] for n in differing} == {"initial_head"}


def test_one_task_of_the_plain_network_is_the_edge_network_with_one_task():
    plain, edge = make("mtl_edge_s", ("depth",)), make("densemtl_edge_s", ("depth",))
    assert plain.state_dict().keys() == edge.state_dict().keys()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(image)["depth"][0], edge.eval()(image)["depth"][0], rtol=0, atol=0)


@pytest.mark.parametrize(("preset", "most"), [("mtl_r18", 0), ("padnet_r18", 0), ("threeways_r18", 2)])
def test_heads_on_coarser_maps(preset, most):
    def tasks(count: int) -> list[dict[str, object]]:
        return [{"kind": "depth", "side_outputs": count}]

    with pytest.raises(InputError, match=f"at most {most}"):
        build_model(preset, tasks(most + 1))
    plain = len(build_model(preset, tasks(0))(torch.rand(2, 3, 64, 64))["depth"])
    assert len(build_model(preset, tasks(most))(torch.rand(2, 3, 64, 64))["depth"]) == plain + most


def test_a_near_name_is_offered():
    with pytest.raises(InputError, match="did you mean 'padnet_edge_s'"):
        build_model("padnet_edge", ("depth",))
