from __future__ import annotations

import copy
import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from densemtl_core.errors import InputError
from densemtl_core.models import build_model
from densemtl_core.models.inference import InferenceNetwork, prepare_for_inference
from densemtl_core.models.prepacked import KEPT, PrepackedConvolution, can_prepack

CPU = torch.device("cpu")
IMAGE = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)

needs_prepacking = pytest.mark.skipif(not can_prepack(CPU, torch.float32), reason="PyTorch without oneDNN")


@pytest.fixture
def prepared() -> InferenceNetwork:
    torch.manual_seed(0)
    return prepare_for_inference(build_model("densemtl_edge_s", ("depth",)).eval())


def depth(network: nn.Module) -> torch.Tensor:
    return network(IMAGE)["depth"][0]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variable is about x86's instructions")
@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_work_on_processors_without_instructions_for_them(isa, dtype):
    code = (
        "import torch\n"
        "from densemtl_core.models import build_model\n"
        "from densemtl_core.models.inference import prepare_for_inference\n"
        "from densemtl_core.models.prepacked import can_prepack\n"
        f"fast = prepare_for_inference(build_model('densemtl_edge_s', ('depth',)).eval(), torch.{dtype})\n"
        "assert fast(torch.rand(1, 3, 64, 64))['depth'][0].isfinite().all()\n"
        f"print(*(can_prepack(torch.device('cpu'), d) for d in (torch.float32, torch.{dtype})))\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if isa == "AVX2":
        assert done.stdout.split()[1] == "False", "the variable has no effect: no test"


def test_whether_it_can_is_asked_once_and_draws_no_random_numbers(monkeypatch):
    can_prepack.__globals__["_packs"].cache_clear()
    state = torch.get_rng_state()
    first = can_prepack(CPU, torch.float32)
    assert torch.get_rng_state().equal(state)
    monkeypatch.setattr(PrepackedConvolution, "forward", lambda self, x: pytest.fail("asked again"))
    assert can_prepack(CPU, torch.float32) == first
    assert not can_prepack(torch.device("meta"), torch.float32)
    assert not can_prepack(torch.device("cuda"), torch.float32)


def test_what_is_impossible_is_refused_when_it_is_asked_for(monkeypatch):
    monkeypatch.setattr("densemtl_core.models.inference.can_prepack", lambda device, dtype: False)
    model = build_model("densemtl_edge_s", ("depth",)).eval()
    with pytest.raises(InputError, match=r"no prepacked torch.float16 on this cpu; say False"):
        prepare_for_inference(model, torch.float16, prepacked=True)


@needs_prepacking
@pytest.mark.parametrize(
    "move",
    [
        lambda network: network.half(),
        lambda network: network.to(torch.float64),
        lambda network: network.to("meta"),
        lambda network: nn.Sequential(network).to("meta"),
        pytest.param(
            lambda network: network.cuda(), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
        ),
    ],
    ids=["half", "to float64", "to meta", "inside another", "cuda"],
)
def test_a_move_that_it_would_not_survive_is_refused_before_it_begins(prepared, move):
    before = depth(prepared)
    line = r"^the network is prepacked for a CPU in torch.float32 and cannot become .*move the model before [^\n]*$"
    with pytest.raises(RuntimeError, match=line):
        move(prepared)
    assert {p.device for p in prepared.parameters()} == {CPU}
    assert {p.dtype for p in prepared.parameters()} == {torch.float32}
    assert depth(prepared).equal(before)


@needs_prepacking
@pytest.mark.parametrize(
    "move",
    [
        lambda network: network.cpu(),
        lambda network: network.float(),
        lambda network: network.to("cpu", torch.float32),
        lambda network: network.to(memory_format=torch.channels_last),
        lambda network: network.share_memory(),
        copy.copy,
        copy.deepcopy,
    ],
    ids=["cpu", "float", "to", "channels_last", "share_memory", "copy", "deepcopy"],
)
def test_a_move_to_where_it_is_changes_nothing(prepared, move):
    before = depth(prepared)
    assert depth(move(prepared)).equal(before)


def test_what_is_not_prepacked_may_be_moved():
    model = build_model("densemtl_edge_s", ("depth",)).eval()
    moved = prepare_for_inference(model, prepacked=False).to("meta")
    assert {p.device.type for p in moved.parameters()} == {"meta"}


@needs_prepacking
def test_a_weight_changed_in_place_is_packed_anew(prepared):
    depth(prepared)
    wanted = copy.deepcopy(prepared)
    for network in (prepared, wanted):
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, PrepackedConvolution):
                    module.weight.mul_(1.5)
    assert depth(prepared).equal(depth(wanted)), "the copy had nothing packed"


@needs_prepacking
@pytest.mark.parametrize("change", ["in place", "another parameter", "data"])
def test_what_was_packed_from_older_weights_is_not_used_at_any_size(change):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False)
    packed = PrepackedConvolution(conv)
    images = [torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last) for side in (8, 16)]
    for image in images:
        packed(image)
    kept = dict(packed._packed)
    for image in images:
        packed(image)
    assert all(packed._packed[size] is entry for size, entry in kept.items()), "packed again for nothing"
    if change == "in place":
        conv.weight.mul_(3)
    else:
        tripled = conv.weight * 3
        if change == "data":
            conv.weight.data = tripled
        else:
            conv.weight = packed.weight = nn.Parameter(tripled, requires_grad=False)
    for image in images:
        torch.testing.assert_close(packed(image), conv(image))
    assert len(packed._packed) == KEPT


@needs_prepacking
def test_weights_made_in_inference_mode_have_no_versions_and_work():
    with torch.inference_mode():
        fast = prepare_for_inference(build_model("densemtl_edge_s", ("depth",)).eval())
        assert depth(fast).equal(depth(fast))
    assert next(fast.parameters()).is_inference()
