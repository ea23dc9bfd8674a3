from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from densemtl_core.errors import InputError
from densemtl_core.models import build_model
from densemtl_core.models.inference import prepare_for_inference


def trained(preset: str, tasks: tuple[str, ...] = ("semantic", "depth")) -> nn.Module:
    """A network whose normalisations, scales and residual branches all have something to say."""
    torch.manual_seed(0)
    model = build_model(preset, tasks, num_classes=5).eval()
    for name, parameter in model.named_parameters():
        if "alpha" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)  # timm starts the last one of a residual branch at zero
            nn.init.normal_(module.bias, 0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {preset: trained(preset) for preset in ("densemtl_edge_s", "densemtl_r18", "xtam_edge_s")}


@pytest.fixture(scope="module")
def plain_exchange():
    """The published formulas written out, beside the benchmark that measures against them."""
    path = Path(__file__).resolve().parents[3] / "docs/benchmarks/plain_exchange.py"
    spec = importlib.util.spec_from_file_location("plain_exchange", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def snr(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Decibels."""
    return float(10 * torch.log10(expected.square().sum() / (found - expected).square().sum()))


def assert_same(model: nn.Module, fast: nn.Module, image: torch.Tensor, **options: object) -> None:
    with torch.inference_mode():
        expected, found = model(image, **options), fast(image, **options)
    assert list(found) == list(expected)
    for task, outputs in expected.items():
        assert len(found[task]) == len(outputs)
        for a, b in zip(outputs, found[task], strict=True):
            assert b.shape == a.shape
            assert b.dtype == torch.float32
            assert float((a - b).abs().max()) <= 1e-4 * float(a.abs().max())


@pytest.mark.parametrize(
    ("preset", "size"),
    [
        ("densemtl_edge_s", (70, 90)),
        ("densemtl_edge_s", (33, 32)),
        ("densemtl_r18", (64, 96)),
        ("densemtl_r18", (70, 90)),
    ],
    ids=str,
)
def test_the_same_numbers_at_any_size(networks, preset, size):
    fast = prepare_for_inference(networks[preset])
    assert_same(networks[preset], fast, torch.rand(2, 3, *size), intermediate=True)


def test_the_published_exchange_in_the_edge_frame(networks):
    model = networks["xtam_edge_s"]
    assert_same(model, prepare_for_inference(model), torch.rand(1, 3, 64, 96), intermediate=False)


@pytest.mark.parametrize("options", [{"channels_last": False}, {"prepacked": False}], ids=str)
def test_every_part_may_be_left_out(networks, options):
    model = networks["densemtl_r18"]
    assert_same(model, prepare_for_inference(model, **options), torch.rand(1, 3, 64, 96), wanted=["depth"])


def test_the_size_may_change_from_frame_to_frame(networks):
    fast = prepare_for_inference(networks["densemtl_edge_s"])
    for size in ((64, 96), (96, 64), (64, 96)):
        assert_same(networks["densemtl_edge_s"], fast, torch.rand(1, 3, *size))


def test_the_same_numbers_as_the_formulas_written_out(networks, plain_exchange):
    plain = plain_exchange.plain_network(networks["densemtl_r18"])
    fast = prepare_for_inference(networks["densemtl_r18"])
    assert_same(plain, fast, torch.rand(1, 3, 64, 96), intermediate=False)


def test_a_single_task():
    model = trained("densemtl_r18", ("depth",))
    assert_same(model, prepare_for_inference(model), torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, 25.0), (torch.float16, 40.0)], ids=str)
@pytest.mark.parametrize("preset", ["densemtl_edge_s", "densemtl_r18"])
def test_sixteen_bits_stay_near(networks, preset, dtype, least):
    image = torch.rand(1, 3, 64, 96)
    fast = prepare_for_inference(networks[preset], dtype)
    with torch.inference_mode():
        expected, found = networks[preset](image), fast(image)
    for task, outputs in expected.items():
        assert found[task][0].dtype == torch.float32
        assert least < snr(outputs[0], found[task][0]) < 90, "the copy computes in float32"


def test_float16_is_refused_where_values_leave_its_range(networks):
    """They would not be infinite: processors write the largest number in their place, and the result looks sound."""
    model = copy.deepcopy(networks["densemtl_edge_s"])
    convolution = next(m for m in model.encoder.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        convolution.weight.mul_(1e7)
        model.encoder(torch.rand(1, 3, 64, 64))
    with pytest.raises(
        InputError, match=r"encoder\.\S+ reaches \S+ on a picture of noise, and float16 ends at 65504; take"
    ):
        prepare_for_inference(model, torch.float16)
    prepare_for_inference(model, torch.bfloat16)


def test_the_model_is_not_touched(networks):
    model = networks["densemtl_r18"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modules = [type(m) for m in model.modules()]
    prepare_for_inference(model, torch.bfloat16)(torch.rand(1, 3, 64, 64))
    assert [type(m) for m in model.modules()] == modules
    assert all(p.requires_grad for p in model.parameters())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_nothing_needs_a_gradient(networks):
    raw = prepare_for_inference(networks["densemtl_edge_s"])(torch.rand(1, 3, 64, 64))
    assert not any(output.requires_grad for outputs in raw.values() for output in outputs)


def test_bad_input_is_refused(networks):
    with pytest.raises(InputError, match="float64; use one of float32, bfloat16, float16"):
        prepare_for_inference(networks["densemtl_edge_s"], torch.float64)
    with pytest.raises(InputError, match=r"in training mode; call model.eval\(\) first"):
        prepare_for_inference(build_model("densemtl_edge_s", ("depth",)))
    with pytest.raises(InputError, match=r"the model is in torch.bfloat16; give it in float32"):
        prepare_for_inference(copy.deepcopy(networks["densemtl_edge_s"]).bfloat16())
    with pytest.raises(InputError, match="InferenceNetwork is no DenseMTL"):
        prepare_for_inference(prepare_for_inference(networks["densemtl_edge_s"]))


def test_it_cannot_be_trained(networks):
    fast = prepare_for_inference(networks["densemtl_edge_s"])
    with pytest.raises(RuntimeError, match="train the one that it was made of"):
        fast.train()
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert not any(output.requires_grad for outputs in fast(image).values() for output in outputs)
    assert not fast.eval().training


def test_packed_weights_follow_the_weights(networks, tmp_path):
    image, other_size = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 32, 96)
    model = networks["densemtl_edge_s"]
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data *= 0.9
    fast, wanted = prepare_for_inference(model), prepare_for_inference(other)
    before = fast(image)
    copied = copy.deepcopy(fast)
    torch.save(fast, tmp_path / "fast.pt")  # what was packed cannot be saved, and does not have to be
    for size in (image, other_size, torch.rand(1, 3, 32, 32)):  # more sizes than are kept
        fast(size)
    fast.load_state_dict(wanted.state_dict())
    for x in (image, other_size):
        same = {task: fast(x)[task][0].equal(wanted(x)[task][0]) for task in fast.tasks}
        assert all(same.values()), same
    assert all(copied(image)[task][0].equal(before[task][0]) for task in fast.tasks)
