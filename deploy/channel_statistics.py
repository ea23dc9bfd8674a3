"""What values the channels of a network take on given frames."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from deploy.graph import INPUT

__all__ = ["largest_magnitudes", "means"]

KEPT = 4
"""Measurements that are kept: quantising a graph again, with more of it left in floating point, asks for the same."""

_kept: OrderedDict[bytes, dict[str, NDArray[np.float64]]] = OrderedDict()


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
    key = _key(model, tensors, frames, operators)
    if key not in _kept:
        _kept[key] = _measured(model, tensors, frames, operators)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return {name: values.copy() for name, values in _kept[key].items()}


def _key(
    model: onnx.ModelProto, tensors: Sequence[str], frames: Sequence[NDArray[np.uint8]], operators: Sequence[str]
) -> bytes:
    """A hash of everything that a measurement depends on."""
    digest = hashlib.sha256(f"{list(tensors)} {list(operators)}".encode())
    digest.update(model.SerializeToString(deterministic=True))
    for frame in frames:
        digest.update(f"{frame.shape}".encode() + frame.tobytes())
    return digest.digest()


def _measured(
    model: onnx.ModelProto, tensors: Sequence[str], frames: Sequence[NDArray[np.uint8]], operators: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
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
