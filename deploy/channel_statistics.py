"""What values the channels of a network take on given frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from deploy.graph import INPUT

__all__ = ["largest_magnitudes", "means"]


def means(
    model: onnx.ModelProto, tensors: Sequence[str], frames: Sequence[NDArray[np.uint8]]
) -> dict[str, NDArray[np.float64]]:
    """Tensor to the mean of each of its channels ``(C,)`` over all frames.

    Args:
        model: of `deploy.onnx_export.export_onnx`.
        tensors: names of values ``(B, C, H, W)`` in it.
        frames: ``(H, W, 3)`` uint8 each.
    """
    return {name: found.mean(axis=0) for name, found in _reduced(model, tensors, frames, ["ReduceMean"]).items()}


def largest_magnitudes(
    model: onnx.ModelProto, tensors: Sequence[str], frames: Sequence[NDArray[np.uint8]]
) -> dict[str, NDArray[np.float64]]:
    """Tensor to the largest magnitude ``(C,)`` that each of its channels reaches in any frame; arguments as `means`."""
    return {name: found.max(axis=0) for name, found in _reduced(model, tensors, frames, ["Abs", "ReduceMax"]).items()}


def _reduced(
    model: onnx.ModelProto, tensors: Sequence[str], frames: Sequence[NDArray[np.uint8]], operators: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Tensor to one value a frame and channel, ``(N, C)``; reduced inside the graph, or it would fill the memory.

    The last operator reduces; those before it work on each element.
    """
    if not tensors:
        return {}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.ClearField("output")
    axes = numpy_helper.from_array(np.array([0, 2, 3]), "densemtl_axes")
    probe.graph.initializer.append(axes)
    for number, name in enumerate(tensors):
        source, reduced = name, f"densemtl_reduced_{number}"
        for operator in operators[:-1]:
            probe.graph.node.append(helper.make_node(operator, [source], [f"densemtl_{operator}_{number}"]))
            source = f"densemtl_{operator}_{number}"
        probe.graph.node.append(helper.make_node(operators[-1], [source, axes.name], [reduced], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(reduced, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(None, {INPUT: frame[None]}) for frame in frames]
    return {name: np.array([values[k] for values in found], np.float64) for k, name in enumerate(tensors)}
