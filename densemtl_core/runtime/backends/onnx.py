"""onnxruntime: the CPU engine that every robot can install, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from densemtl_core.runtime.backends.decoded_graph import (
    DecodedGraphBackend,
    check_declared,
    check_precision,
    check_self_contained,
)
from densemtl_core.runtime.bundle import Bundle
from densemtl_core.runtime.manifest import BundleError

__all__ = ["load", "session_options"]

ELEMENTS = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}


def load(bundle: Bundle, threads: int | None) -> DecodedGraphBackend:
    """Open the graph and compare it with what the manifest promises."""
    engine = bundle.manifest.engines["onnx"]
    file = engine.file
    data = bundle.read(file)
    check_self_contained(f"bundle {bundle.path}: {file}", data)
    check_precision(f"bundle {bundle.path}: {file}", engine.precision, data)
    try:
        session = onnxruntime.InferenceSession(data, session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises types of its own for every kind of damage
        reason = str(error).splitlines()[0]
        raise BundleError(
            f"bundle {bundle.path}: onnxruntime {onnxruntime.__version__} cannot load {file} ({reason}); rebuild it "
            "with: python deploy/compile.py"
        ) from None
    inputs = {i.name: (ELEMENTS.get(i.type, i.type), len(i.shape)) for i in session.get_inputs()}
    outputs = {o.name: (ELEMENTS.get(o.type, o.type), o.shape) for o in session.get_outputs()}
    check_declared(f"bundle {bundle.path}: {file}", bundle.manifest, inputs, outputs)
    image = session.get_inputs()[0]

    def infer(pixels: NDArray[Any], names: Sequence[str]) -> Sequence[NDArray[Any]]:
        values: Sequence[NDArray[Any]] = session.run(list(names), {image.name: pixels})
        return values

    batch, height, width = image.shape[:3]
    fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    most = batch if isinstance(batch, int) else None
    return DecodedGraphBackend("onnx", "cpu", infer, bundle.manifest, fixed, most=most)


def session_options(threads: int | None) -> onnxruntime.SessionOptions:
    """How every graph is run here.

    Args:
        threads: CPU threads, None for onnxruntime's own choice.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings speak of graph optimisation, to nobody on a robot
    if threads is not None:
        options.intra_op_num_threads = threads
    # Waiting threads sleep: see `open_backend` on why.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
