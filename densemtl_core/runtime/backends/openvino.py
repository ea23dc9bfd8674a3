"""OpenVINO: the fastest engine on x86 CPUs, an extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from densemtl_core.runtime.backends.decoded_graph import (
    DecodedGraphBackend,
    check_declared,
    check_precision,
    check_self_contained,
)
from densemtl_core.runtime.bundle import Bundle
from densemtl_core.runtime.manifest import BundleError

__all__ = ["load"]


def load(bundle: Bundle, threads: int | None) -> DecodedGraphBackend:
    """Compile the graph for this CPU and compare it with what the manifest promises.

    By itself OpenVINO computes in bfloat16 where the CPU has it; here the precision is the manifest's.
    """
    engine = bundle.manifest.engines["openvino"]
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if engine.precision == "bf16" else "f32",
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    data = bundle.read(engine.file)
    check_self_contained(f"bundle {bundle.path}: {engine.file}", data)
    check_precision(f"bundle {bundle.path}: {engine.file}", engine.precision, data)
    try:
        core = openvino.Core()
        network = core.read_model(data)
        compiled = core.compile_model(network, "CPU", settings)
    except Exception as error:  # the library raises plain RuntimeError for every kind of damage
        reason = str(error).strip().splitlines()[-1]
        raise BundleError(
            f"bundle {bundle.path}: OpenVINO {openvino.__version__} cannot load {engine.file} ({reason}); rebuild it "
            "with: python deploy/compile.py --backend openvino"
        ) from None
    inputs = {i.any_name: (np.dtype(i.element_type.to_dtype()).name, len(i.partial_shape)) for i in compiled.inputs}
    outputs = {
        # compiled, an output may bear the name of an inner value as well; before, it has its own alone
        declared.any_name: (
            np.dtype(o.element_type.to_dtype()).name,
            [None if d.is_dynamic else d.get_length() for d in o.partial_shape],
        )
        for declared, o in zip(network.outputs, compiled.outputs, strict=True)
    }
    check_declared(f"bundle {bundle.path}: {engine.file}", bundle.manifest, inputs, outputs)
    request = compiled.create_infer_request()

    def infer(pixels: NDArray[Any], names: Sequence[str]) -> Sequence[NDArray[Any]]:
        found = request.infer([pixels])
        # the request's own memory is written again by the next frame
        return [np.array(found[name]) for name in names]

    batch, rows, columns = (compiled.inputs[0].partial_shape[k] for k in range(3))
    fixed = None if rows.is_dynamic or columns.is_dynamic else (rows.get_length(), columns.get_length())
    most = None if batch.is_dynamic else batch.get_length()
    return DecodedGraphBackend("openvino", "cpu", infer, bundle.manifest, fixed, most=most)
