"""What the network costs: attention without its matrix, the whole exchange, and edge against published.

    OMP_WAIT_POLICY=PASSIVE python docs/benchmarks/network.py       # writes docs/benchmarks/network.json

(The wait policy is what the runtime sets on a robot; with the default one, times on a busy machine are meaningless.)

Times are comparable only within one run: every pair is interleaved in one process. Memory is the growth of the
process's peak resident set over its level before the call.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import extra_peak, in_turns
from torch.utils.flop_counter import FlopCounterMode

from densemtl_core.models import PRESETS, build_model
from densemtl_core.models.exchange import CrossTaskExchange, attend

TASKS = ("semantic", "depth", "normals", "edges")


def explicit_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The textbook form, with the n x n matrix."""
    q, k, v = (x.flatten(2) for x in (q, k, v))
    matrix = torch.softmax(q.transpose(1, 2) @ k / q.shape[1] ** 0.5, dim=-1)
    return v @ matrix.transpose(1, 2)


def seconds_of(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Median and range of each call, after one that does not count."""
    for call in calls.values():
        call()
    return {
        name: {"median": statistics.median(t), "min": min(t), "max": max(t), "runs": len(t)}
        for name, t in in_turns(calls, repeats).items()
    }


@torch.no_grad()
def attention(repeats: int) -> dict[str, object]:
    """One direction at 512x1024: 128 channels, 64 x 128 = 8192 positions."""
    q, k, v = (torch.randn(1, 128, 64, 128) for _ in range(3))
    fused, explicit = (lambda: attend([q], [k], [v])), (lambda: explicit_attention(q, k, v))
    error = float((fused()[0].flatten(2) - explicit()).abs().max())
    memory = {"fused": extra_peak(fused), "explicit": extra_peak(explicit)}
    seconds = seconds_of({"fused": fused, "explicit": explicit}, repeats)
    return {
        "positions": 8192,
        "extra_peak_MiB": memory,
        "memory_ratio": memory["fused"] / memory["explicit"],
        "seconds": seconds,
        "time_ratio": seconds["fused"]["median"] / seconds["explicit"]["median"],
        "max_difference": error,
    }


@torch.no_grad()
def exchange() -> dict[str, object]:
    """The whole published exchange at 512x1024, four tasks, evaluation mode."""
    module = CrossTaskExchange(TASKS, 128).eval()
    features = {task: torch.randn(1, 128, 256, 512) for task in TASKS}
    return {
        "tasks": 4,
        "extra_peak_MiB": extra_peak(lambda: module(features)),
        "features_MiB": 4 * 128 * 256 * 512 / 2**18,
    }


@torch.no_grad()
def networks(repeats: int) -> dict[str, object]:
    """Edge against published at 256x512, four tasks, eager float32, the same process in turns."""
    image = torch.rand(1, 3, 256, 512)
    models = {name: build_model(name, TASKS, num_classes=19).eval() for name in ("densemtl_edge_s", "densemtl_r101")}
    seconds = seconds_of({name: (lambda m=m: m(image)) for name, m in models.items()}, repeats)
    medians = {name: s["median"] for name, s in seconds.items()}
    return {"input": "256x512", "seconds": seconds, "speed_up": medians["densemtl_r101"] / medians["densemtl_edge_s"]}


@torch.no_grad()
def sizes() -> dict[str, dict[str, float]]:
    """Parameters, and GFLOP (multiply and add apart) at 512x1024, of every preset with four tasks and 19 classes."""
    table = {}
    for name in PRESETS:
        with torch.device("meta"):
            model = build_model(name, TASKS, num_classes=19).eval()
            image = torch.empty(1, 3, 512, 1024)
        with FlopCounterMode(display=False) as counter:
            model(image)
        table[name] = {
            "parameters_M": round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
            "gflop": round(counter.get_total_flops() / 1e9, 1),
        }
    return table


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    report = {
        "command": f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', '')} python docs/benchmarks/network.py "
        f"--repeats {given.repeats} --threads {given.threads}",
        "machine": {"processor": platform.machine(), "threads": given.threads, "torch": torch.__version__},
        "sizes_512x1024": sizes(),
        "attention": attention(given.repeats),
        "exchange": exchange(),
        "networks": networks(given.repeats),
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
