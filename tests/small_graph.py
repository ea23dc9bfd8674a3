"""Graphs of a few convolutions, written by hand: pixels in, scaled, and whatever follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MEAN = np.array([124.0, 116.0, 104.0], np.float32)
DEVIATION = np.array([58.0, 57.0, 56.0], np.float32)


def convolution(name: str, source: str, groups: int = 1, **attributes: object) -> onnx.NodeProto:
    """Reads ``NAME.weight`` and ``NAME.bias``, writes ``NAME``; belongs to the module ``NAME``."""
    node = helper.make_node(
        "Conv", [source, f"{name}.weight", f"{name}.bias"], [name], name=name, group=groups, **attributes
    )
    entry = node.metadata_props.add()
    entry.key = "pkg.torch.onnx.name_scopes"
    entry.value = f"['', 'network', 'network.{name}', '{name}']"
    return node


def graph(nodes: Sequence[onnx.NodeProto], values: Mapping[str, np.ndarray], outputs: Sequence[str]) -> onnx.ModelProto:
    """A model whose nodes may read ``scaled`` ``(B, 3, H, W)``, the normalised picture."""
    values = {"mean": MEAN.reshape(1, 3, 1, 1), "deviation": DEVIATION.reshape(1, 3, 1, 1), **values}
    begin = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "mean"], ["less"]),
        helper.make_node("Div", ["less", "deviation"], ["scaled"]),
    ]
    made = helper.make_graph(
        [*begin, *nodes],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", "H", "W", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "C", "H", "W"]) for name in outputs],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, frame: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs by name for one ``(H, W, 3)`` picture."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": frame[None]}), strict=True))


def weight(model: onnx.ModelProto, name: str) -> np.ndarray:
    (value,) = (value for value in model.graph.initializer if value.name == name)
    return numpy_helper.to_array(value)
