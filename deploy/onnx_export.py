"""The network as ONNX: the artefact that every other engine starts from, and the one to trust first on a Jetson."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch

from densemtl_core.runtime.manifest import LARGEST
from deploy.graph import INPUT, DeployedNetwork, example, output_names
from deploy.late_enlarging import enlarged_late

__all__ = ["OPSET", "export_onnx", "first_layers", "groups_of", "module_of"]

OPSET = 20
"""Attention stays MatMul and Softmax here; as the Attention operator of 23 not every TensorRT can build it."""

SCOPES = "pkg.torch.onnx.name_scopes"


def export_onnx(network: DeployedNetwork, size: tuple[int, int], *, fixed: bool = False) -> onnx.ModelProto:
    """Export.

    Args:
        network: to export, on the CPU.
        size: ``(H, W)`` of the traced image, multiples of 32.
        fixed: only for this size, one image at a time (TensorRT is fastest so); by default for any batch and any size
            of which both sides are multiples of 32, so that one file serves every camera's aspect.

    Returns:
        The model: input ``image`` ``(B, H, W, 3)`` uint8, outputs by their names; every node tells the module that it
        comes from (`module_of`).
    """
    shapes: Any = None
    batch = 1
    if not fixed:
        cells = LARGEST // 32
        height, width = (32 * torch.export.Dim(name, min=1, max=cells) for name in ("rows", "columns"))
        shapes = ({0: torch.export.Dim("batch", min=1, max=64), 1: height, 2: width},)
        batch = 2  # a dimension of one would be taken for a constant
    with _quiet(), torch.no_grad():
        program = torch.export.export(network.eval(), (example(size, batch),), dynamic_shapes=shapes)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=output_names(network.tasks),
        )
    if exported is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return enlarged_late(exported.model_proto)


def module_of(node: onnx.NodeProto) -> str:
    """The module of the network that a node comes from, ``decoders.depth.head.0`` say; empty outside the network."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            # written as a list of names, outermost first, the operation's own last
            names = [name.strip(" '\"") for name in entry.value.strip("[]").split(",")]
            inside = [name for name in names[:-1] if name.startswith("network.")]
            return inside[-1].removeprefix("network.") if inside else ""
    return ""


def groups_of(convolution: onnx.NodeProto) -> int:
    """Into how many groups a convolution parts its channels."""
    return next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)


def first_layers(model: onnx.ModelProto, convolutions: int = 3) -> tuple[str, ...]:
    """Modules of the graph's first convolutions and of what lies between them, in order."""
    found: dict[str, None] = {}
    left = convolutions
    for node in model.graph.node:
        if left and module_of(node):
            found[module_of(node)] = None
            left -= node.op_type == "Conv"
    return tuple(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter, which concerns its authors, off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
