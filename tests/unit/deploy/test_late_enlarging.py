"""Pointwise convolutions of repeated pixels are done before the pixels are repeated, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, shape_inference
from small_graph import convolution, graph, run

from deploy.late_enlarging import enlarged_late
from deploy.onnx_export import module_of

rng = np.random.default_rng(0)


def coarse_and_fine(mode="nearest", kernel=1, stride=1, groups=1, readers=1):
    """A map at 1/4 is enlarged, joined to a fine one between two others, and convolved."""
    values = {
        "fine.weight": rng.normal(size=(4, 3, 1, 1)),
        "fine.bias": rng.normal(size=4),
        "coarse.weight": rng.normal(size=(5, 3, 4, 4)),
        "coarse.bias": rng.normal(size=5),
        "fusion.weight": rng.normal(size=(6 if groups == 1 else 13, 13 // groups, kernel, kernel)),
        "fusion.bias": rng.normal(size=6 if groups == 1 else 13),
    }
    pads = [kernel // 2] * 4
    nodes = [
        convolution("fine", "scaled"),
        convolution("coarse", "scaled", kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Shape", ["fine"], ["sides"], start=2, end=4),
        helper.make_node("Shape", ["coarse"], ["rest"], start=0, end=2),
        helper.make_node("Concat", ["rest", "sides"], ["size"], axis=0),
        helper.make_node(
            "Resize",
            ["coarse", "", "", "size"],
            ["up"],
            name="up",
            mode=mode,
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Concat", ["fine", "up", "fine"], ["joined"], name="joined", axis=1),
        convolution("fusion", "joined", groups=groups, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads),
    ]
    if readers == 2:
        nodes.append(helper.make_node("Relu", ["joined"], ["also"]))
    model = graph(nodes, values, ["fusion", "also"][:readers])
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for dim, value in zip(sized.graph.input[0].type.tensor_type.shape.dim, (1, 8, 12, 3), strict=True):
        dim.dim_value = value
    model.graph.value_info.extend(shape_inference.infer_shapes(sized, data_prop=True).graph.value_info)
    return model


def after(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    enlarged_late(changed)
    onnx.checker.check_model(changed)
    return changed


@pytest.mark.parametrize("size", [(8, 12), (16, 4)])
def test_the_same_numbers_from_a_convolution_of_the_coarse_map(size):
    model = coarse_and_fine()
    changed = after(model)
    (enlargement,) = (node for node in changed.graph.node if node.op_type == "Resize")
    makers = {name: node for node in changed.graph.node for name in node.output}
    assert makers[enlargement.input[0]].op_type == "Conv"
    frame = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_allclose(run(changed, frame)["fusion"], run(model, frame)["fusion"], rtol=1e-5, atol=1e-5)


def test_both_halves_belong_to_the_module_and_the_old_weight_is_gone():
    changed = after(coarse_and_fine())
    assert {module_of(node) for node in changed.graph.node if node.name.startswith("fusion")} == {"fusion"}
    shapes = {value.name: list(value.dims) for value in changed.graph.initializer if value.name.startswith("fusion")}
    assert shapes["fusion_fine_weight"] == [6, 8, 1, 1]
    assert shapes["fusion_coarse_weight"] == [6, 5, 1, 1]
    assert "fusion.weight" not in shapes
    biases = [node.input[2] for node in changed.graph.node if node.op_type == "Conv" and len(node.input) == 3]
    assert biases.count("fusion.bias") == 1, "the bias must not be added twice"


@pytest.mark.parametrize(
    "other", [{"mode": "linear"}, {"kernel": 3}, {"stride": 2}, {"groups": 13}, {"readers": 2}], ids=str
)
def test_what_would_not_be_the_same_or_not_cheaper_is_left_alone(other):
    model = coarse_and_fine(**other)
    assert after(model).graph.node == model.graph.node


def test_a_model_of_another_kind_is_left_alone():
    model = graph(
        [convolution("only", "scaled")], {"only.weight": np.ones((1, 3, 1, 1)), "only.bias": np.zeros(1)}, ["only"]
    )
    assert after(model).graph.node == model.graph.node
