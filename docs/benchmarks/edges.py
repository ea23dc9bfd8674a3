"""What judging edges costs: macro F1 against odsF with tolerance, per image, and NYUDv2's test set on two cores.

    OMP_NUM_THREADS=1 python docs/benchmarks/edges.py       # writes docs/benchmarks/edges.json

Edge maps are the shipped network's, of frames of the street world. Seconds are those the processors spent, so that a
busy machine does not enter. The time for NYUDv2's 654 images of 425x560 is extrapolated from a few maps of that size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densemtl_core.data.street import StreetWorld
from densemtl_core.metrics import BoundaryDetection, Metric, State, join_states
from densemtl_core.runtime import Predictor, default_bundle
from densemtl_core.tasks import EdgesTask

NYUD_IMAGES, NYUD_SIZE, NYUD_TOLERANCE = 654, (425, 560), 0.011
VALIDATION_SIZES = ((128, 256), (192, 320))

Pair = tuple[Tensor, Tensor]


def edge_maps(size: tuple[int, int], count: int) -> list[Pair]:
    """Predicted edge probabilities and true edges, ``(1, 1, H, W)`` both."""
    world = StreetWorld(seed=0, split="val", size=size, style="mixed", length=count)
    predictor = Predictor(default_bundle())
    pairs = []
    for index in range(count):
        sample = world[index]
        image = (sample.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        found = torch.from_numpy(predictor.predict(image, tasks=["edges"])["edges"])
        pairs.append((found[None, None], sample.labels["edges"][None]))
    predictor.close()
    return pairs


def judge(metric: Metric, pairs: Sequence[Pair]) -> list[float]:
    """Processor seconds of each image."""
    taken = []
    for found, label in pairs:
        start = time.process_time()
        metric.update(found, label)
        taken.append(time.process_time() - start)
    return taken


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least, most and mean."""
    median, mean = statistics.median(seconds), statistics.mean(seconds)
    return {"median": median, "min": min(seconds), "max": max(seconds), "mean": mean, "images": len(seconds)}


def one_part(arrays: list[tuple[np.ndarray, np.ndarray]]) -> tuple[State, list[float]]:
    """What one process finds of its part."""
    torch.set_num_threads(1)
    metric = BoundaryDetection(max_distance=NYUD_TOLERANCE)
    taken = judge(metric, [(torch.from_numpy(found), torch.from_numpy(label)) for found, label in arrays])
    return metric.state(), taken


def nyud(pairs: Sequence[Pair], processes: int) -> dict[str, object]:
    """The set in parts, one a process, and put together; against the set judged whole."""
    parts = [[(p.numpy(), t.numpy()) for p, t in pairs[k::processes]] for k in range(processes)]
    start = time.perf_counter()
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        answers = list(pool.map(one_part, parts))
    wall = time.perf_counter() - start
    metric, whole = BoundaryDetection(max_distance=NYUD_TOLERANCE), BoundaryDetection(max_distance=NYUD_TOLERANCE)
    metric.load(join_states([state for state, _ in answers]))
    judge(whole, pairs)
    seconds = [t for _, taken in answers for t in taken]
    return {
        "size": "{}x{}".format(*NYUD_SIZE),
        "max_distance": NYUD_TOLERANCE,
        "radius_pixels": NYUD_TOLERANCE * float(np.hypot(*NYUD_SIZE)),
        "thresholds": 99,
        "processes": processes,
        "seconds_an_image": spread(seconds),
        "wall_seconds_here": wall,
        "scores": metric.compute(),
        "same_as_one_process": metric.compute() == whole.compute(),
        "extrapolated_minutes_of_654_images_on_idle_cores": NYUD_IMAGES * statistics.mean(seconds) / processes / 60,
    }


def validation(count: int) -> dict[str, object]:
    """The edges task's own metric, with and without the tolerant scores, at sizes a small machine validates at."""
    table: dict[str, object] = {}
    for size in VALIDATION_SIZES:
        pairs = edge_maps(size, count)
        quick, full = EdgesTask().metric().quick(), EdgesTask().metric()
        judge(full, pairs[:1]), judge(quick, pairs[:1])  # what is done only once is not counted
        taken = {"quick": spread(judge(quick, pairs)), "full": spread(judge(full, pairs))}
        table["{}x{}".format(*size)] = taken
    return table


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        "command": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python docs/benchmarks/edges.py "
        f"--images {given.images} --processes {given.processes}",
        "machine": {"processor": platform.machine(), "torch": torch.__version__, "numpy": np.__version__},
        "validation_seconds_an_image": validation(given.images),
        "nyud": nyud(edge_maps(NYUD_SIZE, given.images), given.processes),
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
