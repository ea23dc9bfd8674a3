"""How near INT8 networks come to the fastest INT8 convolutions of the machine, and what remains above that floor.

    python docs/benchmarks/int8_floor.py --threads 2       # writes docs/benchmarks/int8_floor.json

The floor of a network is its arithmetic over the best rate of dense convolutions that suit the machine: four in a row,
as many channels in as out, quantised as networks are (u8 activations, s8 weights a channel), in the same ONNX Runtime.
Everything takes turns in one process. A network is timed from camera image to predictions, so what lies above the
floor is narrow and depthwise layers, resizing, decoding and what the runtime spends between layers.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from measuring import in_turns
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from deploy.comparison import spread
from deploy.conditions import Disturbance, conditions
from deploy.lineup import load_untrained
from deploy.presets_cost import cost
from deploy.untrained import untrained_bundles

PRESETS = ("densemtl_edge_s", "densemtl_edge_m", "densemtl_edge_l")
PRECISIONS = ("fp32", "int8")
SIZE = (256, 512)
DEPTH = 4
PLACES = (64, 64)
SHAPES = ((1, 256), (1, 512), (3, 128), (3, 256))
"""Kernel side and channels of the dense convolutions."""

Call = Callable[[], object]


class _Noise(CalibrationDataReader):
    """Two inputs to read ranges from."""

    def __init__(self, channels: int) -> None:
        rng = np.random.default_rng(0)
        self._left = [rng.random((1, channels, *PLACES), np.float32) for _ in range(2)]

    def get_next(self) -> dict[str, Any] | None:
        return {"x": self._left.pop()} if self._left else None


def dense(side: int, channels: int, threads: int, folder: Path) -> tuple[dict[str, Call], float]:
    """Convolutions with ReLU, one call for each precision, and the arithmetic of a call in GFLOP."""
    torch.manual_seed(0)
    layers = [m for _ in range(DEPTH) for m in (nn.Conv2d(channels, channels, side, padding=side // 2), nn.ReLU())]
    example = torch.rand(1, channels, *PLACES)
    paths = {name: folder / f"{side}_{channels}_{name}.onnx" for name in PRECISIONS}
    torch.onnx.export(
        nn.Sequential(*layers).eval(),
        (example,),
        paths["fp32"],
        input_names=["x"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    quantize_static(
        onnx.load(paths["fp32"]),
        paths["int8"],
        _Noise(channels),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    calls: dict[str, Call] = {}
    for name, path in paths.items():
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        calls[name] = lambda session=session: session.run(None, {"x": example.numpy()})
    return calls, 2e-9 * DEPTH * side**2 * channels**2 * PLACES[0] * PLACES[1]


def network(preset: str, threads: int, folder: Path) -> dict[str, Call]:
    """A frame from camera image to predictions, for each precision."""
    folder.mkdir()
    engines, left_out = load_untrained(untrained_bundles(preset, SIZE, PRECISIONS, folder), ("onnx",), threads)
    if left_out:
        raise SystemExit("error: " + "; ".join(left_out))
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    return {e.precision: lambda predictor=e.predictor: predictor.predict(image) for e in engines}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("int8_floor.json"))
    given = parser.parse_args()
    presets = given.presets.split(",")
    report: dict[str, Any] = {
        "command": shlex.join(["python", "docs/benchmarks/int8_floor.py", *sys.argv[1:]]),
        "conditions": conditions(given.threads),
    }
    calls: dict[str, Call] = {}
    gflop: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, channels in SHAPES:
            made, work = dense(side, channels, given.threads, folder)
            gflop[f"{side}x{side}, {channels} channels"] = work
            calls |= {f"{side}x{side}, {channels} channels {p}": call for p, call in made.items()}
        convolutions = list(gflop)
        for preset in presets:
            made = network(preset, given.threads, folder / preset)
            gflop[preset] = 1e-9 * cost(preset, SIZE).flop
            calls |= {f"{preset} {p}": call for p, call in made.items()}
        for call in calls.values():
            for _ in range(3):
                call()
        with Disturbance() as others:
            times = in_turns(calls, given.repeats)
    report["other_cores"] = others.cores
    rates = {
        precision: {c: gflop[c] / statistics.median(times[f"{c} {precision}"]) for c in convolutions}
        for precision in PRECISIONS
    }
    report["gflop_per_second"] = {p: {c: round(v, 1) for c, v in found.items()} for p, found in rates.items()}
    report["networks"] = []
    for preset in presets:
        for precision in PRECISIONS:
            ms = spread([1000 * t for t in times[f"{preset} {precision}"]])
            floor = 1000 * gflop[preset] / max(rates[precision].values())
            row = {
                "preset": preset,
                "precision": precision,
                "gflop": round(gflop[preset], 3),
                "floor_ms": round(floor, 2),
                "ms": ms,
                "floor_of_median": round(floor / ms["p50"], 3),
            }
            report["networks"].append(row)
            print(f"{preset} {precision}: {ms['p50']:.1f} ms ({ms['p10']:.1f}-{ms['p90']:.1f}); floor {floor:.1f} ms")
    given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
