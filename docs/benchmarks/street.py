"""How fast the street world is made, what bounds it, and what is in it.

    OMP_NUM_THREADS=1 python docs/benchmarks/street.py       # writes docs/benchmarks/street.json

Frames a second are of wall time; on a machine with other work, frames per second of processor time (`per_cpu_second`,
the sum over processes) say what a free core would give. Rounds of all settings are taken in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.sample import IGNORE_CLASS, collate
from densemtl_core.data.street import StreetWorld, render, world

SIZE = (128, 256)
# Stages that `render` is made of, by the function that does them; what is left of `render` is putting them together.
STAGES = {
    "cast": "rays against primitives",
    "shadow_map": "the sun's rays against primitives",
    "paint": "textures of objects",
    "paint_ground": "textures of the ground",
    "surface": "points and normals of objects",
    "develop": "lens, exposure, sensor",
    "screen_boxes": "rectangles around primitives",
    "sunlit": "shadows looked up",
    "intersect_ground": "rays against the ground",
    "sky": "sky and clouds",
    "edge_map": "edge labels",
}


def cpu_seconds() -> float:
    """Of this process and its children that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


def timed(call: Callable[[], object], frames: int) -> tuple[float, float]:
    """Frames a second of wall time and of processor time."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    call()
    return frames / (time.perf_counter() - wall), frames / (cpu_seconds() - cpu)


def one_process(streets: StreetWorld, first: int, frames: int) -> Callable[[], object]:
    """Samples one after the other."""
    return lambda: [streets[i] for i in range(first, first + frames)]


def workers(streets: StreetWorld, first: int, frames: int, count: int) -> Callable[[], object]:
    """Samples from a loader's worker processes, as in training; their start is part of the time."""
    some = Subset(streets, range(first, first + frames))
    loader = DataLoader(some, batch_size=4, num_workers=count, collate_fn=collate)
    return lambda: [batch.image.shape for batch in loader]


def speed(rounds: int, frames: int) -> dict[str, Any]:
    """All settings, in turns."""
    plain, drive = StreetWorld(size=SIZE), StreetWorld(size=SIZE, frames=(-1, 1))
    plain[0]  # noise tables
    results: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds):
        first = number * frames
        for name, call in (
            ("one process, one thread", one_process(plain, first, frames)),
            ("two workers", workers(plain, first, 2 * frames, 2)),
            ("one process, one thread, with both neighbours", one_process(drive, first, frames // 2)),
        ):
            made = {"two workers": 2 * frames, "one process, one thread": frames}.get(name, frames // 2)
            results.setdefault(name, []).append(timed(call, made))
    report = {}
    for name, pairs in results.items():
        walls, cpus = [p[0] for p in pairs], [p[1] for p in pairs]
        report[name] = {
            "frames_per_second": {"median": round(statistics.median(walls), 1), "best": round(max(walls), 1)},
            "per_cpu_second": {"median": round(statistics.median(cpus), 1), "best": round(max(cpus), 1)},
        }
    return report


@contextmanager
def watched(spent: dict[str, float]) -> Iterator[None]:
    """Count the processor time of every stage while the body runs."""
    places = [(render, name) for name in STAGES] + [(world, "sample"), (world, "render")]
    originals = [(module, name, getattr(module, name)) for module, name in places]

    def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            result = original(*arguments, **options)
            spent[name] = spent.get(name, 0.0) + time.process_time() - start
            return result

        return call

    for module, name, original in originals:
        setattr(module, name, wrap(name, original))
    try:
        yield
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


def shares(frames: int) -> dict[str, float]:
    """What a frame's processor time goes to, per cent, largest first."""
    streets, spent = StreetWorld(size=SIZE), {}
    streets[0]
    start = time.process_time()
    with watched(spent):
        for index in range(frames):
            streets[index]
    total = time.process_time() - start
    stages = {words: spent[name] for name, words in STAGES.items()}
    stages["drawing the scene"] = spent["sample"]
    stages["lighting and putting together"] = spent["render"] - sum(spent[name] for name in STAGES)
    return {k: round(100 * v / total, 1) for k, v in sorted(stages.items(), key=lambda item: -item[1])}


def contents(frames: int) -> dict[str, dict[str, float]]:
    """Share of pixels of each class, and of frames in which it appears, per cent."""
    streets = StreetWorld(size=SIZE)
    pixels, appears = torch.zeros(256), torch.zeros(256)
    for index in range(frames):
        count = torch.bincount(streets[index].labels["semantic"].flatten(), minlength=256)
        pixels += count
        appears += count > 0
    names = {**dict(enumerate(CITYSCAPES_19.classes)), IGNORE_CLASS: "unlabelled"}
    return {
        name: {
            "pixels": round(100 * (pixels[k] / pixels.sum()).item(), 2),
            "frames": round(100 * appears[k].item() / frames, 1),
        }
        for k, name in names.items()
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    report: dict[str, Any] = {
        "command": "OMP_NUM_THREADS=1 python docs/benchmarks/street.py "
        f"--rounds {given.rounds} --frames {given.frames}",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "size": list(SIZE),
        "speed": speed(given.rounds, given.frames),
        "share_of_processor_time": shares(2 * given.frames),
        "classes_of_200_frames": contents(200),
    }
    report["machine"]["load_before_and_after"] = [round(before, 1), round(os.getloadavg()[0], 1)]
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
