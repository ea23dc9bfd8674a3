"""INT8 in ONNX: where the graph is computed in bytes, and where not.

Two files come of one network, on purpose. onnxruntime's CPU kernels are fast with unsigned activations and signed
weights (u8s8), and every operator that can be is quantised; TensorRT accepts symmetric signed values alone and reads
them around convolutions, where its gain is. Each runs badly, or not at all, where the other belongs.

Both begin at a network that is `conditioned` for rounding: what unequal channels and the bias of rounded weights would
lose is known before, and costs nothing to avoid.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from deploy.bias_correction import bias_corrected
from deploy.byte_input import CENTRED, centred, fed_with_bytes
from deploy.equalisation import equalised
from deploy.graph import INPUT, belongs_to
from deploy.onnx_export import module_of
from deploy.unused_constants import without_unused

__all__ = ["conditioned", "counted", "int8_for_cpu", "int8_for_tensorrt"]


class _Frames(CalibrationDataReader):  # type: ignore[misc]  # the library is untyped
    def __init__(self, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._left = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        frame = next(self._left, None)
        return None if frame is None else {INPUT: frame[None]}


def conditioned(
    model: onnx.ModelProto, frames: Sequence[NDArray[np.uint8]], keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """The same graph with weights that lose least when they are rounded: `equalised`, then `bias_corrected`.

    Args:
        model: of `deploy.onnx_export.export_onnx`.
        frames: ``(H, W, 3)`` uint8 each.
        keep: modules that will be left in floating point.
    """
    return bias_corrected(equalised(model, frames), frames, keep)


def int8_for_cpu(
    model: onnx.ModelProto, frames: Sequence[NDArray[np.uint8]], keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """Quantise for onnxruntime: u8 activations, s8 weights a channel, every operator of the network that can be.

    Args:
        model: of `deploy.onnx_export.export_onnx`.
        frames: ``(H, W, 3)`` uint8 each, to read ranges from.
        keep: modules left in floating point, by the beginning of their name: ``exchange``, ``decoders.depth``.
            What is around the network (scaling of colours, decoding) always is.
    """
    fixed: dict[str, Any] = {}
    bytes_in = centred(model, keep)
    if bytes_in is not None:
        model, middle = without_unused(bytes_in[0]), bytes_in[1]
        one, zero = np.array(1, np.float32), np.array(middle, np.uint8)
        fixed[CENTRED] = [{"quant_type": QuantType.QUInt8, "scale": one, "zero_point": zero}]
    found = _quantised(
        conditioned(model, frames, keep),
        frames,
        keep,
        activation_type=QuantType.QUInt8,
        extra_options={"TensorQuantOverrides": fixed},
    )
    return without_unused(fed_with_bytes(found)) if bytes_in is not None else found


def int8_for_tensorrt(
    model: onnx.ModelProto, frames: Sequence[NDArray[np.uint8]], keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """Quantise for TensorRT: symmetric s8 Q/DQ around convolutions, biases left alone.

    The arguments are those of `int8_for_cpu`.
    """
    return _quantised(
        conditioned(model, frames, keep),
        frames,
        keep,
        activation_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            # what comes out of a convolution is rounded after its activation, where the next one reads it: before, half
            # of a symmetric range goes to values that ReLU throws away
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        },
    )


def counted(model: onnx.ModelProto) -> tuple[int, int]:
    """How many convolutions have bytes for values and weights, and how many there are."""
    from_bytes = {out for node in model.graph.node if node.op_type == "DequantizeLinear" for out in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return sum(from_bytes.issuperset(node.input[:2]) for node in convolutions), len(convolutions)


def _quantised(
    model: onnx.ModelProto, frames: Sequence[NDArray[np.uint8]], keep: Sequence[str], **how: Any
) -> onnx.ModelProto:
    network, tail = _without_tail(model)
    kept = [node.name for node in network.graph.node if not module_of(node) or belongs_to(module_of(node), keep)]
    with tempfile.TemporaryDirectory(prefix="densemtl-int8-") as folder, _quiet():
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(network, before)
        quantize_static(
            before,
            after,
            _Frames(frames),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=kept,
            **how,
        )
        quantised = onnx.load(after)
    return _with_tail(quantised, tail, model)


def _without_tail(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[onnx.NodeProto]]:
    """The graph up to the network's raw outputs, and the nodes that decode them.

    Decoding makes infinities and NaNs by design (sky has no depth), of which no range can be read.
    """
    needed: set[str] = set()  # by a node of the network, directly or not
    tail: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):  # in topological order, backwards
        if module_of(node) or needed.intersection(node.output):
            needed.update(node.input)
        else:
            tail.insert(0, node)
    decoding = {node.name for node in tail}
    before = [node for node in model.graph.node if node.name not in decoding]
    made = {name for node in before for name in node.output}
    wanted = dict.fromkeys(name for node in tail for name in node.input if name in made)
    kinds = {value.name: value for value in model.graph.value_info}
    network = onnx.ModelProto()
    network.CopyFrom(model)
    for field, values in (("node", before), ("output", [kinds[name] for name in wanted])):
        network.graph.ClearField(field)
        getattr(network.graph, field).extend(values)
    return without_unused(network), tail


def _with_tail(quantised: onnx.ModelProto, tail: Sequence[onnx.NodeProto], model: onnx.ModelProto) -> onnx.ModelProto:
    """The whole graph again: a quantised network, decoded as before."""
    present = {value.name for value in quantised.graph.initializer}
    needed = {name for node in tail for name in node.input} - present
    quantised.graph.initializer.extend(value for value in model.graph.initializer if value.name in needed)
    quantised.graph.node.extend(tail)
    quantised.graph.ClearField("output")
    quantised.graph.output.extend(model.graph.output)
    return quantised


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library advises through the root logger to run a step that would lose the nodes' modules."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
