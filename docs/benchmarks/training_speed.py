"""How many images a second a training run gets through, part by part and as a whole, and what bounds it.

    python docs/benchmarks/training_speed.py                  # writes docs/benchmarks/training_speed.json
    python docs/benchmarks/training_speed.py --sizes 64x96 --batch 2 --steps 2 --rounds 1 --losses 2 --out out.json

Parts, each alone, on one thread: frames of the street world (in this process; by one and two loading processes), the
same frames read back from a cache (the file system has them in memory), flips and batching, and the training step on a
batch that lies there, in single and in lower precision, in both memory formats. Then whole runs of the trainer, with
the loading processes, threads, cache, precision and memory format of each row. Rounds of all rows are taken in turns,
in one process; a row is the median of its rounds with the least and the largest. A step alone needs more rounds than
a run, which is many steps: it gets ``--steps`` times as many.

The losses at the end say what a lower precision does to learning: beside it stand single precision, and single
precision in another memory format, which is another rounding and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch.utils.data import Dataset

from densemtl_core.data import class_list
from densemtl_core.data.cached import CachedDataset
from densemtl_core.data.sample import Sample, collate
from densemtl_core.data.transforms import Augmentation, TransformedDataset
from densemtl_core.learning.adaptation import predict
from densemtl_core.learning.batch_stream import batch_stream
from densemtl_core.learning.optimisation import Optimisation, make_optimiser
from densemtl_core.learning.run_files import read_history
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.trainer import RunSettings, Trainer
from densemtl_core.learning.weight_average import WeightAverage
from densemtl_core.models import build_model
from densemtl_core.tasks import make_tasks
from training.bottleneck import bottleneck
from training.datasets import make_dataset
from training.settings import DataSettings

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SETTINGS = [("32-true", False), ("32-true", True), ("bf16-mixed", False), ("bf16-mixed", True)]
LOWER = {"32-true": None, "bf16-mixed": torch.bfloat16}
Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Whole:
    """A run of the trainer: how it loads and in what it computes."""

    workers: int
    threads: int
    cache: bool
    precision: str = "32-true"
    channels_last: bool = False


def runs() -> list[Whole]:
    """The rows: loading first, as ``training.train`` shares cores out; then precision, where loading is cheapest."""
    free = {workers: max(1, CORES - workers) for workers in (0, 1, 2)}
    rows = [Whole(workers, free[workers], cache) for cache in (False, True) for workers in (0, 1, 2)]
    rows.append(Whole(1, CORES, True))  # a cache needs no core of its own
    rows += [Whole(1, free[1], False, *how) for how in SETTINGS[1:]]
    rows += [Whole(1, CORES, True, *how) for how in SETTINGS[1:]]
    return list(dict.fromkeys(rows))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch's threads in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spread(values: list[float], digits: int = 2) -> dict[str, float]:
    """Median, least and largest."""
    numbers = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in numbers.items()}


class Bench:
    """The network, the data, and everything that is timed at one size.

    Args:
        given: the command line.
        size: ``(H, W)``.
        folder: for caches and run folders.
    """

    def __init__(self, given: argparse.Namespace, size: tuple[int, int], folder: Path) -> None:
        self.given, self.size, self.folder = given, size, folder
        self.batch, self.samples = given.batch, given.batch * max(given.steps, 2)
        classes = class_list("cityscapes19")
        kinds = ["semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges"]
        self.tasks = make_tasks(kinds, class_names=classes.classes, palette=classes.palette)
        self.names = [task.name for task in self.tasks]

    def data(self, cache: bool) -> Dataset[Sample]:
        """The training samples, as a run has them."""
        kept = str(self.folder / "cache") if cache else None
        how = DataSettings(size=list(self.size), train=self.samples, cache=kept, options={"style": "mixed"})
        return make_dataset(how, self.names, "cityscapes19", "train")

    # The parts ---------------------------------------------------------------------------------------------------

    def loading(self, rounds: int) -> dict[str, Any]:
        """Images a second of everything before a step, each alone."""
        plain, kept = self.data(cache=False), self.data(cache=True)
        assert isinstance(plain, TransformedDataset)  # noqa: S101  (narrows the type)
        assert isinstance(kept, TransformedDataset)  # noqa: S101
        made, cached = plain.dataset, kept.dataset
        assert isinstance(cached, CachedDataset)  # noqa: S101
        samples = [cached[i] for i in range(self.samples)]  # fills the cache
        change = TransformedDataset(samples, Augmentation(flip=0.5))  # type: ignore[arg-type]
        calls: dict[str, Callable[[range], object]] = {
            "street world, in this process": lambda k: [made[i] for i in k],
            "cache, in this process": lambda k: [cached[i] for i in k],
            "flip and batching": lambda k: collate([change[i] for i in k]),
        }
        found: dict[str, list[float]] = {}
        for number in range(rounds):
            first = number * self.batch % self.samples
            for name, call in calls.items():
                begun = time.perf_counter()
                call(range(first, first + self.batch))
                found.setdefault(name, []).append(self.batch / (time.perf_counter() - begun))
            for what, data in (("street world", plain), ("cache", kept)):
                for workers in (1, 2):
                    found.setdefault(f"{what}, loading processes: {workers}", []).append(self._loaded(data, workers))
        return {name: {"images_per_second": spread(values)} for name, values in found.items()}

    def _loaded(self, data: Dataset[Sample], workers: int) -> float:
        """Images a second of loading processes; the batches before every process has given one are left out."""
        ahead = max(workers, 1)
        count = ahead + max(self.given.steps, 2)
        stream = batch_stream(data, self.batch, 0, range(count), workers=workers)
        for _ in range(ahead):
            next(stream)
        begun = time.perf_counter()
        rest = sum(len(batch.image) for batch in stream)
        return rest / (time.perf_counter() - begun)

    def stepping(self, rounds: int) -> dict[str, Any]:
        """Images a second, and milliseconds of each part, of a step on a batch that lies there."""
        batch = collate([self.data(cache=True)[i] for i in range(self.batch)])
        steps = {how: self._step(batch, *how) for how in SETTINGS}
        found: dict[tuple[str, bool], Seconds] = {how: {} for how in SETTINGS}
        for number in range(-1, rounds):
            for how in SETTINGS if number % 2 else SETTINGS[::-1]:
                seconds = steps[how]()
                if number >= 0:  # the first one allocates
                    for part, value in seconds.items():
                        found[how].setdefault(part, []).append(value)
        report = {}
        for (precision, last), parts in found.items():
            whole = [sum(one) for one in zip(*parts.values(), strict=True)]
            report[f"{precision}{', channels last' if last else ''}"] = {
                "images_per_second": spread([self.batch / s for s in whole]),
                "milliseconds": {part: spread([1e3 * s for s in values], 1) for part, values in parts.items()},
            }
        return report

    def _step(self, batch: Sample, precision: str, last: bool) -> Callable[[], dict[str, float]]:
        torch.manual_seed(0)
        model = build_model(self.given.preset, self.tasks).train()
        model.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        image = batch.image.contiguous(memory_format=torch.channels_last) if last else batch.image
        encoder, how = set(model.encoder.parameters()), Optimisation()
        rest = [p for p in model.parameters() if p not in encoder]
        optimiser = make_optimiser(how, model.encoder.parameters(), rest)
        average = WeightAverage(model, 0.999)

        def step() -> dict[str, float]:
            parts: dict[str, float] = {}
            mark = time.perf_counter()

            def done(part: str) -> None:
                nonlocal mark
                parts[part], mark = time.perf_counter() - mark, time.perf_counter()

            outputs = predict(model, image, LOWER[precision])
            done("forward")
            losses = []
            for task in self.tasks:
                losses.append(sum(task.loss(raw, batch.labels[task.name]) for raw in outputs[task.name]))
                done(f"loss of {task.name}")
            optimiser.zero_grad(set_to_none=True)
            torch.stack(losses).sum().backward()
            done("backward")
            torch.nn.utils.clip_grad_norm_(model.parameters(), how.clip)
            done("clipping")
            optimiser.step()
            done("optimiser")
            average.update(model)
            done("average of the weights")
            return parts

        return step

    # Whole runs --------------------------------------------------------------------------------------------------

    def whole(self, rounds: int) -> list[dict[str, Any]]:
        """Images a second of the trainer, and what bounds it."""
        rows = runs()
        found: dict[Whole, list[dict[str, float]]] = {row: [] for row in rows}
        for number in range(rounds):
            for row in rows if number % 2 == 0 else rows[::-1]:
                with threads(row.threads):
                    found[row].append(self._fit(row, self.given.steps).pace.summary())
        report = []
        for row, figures in found.items():
            middle = {name: statistics.median(f[name] for f in figures) for name in figures[0]}
            report.append(
                {
                    **vars(row),
                    "images_per_second": spread([f["images_per_second"] for f in figures]),
                    "waiting": spread([f["waiting"] for f in figures], 3),
                    "loading": spread([f["loading"] for f in figures], 3),
                    "bound_by": bottleneck(
                        middle, loaders=row.workers, threads=row.threads, cores=CORES, cached=row.cache
                    ),
                }
            )
        return report

    def _fit(self, row: Whole, steps: int, every: int | None = None, seed: int = 0) -> Trainer:
        """A run from the beginning; `every` so many steps it keeps a record."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            torch.manual_seed(seed)
            how = RunSettings(
                steps=steps,
                batch=self.batch,
                seed=seed,
                workers=row.workers,
                log_every=every or steps,
                checkpoint_every=steps,
                channels_last=row.channels_last,
            )
            fabric = Fabric(accelerator="cpu", devices=1, precision=row.precision)  # type: ignore[arg-type]
            model, objective = build_model(self.given.preset, self.tasks), SupervisedObjective(self.tasks)
            trainer = Trainer(fabric, model, objective, how, Optimisation(), Path(folder))
            trainer.fit(self.data(row.cache))
            self.history = read_history(Path(folder))
            return trainer

    def losses(self, steps: int) -> dict[str, Any]:
        """The mean loss of the last tenth of a short run."""
        report: dict[str, Any] = {"steps": steps, "mean_of_last": max(1, steps // 10)}
        for precision, last in (SETTINGS[0], SETTINGS[1], SETTINGS[3]):
            self._fit(Whole(0, 1, True, precision, last), steps, every=1)
            tail = [record["loss"] for record in self.history[-max(1, steps // 10) :]]
            report[f"{precision}{', channels last' if last else ''}"] = round(statistics.mean(tail), 4)
        return report


def measured(given: argparse.Namespace, size: tuple[int, int], losses: int) -> Mapping[str, Any]:
    """Everything at one size; ``losses`` steps of the runs that compare losses, 0 = none."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given, size, Path(folder))
        report = {
            "loading_alone": bench.loading(given.rounds),
            "step_alone": bench.stepping(given.rounds * given.steps),
            "whole": bench.whole(given.rounds),
        }
        return {**report, "losses": bench.losses(losses)} if losses else report


def size_of(text: str) -> tuple[int, int]:
    """``HEIGHTxWIDTH``, both multiples of 32."""
    height, width = (int(v) for v in text.split("x"))
    if height % 32 or width % 32:
        raise SystemExit(f"--sizes has {text}; give multiples of 32")
    return height, width


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="128x256,256x512", help="HEIGHTxWIDTH, ... (default: %(default)s)")
    parser.add_argument("--preset", default="densemtl_edge_s")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6, help="of a whole run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--losses", type=int, default=50, help="steps of the runs at the first size that compare "
                        "losses; 0 = none (default: %(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    sizes = given.sizes.split(",")
    options = f"--sizes {given.sizes} --preset {given.preset} --batch {given.batch} --steps {given.steps}"
    report: dict[str, Any] = {
        "command": f"python docs/benchmarks/training_speed.py {options} --rounds {given.rounds} "
        f"--losses {given.losses}",
        "machine": {
            "processor": platform.machine(),
            "cores": CORES,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
        },
        "sizes": {text: measured(given, size_of(text), given.losses if text == sizes[0] else 0) for text in sizes},
    }
    report["machine"]["load_before_and_after"] = [round(before, 1), round(os.getloadavg()[0], 1)]
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
