"""What rounding a convolution's weights shifts on average, taken back in its bias.

Rounding errors of activations cancel over a picture; those of weights are the same in every pixel: after ReLU all
inputs are positive, and ``(rounded - w) * mean(input)``, summed over the inputs, moves a whole channel. Thin networks
suffer most, where a depthwise convolution sums nine values. The shift is known before anything is rounded, and a bias
can hold it. (Nagel et al. 2019, arXiv 1906.04721, section 4.2, with means read from frames.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from deploy.channel_statistics import means
from deploy.graph import belongs_to
from deploy.onnx_export import module_of

__all__ = ["bias_corrected", "with_biases"]


def bias_corrected(
    model: onnx.ModelProto, frames: Sequence[NDArray[np.uint8]], keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """A copy whose biases make up for weights that will be rounded to symmetric INT8, a scale an output channel.

    Args:
        model: of `deploy.onnx_export.export_onnx`, still in floating point.
        frames: ``(H, W, 3)`` uint8 each, to read the inputs' means from.
        keep: modules that will not be rounded, by the beginning of their name.
    """
    found = with_biases(model)
    values = {value.name: value for value in found.graph.initializer}
    rounded = [
        node
        for node in found.graph.node
        if node.op_type == "Conv" and {*node.input[1:]} <= {*values}
        if not belongs_to(module_of(node), keep)
    ]
    read = means(model, sorted({node.input[0] for node in rounded}), frames)
    for node in rounded:
        weight, bias = (numpy_helper.to_array(values[name]) for name in node.input[1:])
        error = (_rounded(weight) - weight).sum(axis=(2, 3))
        of_each = error.shape[1]  # inputs that one output reads: all, or its group's
        groups = read[node.input[0]].reshape(-1, of_each)
        of_output = np.repeat(groups, len(error) // len(groups), axis=0)
        corrected = bias - (error * of_output).sum(axis=1)
        values[node.input[2]].CopyFrom(numpy_helper.from_array(corrected.astype(bias.dtype), node.input[2]))
    return found


def with_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every convolution of constant weights has a bias, of zeros where it had none."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    weights = {value.name: value for value in found.graph.initializer}
    for node in found.graph.node:
        if node.op_type == "Conv" and len(node.input) == 2 and node.input[1] in weights:
            name = f"{node.output[0]}_bias"
            zeros = np.zeros(weights[node.input[1]].dims[0], np.float32)
            found.graph.initializer.append(numpy_helper.from_array(zeros, name))
            node.input.append(name)
    return found


def _rounded(weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """To 255 steps between minus and plus the largest magnitude of each output channel."""
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    step[step == 0] = 1
    return np.asarray(np.round(weight / step) * step)
