"""Constants of an ONNX graph that nothing reads: weights would stay in the file after their convolution is gone."""

from __future__ import annotations

import onnx

__all__ = ["without_unused"]


def without_unused(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without constants that no node reads any more, in place."""
    read = {name for node in model.graph.node for name in node.input}
    left = [value for value in model.graph.initializer if value.name in read]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(left)
    return model
