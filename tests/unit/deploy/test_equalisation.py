"""Equalised channels: the same function, ranges that one scale fits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from small_graph import convolution, graph, run, weight

from deploy.calibration import calibration_set
from deploy.equalisation import HEADROOM, MOST, equalised, take_weights
from deploy.graph import DeployedNetwork

RNG = np.random.default_rng(0)
FRAMES = [RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8) for _ in range(3)]
SIZES = np.array([1.0, 0.05, 0.3, 0.6])
"""Of the four channels between the two convolutions."""


def values() -> dict[str, np.ndarray]:
    return {
        "stem.weight": RNG.normal(size=(4, 3, 3, 3)) * SIZES.reshape(4, 1, 1, 1) * 0.3,
        "stem.bias": RNG.normal(size=4) * SIZES,
        "dw.weight": RNG.normal(size=(4, 1, 3, 3)) / SIZES.reshape(4, 1, 1, 1),
        "dw.bias": RNG.normal(size=4),
        "zero": np.array(0.0),
        "six": np.array(6.0),
    }


def pair(activation: str, *more: onnx.NodeProto) -> onnx.ModelProto:
    between = {
        "relu": [helper.make_node("Relu", ["stem"], ["between"])],
        "relu6": [helper.make_node("Clip", ["stem", "zero", "six"], ["between"])],
        "none": [helper.make_node("Identity", ["stem"], ["unused"])],
    }[activation]
    source = "stem" if activation == "none" else "between"
    nodes = [convolution("stem", "scaled", pads=[1] * 4), *between, convolution("dw", source, 4, pads=[1] * 4), *more]
    return graph([n for n in nodes if n.output[0] != "unused"], values(), ["dw", *(n.output[0] for n in more)])


def between(model: onnx.ModelProto, name: str) -> np.ndarray:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return np.max([np.abs(run(probe, frame)[name]).max((0, 2, 3)) for frame in FRAMES], axis=0)


@pytest.mark.parametrize("activation", ["relu", "relu6", "none"])
def test_the_same_function_with_channels_of_one_range(activation):
    model = pair(activation)
    found = equalised(model, FRAMES)
    name = "stem" if activation == "none" else "between"
    before, after = between(model, name), between(found, name)
    assert before.max() / before.min() > 5
    wanted = np.maximum(before, 6 / HEADROOM) if activation == "relu6" else before.max()
    np.testing.assert_allclose(after, wanted, rtol=1e-4)
    for frame in FRAMES:
        expected = run(model, frame)["dw"]
        np.testing.assert_allclose(run(found, frame)["dw"], expected, atol=1e-5 * np.abs(expected).max())


def test_beyond_the_frames_a_clipped_channel_is_clipped_there():
    model = pair("relu6")
    dark = [frame // 8 for frame in FRAMES]  # a channel reaches less than on other frames
    found = equalised(model, dark)
    assert np.abs(run(found, FRAMES[0])["dw"] - run(model, FRAMES[0])["dw"]).max() > 1e-3
    np.testing.assert_allclose(run(found, dark[0])["dw"], run(model, dark[0])["dw"], atol=1e-4)


def test_a_tensor_that_somebody_else_reads_keeps_its_range():
    model = pair("relu", helper.make_node("Neg", ["between"], ["elsewhere"]))
    found = equalised(model, FRAMES)
    assert np.array_equal(weight(found, "stem.weight"), weight(model, "stem.weight"))
    assert np.array_equal(weight(found, "dw.weight"), weight(model, "dw.weight"))


def test_a_dead_channel_is_not_enlarged_without_end():
    model = pair("relu")
    for value in model.graph.initializer:
        if value.name.startswith("stem."):
            array = onnx.numpy_helper.to_array(value).copy()
            array[2] = 0
            value.CopyFrom(onnx.numpy_helper.from_array(array, value.name))
    found = equalised(model, FRAMES)
    np.testing.assert_allclose(weight(found, "dw.weight")[2], weight(model, "dw.weight")[2] / MOST, rtol=1e-6)


def test_the_model_itself_stays_as_it_is():
    model = pair("relu6")
    content = model.SerializeToString()
    equalised(model, FRAMES)
    assert model.SerializeToString() == content


def test_pytorch_computes_with_its_weights(model, description, exported):
    """In place, and not into the network that was given."""
    frames = calibration_set(None, (64, 96), count=2).frames
    found = equalised(exported, frames)
    network = DeployedNetwork(model, description.tasks).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    take_weights(network, found)
    changed = [n for n, v in network.state_dict().items() if not torch.equal(v, before[n])]
    assert len(changed) > 20
    assert all("weight" in name or "bias" in name for name in changed)
    pixels = torch.from_numpy(frames[0])[None]
    with torch.inference_mode():
        edges = network(pixels)[-1]
        expected = DeployedNetwork(model, description.tasks).eval()(pixels)[-1]
    assert (edges - expected).abs().max() < 1e-3
