"""ModelOpt's INT8: what is rounded, what is left alone, and that the exported graph computes the same."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from densemtl_core.errors import InputError
from deploy.graph import example
from deploy.quantize_modelopt import cpu_export, quantised, quantisers

pytest.importorskip("modelopt", reason="INT8 in PyTorch needs nvidia-modelopt")

SIZE = (64, 96)
KEPT = ("exchange", "decoders.depth")


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(2)]


@pytest.fixture(scope="module")
def rounded(network, frames):
    return quantised(network, frames)


def test_every_convolution_that_runs_is_rounded_per_channel_and_symmetrically(rounded):
    convolutions = [
        (name, module)
        for name, module in rounded.network.named_modules()
        if isinstance(module, nn.Conv2d) and "initial_head" not in name  # of the supervision before the exchange
    ]
    assert len(convolutions) > 100
    for name, module in convolutions:
        weight, values = module.weight_quantizer, module.input_quantizer
        assert weight.is_enabled, name
        assert values.is_enabled, name
        assert (weight.num_bits, values.num_bits, weight.unsigned, values.unsigned) == (8, 8, False, False), name
        assert weight.amax.numel() == module.out_channels, name
        assert values.amax.numel() == 1, name
        assert weight.amax.flatten() == pytest.approx(module.weight.detach().abs().amax((1, 2, 3))), name
        assert not module.output_quantizer.is_enabled, name


def test_the_network_that_was_given_stays_as_it_is(network, rounded):
    assert quantisers(network) == 0
    assert quantisers(rounded) > 200


def test_rounding_changes_the_outputs_a_little(network, rounded, frames):
    pixels = torch.from_numpy(frames[0])[None]
    with torch.no_grad():
        before, after = network(pixels), rounded(pixels)
    edges, edges_int8 = before[-1], after[-1]
    assert not torch.equal(edges, edges_int8)
    assert (edges - edges_int8).abs().mean() < 0.05


def test_what_is_kept_is_not_rounded(network, frames):
    part = quantised(network, frames[:1], KEPT)
    for name, module in part.network.named_modules():
        if isinstance(module, nn.Conv2d):
            kept = name.startswith(("exchange.", "decoders.depth."))
            assert module.input_quantizer.is_enabled != kept, name
            assert module.weight_quantizer.is_enabled != kept, name


def test_a_name_is_kept_as_a_whole_word(network, frames, rounded):
    assert quantisers(quantised(network, frames[:1], ("decoders.dep",))) == quantisers(rounded)


def test_the_exported_graph_says_where_it_rounds_and_computes_bit_by_bit_the_same(rounded):
    pixels = example(SIZE)
    with cpu_export(), torch.no_grad():
        program = torch.export.export(rounded, (pixels,))
    operators = [node for node in program.graph.nodes if "quantize_op" in str(node.target)]
    with torch.no_grad():
        expected, found = rounded(pixels), program.module()(pixels)
    assert len(operators) == quantisers(rounded) - 8  # an initial head a task: two quantisers that never run
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b) or torch.equal(a.nan_to_num(-1.0), b.nan_to_num(-1.0))


def test_exporting_leaves_the_library_as_it_was(rounded):
    import modelopt.torch.quantization.tensor_quant as quantisation

    before = quantisation._tensor_quant
    with cpu_export():
        assert quantisation._tensor_quant is not before
    assert quantisation._tensor_quant is before

    @cpu_export()
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert quantisation._tensor_quant is before


def test_no_frames_are_refused(network):
    with pytest.raises(InputError, match=r"needs calibration frames.*--calibration"):
        quantised(network, [])


def test_a_missing_library_is_named_with_its_remedy(network, frames, monkeypatch):
    monkeypatch.setitem(sys.modules, "modelopt.torch.quantization", None)
    with pytest.raises(InputError, match=r"needs modelopt.*pip install 'densemtl-core\[tensorrt\]'"):
        quantised(network, frames)
