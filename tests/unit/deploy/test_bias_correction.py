"""Corrected biases: channels whose rounded weights give the right mean."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_graph import convolution, graph, run, weight

from deploy.bias_correction import bias_corrected

RNG = np.random.default_rng(1)
FRAMES = [np.full((16, 24, 3), RNG.integers(0, 256, 3), np.uint8) for _ in range(4)]
"""Each of one colour: then a window's mean is the whole frame's, and the correction is exact."""
FEATURES = {1: 6, 3: 2, 6: 1}
"""Number of groups of the second convolution to the inputs of each."""


def network(groups: int) -> onnx.ModelProto:
    values = {
        "one.weight": RNG.normal(size=(6, 3, 3, 3)),
        "one.bias": RNG.normal(size=6) + 1,
        "two.weight": RNG.normal(size=(6, FEATURES[groups], 3, 3)),
        "two.bias": RNG.normal(size=6),
    }
    nodes = [
        convolution("one", "scaled"),
        helper.make_node("Relu", ["one"], ["positive"]),
        convolution("two", "positive", groups),
    ]
    return graph(nodes, values, ["two"])


def rounded(model: onnx.ModelProto, only: str) -> onnx.ModelProto:
    """As INT8 has them, written out element by element."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    for value in found.graph.initializer:
        if value.name == f"{only}.weight":
            array = numpy_helper.to_array(value).copy()
            for channel in array:
                step = np.abs(channel).max() / 127
                channel[...] = np.clip(np.rint(channel / step), -127, 127) * step
            value.CopyFrom(numpy_helper.from_array(array, value.name))
    return found


def shift(model: onnx.ModelProto, other: onnx.ModelProto) -> np.ndarray:
    """How far the channels' means over all frames lie apart."""
    means = [np.mean([run(m, frame)["two"].mean((0, 2, 3)) for frame in FRAMES], axis=0) for m in (model, other)]
    return np.abs(means[0] - means[1])


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_rounded_weights_give_the_mean_of_exact_ones(groups):
    model = network(groups)
    plain = shift(model, rounded(model, "two"))
    corrected = shift(model, rounded(bias_corrected(model, FRAMES, keep=["one"]), "two"))
    assert plain.max() > 1e-3
    assert corrected.max() < 1e-5


def test_weights_stay_and_kept_modules_stay_whole():
    model = network(1)
    found = bias_corrected(model, FRAMES, keep=["two"])
    for name in ("one.weight", "two.weight", "two.bias"):
        assert np.array_equal(weight(found, name), weight(model, name)), name
    assert not np.array_equal(weight(found, "one.bias"), weight(model, "one.bias"))


def test_a_channel_without_weights_is_left_alone():
    model = network(1)
    for value in model.graph.initializer:
        if value.name == "two.weight":
            value.CopyFrom(numpy_helper.from_array(np.zeros((6, 6, 3, 3), np.float32), value.name))
    found = bias_corrected(model, FRAMES)
    assert np.array_equal(weight(found, "two.bias"), weight(model, "two.bias"))


def test_a_convolution_without_a_bias_gets_one():
    model = network(3)
    (second,) = (node for node in model.graph.node if node.name == "two")
    del second.input[2]
    corrected = bias_corrected(model, FRAMES, keep=["one"])
    assert shift(model, rounded(corrected, "two")).max() < 1e-5 < shift(model, rounded(model, "two")).max()
