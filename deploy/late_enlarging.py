"""Repeat pixels after a pointwise convolution instead of before it: the same numbers from a sixteenth of the work.

A 1x1 convolution sees one pixel at a time, so it gives the same for each copy of a pixel. Where a coarse map is
enlarged by repeating its pixels, joined to a finer one and convolved so, the convolution splits by its input channels,
``W [a; up(b)] = W_a a + up(W_b b)``, and the coarse half is done on the coarse map. The exchange of the edge networks
ends so, once a task: what attention found at 1/32 is joined to features at 1/8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from deploy.unused_constants import without_unused

__all__ = ["enlarged_late"]


def enlarged_late(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move such enlargements behind their convolutions, in place.

    Args:
        model: in floating point, with the shapes of its values as the exporter writes them.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    constants = {value.name: value for value in graph.initializer}
    channels = {value.name: _channels(value) for value in graph.value_info}
    for convolution in [node for node in graph.node if node.op_type == "Conv"]:
        joined, weight = makers.get(convolution.input[0]), constants.get(convolution.input[1])
        if joined is None or joined.op_type != "Concat" or _given(joined).get("axis") != 1 or weight is None:
            continue
        sizes = [channels.get(name, 0) for name in joined.input]
        late = [
            (index, makers[name])
            for index, name in enumerate(joined.input)
            if name in makers and _repeats(makers[name]) and readers[name] == 1
        ]
        alone = readers[joined.output[0]] == 1 and len(late) == 1 < len(sizes)
        if alone and all(sizes) and _pointwise(convolution, weight):
            _split(graph, convolution, joined, late[0], numpy_helper.to_array(weight), sizes)
    return without_unused(model)


def _split(
    graph: onnx.GraphProto,
    convolution: onnx.NodeProto,
    joined: onnx.NodeProto,
    enlargement: tuple[int, onnx.NodeProto],
    weight: NDArray[np.float32],
    sizes: list[int],
) -> None:
    """Put the two halves, the enlargement and the sum in the place of one convolution."""
    late, resize = enlargement
    name, begin = convolution.name, sum(sizes[:late])
    columns = np.arange(begin, begin + sizes[late])
    parts = {f"{name}_fine_weight": np.delete(weight, columns, axis=1), f"{name}_coarse_weight": weight[:, columns]}
    for key, array in parts.items():
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), key))
    for key, values in ((f"{name}_0", [0]), (f"{name}_2", [2]), (f"{name}_4", [4])):
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), key))

    fine, coarse = _copy(convolution, f"{name}_fine"), _copy(convolution, f"{name}_coarse")
    others = [value for index, value in enumerate(joined.input) if index != late]
    coarse.input[:] = [resize.input[0], f"{name}_coarse_weight"]
    up = _copy(resize, f"{name}_enlarged")
    up.input[:] = [coarse.output[0], "", "", f"{name}_size"]
    new = [coarse]
    if len(others) > 1:
        rest = _copy(joined, f"{name}_joined")
        rest.input[:] = others
        new.append(rest)
        others = [rest.output[0]]
    fine.input[:2] = [others[0], f"{name}_fine_weight"]
    new += [
        fine,
        # the size of the enlargement as before, but for its number of channels
        helper.make_node("Shape", [coarse.output[0]], [f"{name}_batch"], name=f"{name}_batch", start=0, end=2),
        helper.make_node(
            "Slice", [resize.input[3], f"{name}_2", f"{name}_4", f"{name}_0"], [f"{name}_sides"], name=f"{name}_sides"
        ),
        helper.make_node("Concat", [f"{name}_batch", f"{name}_sides"], [f"{name}_size"], name=f"{name}_size", axis=0),
        up,
        helper.make_node("Add", [fine.output[0], up.output[0]], list(convolution.output), name=f"{name}_sum"),
    ]
    for node in new:
        if not node.metadata_props:  # which module of the network it belongs to
            node.metadata_props.extend(convolution.metadata_props)
    gone = {convolution.name, joined.name, resize.name}
    nodes = [n for node in graph.node for n in (new if node.name == convolution.name else [node])]
    kept = [node for node in nodes if node.name not in gone]
    graph.ClearField("node")
    graph.node.extend(kept)


def _copy(node: onnx.NodeProto, name: str) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    copied.name, copied.output[:] = name, [name]
    return copied


def _channels(value: onnx.ValueInfoProto) -> int:
    """Number of channels of a value; 0 if it is not known."""
    dimensions = value.type.tensor_type.shape.dim
    return dimensions[1].dim_value if len(dimensions) == 4 else 0


def _given(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _repeats(node: onnx.NodeProto) -> bool:
    """Whether a node enlarges to a given size by repeating pixels."""
    return (
        node.op_type == "Resize"
        and _given(node).get("mode") == b"nearest"
        and len(node.input) == 4
        and bool(node.input[3])
    )


def _pointwise(node: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
    """Whether a convolution sees one pixel at a time, all its channels, and gives as many pixels."""
    given = _given(node)
    plain = {*given.get("strides", [1])} == {1} and {*given.get("pads", [0])} == {0} and given.get("group", 1) == 1
    return plain and list(weight.dims[2:]) == [1, 1]
