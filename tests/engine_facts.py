"""What Torch-TensorRT and TensorRT-RTX make of presets, as JSON: run by tests in a process of its own.

python tests/engine_facts.py facts.json 64x64 densemtl_edge_s:fp32,fp16,int8,support,onnx densemtl_r101:int8
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
from torch import nn  # noqa: E402

trt = import_tensorrt()

from densemtl_core.models import build_model  # noqa: E402
from densemtl_core.tasks import make_tasks  # noqa: E402
from deploy.graph import DeployedNetwork, example, output_names  # noqa: E402
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


def finite(network: DeployedNetwork, pixels: torch.Tensor) -> float:
    """Share of the pixels that have a depth, the only output that can be infinite everywhere."""
    with torch.no_grad():
        depth = network(pixels)[output_names(network.tasks).index("depth")]
    return float(depth.isfinite().float().mean())


def of_precision(network: DeployedNetwork, precision: str, size: tuple[int, int]) -> tuple[dict[str, Any], Any]:
    """Facts, and the graph that they are about."""
    pixels = example(size)
    ready = prepared(network, precision, frames=[pixels[0].numpy()])
    program = traced(ready, size)
    facts = {
        **sizes(engine_bytes(program)),
        "identical": identical(ready, program, pixels),
        "finite": finite(ready, pixels),
        "quantisers": quantisers(ready),
        "operators": sorted({str(node.target) for node in program.graph.nodes if node.op == "call_function"}),
    }
    return facts, program


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


def made(preset: str) -> DeployedNetwork:
    torch.manual_seed(0)
    tasks = make_tasks(TASKS, num_classes=19)
    model = build_model(preset, tasks).eval()
    for name, head in model.decoders["depth"].named_children():
        if name.endswith("_head"):
            nn.init.constant_(head.bias, 65.5)  # about 10 m: near 0 everything would be infinitely far
    return DeployedNetwork(model, tasks).eval()


def of_preset(preset: str, wanted: list[str], size: tuple[int, int]) -> dict[str, Any]:
    network = made(preset)
    facts: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in network.parameters())}
    for name in wanted:
        if name in PRECISIONS:
            facts[name], program = of_precision(network, name, size)
            if name == "int8" and "support" in wanted:  # it has every operator of the others and its own
                facts["support"] = dataclasses.asdict(support(program))
    if "onnx" in wanted:
        exported = export_onnx(network, size, fixed=True)
        quantised = int8_for_tensorrt(exported, [example(size)[0].numpy()])
        facts["model.onnx"] = of_onnx(exported.SerializeToString())
        facts["model.int8-trt.onnx"] = of_onnx(quantised.SerializeToString())
    return facts


def main(out: str, shape: str, *presets: str) -> None:
    height, width = (int(side) for side in shape.split("x"))
    asked = [one.partition(":") for one in presets]
    facts = {preset: of_preset(preset, wanted.split(","), (height, width)) for preset, _, wanted in asked}
    Path(out).write_text(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
