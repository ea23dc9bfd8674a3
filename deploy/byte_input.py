"""The camera's bytes as the quantised input of the first convolution: no scaling of colours, no rounding, no copy.

A picture is bytes already. Normalising it to floats only to round them to bytes again takes several passes over the
largest tensor there is. The deviation of the colours can go into the first weights, the difference of their means from
one common value into the first bias; what is left, a zero point, is what INT8 has anyway. Exact in the interior; on the
border, padding is of that common grey in place of the mean colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from deploy.bias_correction import with_biases
from deploy.graph import INPUT, belongs_to
from deploy.onnx_export import groups_of, module_of

__all__ = ["CENTRED", "centred", "fed_with_bytes"]

CENTRED = "densemtl_centred"
"""The picture less `zero point`, as the first convolution reads it between `centred` and `fed_with_bytes`."""


def centred(model: onnx.ModelProto, keep: Sequence[str] = ()) -> tuple[onnx.ModelProto, int] | None:
    """A copy in which the first convolution reads the picture's numbers less one common value, and that value.

    Args:
        model: of `deploy.onnx_export.export_onnx`, in floating point.
        keep: modules that INT8 leaves in floating point.

    Returns:
        None where the graph does not begin with ``(pixels - mean) / deviation`` and one convolution without a group, or
        where that one is kept.
    """
    found = with_biases(model)
    values = {value.name: value for value in found.graph.initializer}
    chain = _chain(found, values)
    if chain is None or belongs_to(module_of(chain[-1]), keep):
        return None
    subtract, divide, convolution = chain
    mean, deviation = (numpy_helper.to_array(values[node.input[1]]).reshape(-1) for node in (subtract, divide))
    weight, bias = (numpy_helper.to_array(values[name]) for name in convolution.input[1:])
    middle = int(np.clip(np.round(mean.mean()), 0, 255))
    scaled = weight / deviation.reshape(1, -1, 1, 1)
    shifted = bias + (scaled.sum(axis=(2, 3)) * (middle - mean)).sum(axis=1)
    for name, array in zip(convolution.input[1:], (scaled, shifted), strict=True):
        values[name].CopyFrom(numpy_helper.from_array(array.astype(weight.dtype), name))
    found.graph.initializer.append(numpy_helper.from_array(np.array(middle, np.float32), f"{CENTRED}_zero"))
    subtract.input[1] = f"{CENTRED}_zero"
    subtract.output[0] = CENTRED
    convolution.input[0] = CENTRED
    found.graph.node.remove(divide)
    return found, middle


def fed_with_bytes(quantised: onnx.ModelProto) -> onnx.ModelProto:
    """The quantised graph of a `centred` one, in place: what made bytes of floats made of bytes is taken out."""
    nodes = quantised.graph.node
    cast = _only(nodes, lambda n: n.op_type == "Cast" and n.input[0] == INPUT)
    transpose = _only(nodes, lambda n: n.op_type == "Transpose" and n.input[0] == cast.output[0])
    subtract = _only(nodes, lambda n: n.output[0] == CENTRED)
    rounding = _only(nodes, lambda n: n.op_type == "QuantizeLinear" and n.input[0] == CENTRED)
    reading = _only(nodes, lambda n: n.op_type == "DequantizeLinear" and n.input[0] == rounding.output[0])
    transpose.input[0] = INPUT
    reading.input[0] = transpose.output[0]
    kinds = [value for value in quantised.graph.value_info if value.name == transpose.output[0]]
    for value in kinds:
        value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    for node in (cast, subtract, rounding):
        nodes.remove(node)
    return quantised


def _chain(
    model: onnx.ModelProto, values: dict[str, onnx.TensorProto]
) -> tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto] | None:
    """Subtraction, division and convolution, each read by the next one alone."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    name, found = INPUT, []
    for kind in ("Cast", "Transpose", "Sub", "Div", "Conv"):
        following = [node for node in readers.get(name, []) if node.op_type != "Shape"]
        if len(following) != 1 or following[0].op_type != kind or following[0].input[0] != name:
            return None
        found.append(following[0])
        name = following[0].output[0]
    subtract, divide, convolution = found[2:]
    constant = {subtract.input[1], divide.input[1], *convolution.input[1:]} <= {*values}
    if groups_of(convolution) != 1 or not constant:
        return None
    return subtract, divide, convolution


def _only(nodes: Sequence[onnx.NodeProto], wanted: Callable[[onnx.NodeProto], bool]) -> onnx.NodeProto:
    (node,) = (node for node in nodes if wanted(node))
    return node
