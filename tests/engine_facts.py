"""What Torch-TensorRT and TensorRT-RTX make of a preset, as JSON: run by tests in a process of its own.

python tests/engine_facts.py densemtl_edge_s fp32,fp16,int8,support,onnx 64x128 facts.json
"""

from __future__ import annotations

import dataclasses
import json
import sys
import zlib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import torch  # noqa: E402
from driverless import import_tensorrt  # noqa: E402

trt = import_tensorrt()

from densemtl_core.models import build_model  # noqa: E402
from densemtl_core.tasks import make_tasks  # noqa: E402
from deploy.graph import DeployedNetwork, example  # noqa: E402
from deploy.onnx_export import export_onnx  # noqa: E402
from deploy.quantize import int8_for_tensorrt  # noqa: E402
from deploy.quantize_modelopt import quantisers  # noqa: E402
from deploy.tensorrt import PRECISIONS, engine_bytes, prepared, support, traced  # noqa: E402

LARGE = 50_000_000
"""Bytes of an engine in which the kernels do not matter."""
TASKS = ("semantic", "depth", "normals", "edges")


def sizes(engine: bytes) -> dict[str, int]:
    """Beside the weights an engine of TensorRT-RTX holds its kernels' source text, which mostly compresses away."""
    return {"bytes": len(engine), "compressed": len(zlib.compress(engine, 1)) if len(engine) < LARGE else len(engine)}


def identical(network: DeployedNetwork, program: Any, pixels: torch.Tensor) -> bool:
    with torch.no_grad():
        expected, found = network(pixels), program.module()(pixels)
    return all(
        torch.equal(a.to(torch.float64).nan_to_num(-1.0), b.to(torch.float64).nan_to_num(-1.0))
        for a, b in zip(expected, found, strict=True)
    )


def of_precision(network: DeployedNetwork, precision: str, size: tuple[int, int], ask: bool) -> dict[str, Any]:
    pixels = example(size)
    ready = prepared(network, precision, frames=[pixels[0].numpy()])
    program = traced(ready, size)
    return {
        "support": dataclasses.asdict(support(program)) if ask else None,
        **sizes(engine_bytes(program)),
        "identical": identical(ready, program, pixels),
        "quantisers": quantisers(ready),
    }


def of_onnx(data: bytes) -> dict[str, Any]:
    """Parse and build, as trtexec does on the robot."""
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, trt.Logger(trt.Logger.ERROR))
    if not parser.parse(data):
        return {"errors": [parser.get_error(k).desc() for k in range(parser.num_errors)]}
    layers = [definition.get_layer(k).type for k in range(definition.num_layers)]
    engine = builder.build_serialized_network(definition, builder.create_builder_config())
    facts = {"errors": [], "quantise": layers.count(trt.LayerType.QUANTIZE), "built": engine is not None}
    return {**facts, **sizes(bytes(engine))} if engine is not None else facts


def main(preset: str, wanted: str, shape: str, out: str) -> None:
    torch.manual_seed(0)
    height, width = (int(side) for side in shape.split("x"))
    tasks = make_tasks(TASKS, num_classes=19)
    network = DeployedNetwork(build_model(preset, tasks).eval(), tasks).eval()
    facts: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in network.parameters())}
    for name in wanted.split(","):
        if name in PRECISIONS:
            # INT8 has every operator of the others and its own: large networks are asked about once
            facts[name] = of_precision(network, name, (height, width), name == "int8" or "support" in wanted)
    if "onnx" in wanted:
        exported = export_onnx(network, (height, width), fixed=True)
        quantised = int8_for_tensorrt(exported, [example((height, width))[0].numpy()])
        facts["model.onnx"] = of_onnx(exported.SerializeToString())
        facts["model.int8-trt.onnx"] = of_onnx(quantised.SerializeToString())
    Path(out).write_text(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
