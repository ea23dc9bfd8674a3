"""Channels of one magnitude, so that INT8's one range a tensor fits all of them.

A tensor of activations has one scale, and a channel that uses a hundredth of it has two bits left. Batch normalisation
folded into a convolution makes such channels: in MobileNetV2 some come out of the stem with a tenth of the others'
values and are multiplied by 18 in the depthwise convolution that follows, rounding errors with them. What a convolution
multiplies, a depthwise one can divide by again: both have a scale for every channel, so nothing is lost there and the
activation between them gets, in effect, a range for each channel. (Cross-layer equalisation, Nagel et al. 2019,
arXiv 1906.04721, where the second layer's precision costs nothing.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from deploy.channel_statistics import largest_magnitudes
from deploy.graph import DeployedNetwork
from deploy.onnx_export import groups_of

__all__ = ["equalised", "take_weights"]

HEADROOM = 1.25
"""Of a channel's largest value in the frames: where the activation between is clipped, other frames may exceed it."""

MOST = 100.0
"""No channel is enlarged more: one that never lights up has no range."""


@dataclass(frozen=True)
class _Pair:
    first: onnx.NodeProto  # a convolution
    between: str  # the tensor that is read by depthwise convolutions alone
    ceiling: float  # of the clipping in between; infinite without
    second: tuple[onnx.NodeProto, ...]


def equalised(model: onnx.ModelProto, frames: Sequence[NDArray[np.uint8]]) -> onnx.ModelProto:
    """A copy in which the channels before depthwise convolutions have about the same range.

    In floating point it computes the same, but for channels of a clipped activation (ReLU6) that exceed 1.25 times
    their largest value in the frames: these are clipped there, as INT8 would.

    Args:
        model: of `deploy.onnx_export.export_onnx`, batch normalisation folded.
        frames: ``(H, W, 3)`` uint8 each, to read ranges from.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    weights = {value.name: value for value in found.graph.initializer}
    pairs = list(_pairs(found, weights))
    largest = largest_magnitudes(model, [pair.between for pair in pairs], frames)
    for pair in pairs:
        reached = largest[pair.between]
        wanted = pair.ceiling / HEADROOM if np.isfinite(pair.ceiling) else reached.max()
        factor = np.clip(wanted / np.maximum(reached, wanted / MOST), 1.0, MOST)
        for name in pair.first.input[1:]:
            _scale(weights[name], factor)
        for convolution in pair.second:
            _scale(weights[convolution.input[1]], 1 / factor)
    return found


def take_weights(network: DeployedNetwork, model: onnx.ModelProto) -> None:
    """Give a network the weights of its exported and `equalised` graph, in place."""
    own = network.state_dict()
    values = {value.name: value for value in model.graph.initializer if value.name in own}
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(torch.from_numpy(numpy_helper.to_array(value).copy()))


def _pairs(model: onnx.ModelProto, weights: dict[str, onnx.TensorProto]) -> Iterator[_Pair]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    shared = {name for name, nodes in readers.items() if name in weights and len(nodes) > 1}
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        if node.op_type != "Conv" or shared.intersection(node.input[1:]):
            continue
        between, ceiling = node.output[0], np.inf
        following = readers.get(between, [])
        if len(following) == 1 and following[0].op_type in ("Relu", "Clip"):
            activation = following[0]
            if activation.op_type == "Clip":
                limits = [numpy_helper.to_array(weights[name]) for name in activation.input[1:3] if name in weights]
                if len(limits) != 2 or limits[0] != 0:
                    continue
                ceiling = float(limits[1])
            between = activation.output[0]
            following = readers.get(between, [])
        depthwise = following and all(_depthwise(n, between, weights) for n in following)
        if depthwise and between not in outputs and not any(shared.intersection(n.input[1:]) for n in following):
            yield _Pair(node, between, ceiling, tuple(following))


def _depthwise(node: onnx.NodeProto, values: str, weights: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Conv" or node.input[0] != values or node.input[1] not in weights:
        return False
    out, of_each = weights[node.input[1]].dims[:2]
    return bool(groups_of(node) == out and of_each == 1)


def _scale(value: onnx.TensorProto, factor: NDArray[np.float64]) -> None:
    """Multiply along the first dimension, in place."""
    array = numpy_helper.to_array(value)
    scaled = array * factor.reshape(-1, *[1] * (array.ndim - 1))
    value.CopyFrom(numpy_helper.from_array(scaled.astype(array.dtype), value.name))
