"""Bytes as the first convolution's input: the same values inside, and no floats before it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from small_graph import DEVIATION, MEAN, convolution, graph, run

from deploy.byte_input import CENTRED, centred
from deploy.quantize import int8_for_cpu

RNG = np.random.default_rng(3)
FRAMES = [RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8) for _ in range(2)]
VALUES = {"stem.weight": RNG.normal(size=(4, 3, 3, 3)), "stem.bias": RNG.normal(size=4)}


def begins(groups: int = 1, *more: onnx.NodeProto) -> onnx.ModelProto:
    values = (
        VALUES if groups == 1 else {**VALUES, "stem.weight": VALUES["stem.weight"][:3, :1], "stem.bias": np.zeros(3)}
    )
    nodes = [convolution("stem", "scaled", groups, pads=[1] * 4), *more]
    return graph(nodes, values, ["stem", *(node.output[0] for node in more)])


def test_the_same_inside_and_close_on_the_border():
    model = begins()
    found = centred(model)
    assert found is not None
    assert found[1] == round(float(MEAN.mean())) == 115
    assert not any(node.op_type == "Div" for node in found[0].graph.node)
    expected, shifted = run(model, FRAMES[0])["stem"], run(found[0], FRAMES[0])["stem"]
    np.testing.assert_allclose(shifted[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-4)
    # padding is of grey 115 instead of each colour's mean: at most so far, for every weight that meets it
    most = np.abs(VALUES["stem.weight"]).sum((1, 2, 3)).max() * np.abs((MEAN - 115) / DEVIATION).max()
    assert 0 < np.abs(shifted - expected).max() <= most


def test_in_int8_no_float_is_before_the_first_convolution(exported):
    model = int8_for_cpu(exported, [RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)])
    (first,) = (n for n in model.graph.node if "image" in n.input and n.op_type != "Shape")
    (reading,) = (n for n in model.graph.node if first.output[0] in n.input)
    assert (first.op_type, reading.op_type) == ("Transpose", "DequantizeLinear")
    constants = {v.name: onnx.numpy_helper.to_array(v) for v in model.graph.initializer}
    assert constants[reading.input[1]] == 1.0
    assert constants[reading.input[2]].dtype == np.uint8
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    assert CENTRED not in names
    assert set(constants) <= names, "nothing is carried that no node reads"


@pytest.mark.parametrize(
    "model",
    [begins(3), begins(1, helper.make_node("Neg", ["scaled"], ["also"]))],
    ids=["grouped", "somebody else reads the normalised picture"],
)
def test_other_beginnings_are_left_alone(model):
    assert centred(model) is None


def test_a_first_convolution_that_is_kept_is_left_alone():
    assert centred(begins(), keep=["stem"]) is None
    assert centred(begins(), keep=["stems"]) is not None


def test_a_first_convolution_without_a_bias_gets_one():
    model = begins()
    (first,) = (node for node in model.graph.node if node.op_type == "Conv")
    del first.input[2]
    found = centred(model)
    assert found is not None
    expected, shifted = run(model, FRAMES[0])["stem"], run(found[0], FRAMES[0])["stem"]
    np.testing.assert_allclose(shifted[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-4)
