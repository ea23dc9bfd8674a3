"""ONNX: equal to PyTorch at every size and batch, plain operators, and every node knows its module."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from densemtl_core.models import build_model
from densemtl_core.tasks import make_tasks
from deploy.compilation import parity
from deploy.graph import DeployedNetwork, example, output_names
from deploy.onnx_export import OPSET, export_onnx, module_of


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_is_valid_and_of_the_promised_opset(exported):
    onnx.checker.check_model(exported, full_check=True)
    assert {(o.domain, o.version) for o in exported.opset_import if o.domain in ("", "ai.onnx")} == {("", OPSET)}
    assert all(node.domain in ("", "ai.onnx") for node in exported.graph.node)
    assert [o.name for o in exported.graph.output] == ["semantic", "semantic_confidence", "depth", "normals", "edges"]


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 96), (1, 32, 32), (3, 96, 64), (1, 160, 288)])
def test_one_file_serves_every_size_and_batch(exported, network, batch, height, width):
    generator = torch.Generator().manual_seed(height)
    pixels = torch.randint(0, 256, (batch, height, width, 3), generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(pixels)
    found = session(exported).run(output_names(network.tasks), {"image": pixels.numpy()})
    assert (found[0] == expected[0].numpy()).mean() > 0.999
    for value, wanted in zip(found[1:], expected[1:], strict=True):
        assert value.shape == tuple(wanted.shape)
        np.testing.assert_allclose(value, wanted.numpy(), rtol=1e-3, atol=1e-4, equal_nan=True)


def test_parity_is_measured_and_sees_a_difference(exported, network):
    worst = parity(network, exported, (64, 96))
    assert set(worst) == set(output_names(network.tasks))
    assert max(worst.values()) < 1e-4
    other = onnx.ModelProto()
    other.CopyFrom(exported)
    weights = max(other.graph.initializer, key=lambda i: len(i.raw_data))
    values = onnx.numpy_helper.to_array(weights) * 1.05
    weights.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), weights.name))
    assert max(parity(network, other, (64, 96)).values()) > 1e-4


def test_every_convolution_knows_its_module(exported, network):
    modules = {name for name, _ in network.network.named_modules()}
    convolutions = [node for node in exported.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 50
    assert all(module_of(node) in modules for node in convolutions)
    # what is around the network belongs to no module: it is never quantised
    around = [node.op_type for node in exported.graph.node if not module_of(node)]
    assert "Conv" not in around
    assert {"ArgMax", "Exp"} & set(around) or "TopK" in around


def test_a_fixed_export_takes_one_size_only(network):
    fixed = export_onnx(network, (64, 96), fixed=True)
    shape = [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 64, 96, 3]


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "fixed"), [("densemtl_r18", False), ("densemtl_r101", True)])
def test_published_presets_equal_eager(preset, fixed):
    """The larger one for one size only, which exports in a third of the time: more layers, but of the same kinds."""
    torch.manual_seed(0)
    tasks = make_tasks(("semantic", "depth", "normals", "edges"), num_classes=19)
    model = build_model(preset, tasks)
    for head in (model.decoders["depth"].initial_head, model.decoders["depth"].final_head):
        nn.init.constant_(head.bias, 65.5)  # about 10 m: near 0 everything would be infinitely far
    graph = DeployedNetwork(model, tasks).eval()
    with torch.inference_mode():
        depth = graph(example((96, 64)))[output_names(tasks).index("depth")]
    assert depth.isfinite().all()
    exported = export_onnx(graph, (96, 64) if fixed else (64, 96), fixed=fixed)
    assert max(parity(graph, exported, (96, 64)).values()) < 1e-4
