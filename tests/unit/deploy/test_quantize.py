"""INT8 ONNX: what is quantised, what is kept, and that it still computes the network."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from deploy.calibration import calibration_set
from deploy.onnx_export import first_layers, module_of
from deploy.quantize import counted, int8_for_cpu, int8_for_tensorrt


@pytest.fixture(scope="module")
def frames():
    return calibration_set(None, (64, 96), count=3).frames


@pytest.fixture(scope="module")
def for_cpu(exported, frames):
    return int8_for_cpu(exported, frames)


def run(model: onnx.ModelProto, frame: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": frame[None]}), strict=True))


def test_all_convolutions_are_quantised_with_bytes_for_weights(exported, for_cpu):
    total = sum(node.op_type == "Conv" for node in exported.graph.node)
    assert counted(exported) == (0, total)
    assert counted(for_cpu) == (total, total)
    kinds = {i.name: i.data_type for i in for_cpu.graph.initializer}
    weights = [kinds[n] for n in kinds if n.endswith("_quantized") and "bias" not in n]
    assert weights.count(onnx.TensorProto.INT8) >= total
    assert len(for_cpu.SerializeToString()) < 0.5 * len(exported.SerializeToString())


def test_it_computes_about_what_the_network_does_and_not_exactly(exported, for_cpu, frames):
    exact, rough = run(exported, frames[0]), run(for_cpu, frames[0])
    signal = np.square(exact["edges"]).mean()
    noise = np.square(exact["edges"] - rough["edges"]).mean()
    assert 0 < noise < 0.02 * signal


@pytest.mark.parametrize("keep", [("exchange",), ("decoders.depth",)])
def test_kept_modules_stay_in_floating_point(exported, for_cpu, frames, keep):
    inside = sum(n.op_type == "Conv" and module_of(n).startswith(keep[0] + ".") for n in exported.graph.node)
    done, total = counted(int8_for_cpu(exported, frames, keep))
    assert 0 < inside == total - done


def test_a_name_that_only_begins_alike_is_not_kept(exported, frames):
    done, total = counted(int8_for_cpu(exported, frames, ("decoders.dep", "exchang")))
    assert done == total


def test_tensorrts_file_is_symmetric_and_has_float_biases(exported, frames):
    model = int8_for_tensorrt(exported, frames)
    values = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    linear = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    points = [values[node.input[2]] for node in linear]
    assert len(points) > 50
    assert all(point.dtype == np.int8 and not point.any() for point in points)
    done, total = counted(model)
    assert done == total
    from_bytes = {out for node in linear for out in node.output}
    assert all(n.input[2] not in from_bytes for n in model.graph.node if n.op_type == "Conv" and len(n.input) > 2)


def test_ranges_come_from_the_frames(exported, frames):
    dark = [np.zeros_like(frame) for frame in frames]
    one = run(int8_for_cpu(exported, dark), frames[0])["edges"]
    two = run(int8_for_cpu(exported, frames), frames[0])["edges"]
    exact = run(exported, frames[0])["edges"]
    assert np.abs(one - exact).mean() > 2 * np.abs(two - exact).mean()


def test_first_layers_are_those_of_three_convolutions_and_what_lies_between(exported, frames):
    names = first_layers(exported)
    assert names[0] == "encoder.backbone.body.conv_stem"
    assert names[-1] == "encoder.backbone.body.blocks.0.0.conv_pw"
    assert "encoder.backbone.body.bn1.0" in names, "the activation in between"
    done, total = counted(int8_for_cpu(exported, frames, names))
    assert total - done == 3


def test_tensorrts_file_computes_about_what_the_network_does(exported, frames):
    exact, rough = run(exported, frames[0]), run(int8_for_tensorrt(exported, frames), frames[0])
    assert 0 < np.square(exact["edges"] - rough["edges"]).mean() < 0.02 * np.square(exact["edges"]).mean()


def test_tensorrts_file_rounds_after_the_activation_not_before(exported, frames):
    model = int8_for_tensorrt(exported, frames)
    convolutions = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    activated = {name for node in model.graph.node if node.op_type in ("Relu", "Clip") for name in node.input}
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert len(convolutions & activated) > 50
    assert not convolutions & activated & rounded
