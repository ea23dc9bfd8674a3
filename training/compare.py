"""Train several methods on the same data with several seeds, and make the table that compares them.

python -m training.compare --config training/configs/compare_street.yaml --out runs/compare --seeds 3
python -m training.compare --config training/configs/compare_street.yaml --out runs/compare --only xTAM,PAD-Net
python -m training.compare --out runs/compare --table --time 20

The same command goes on where it was stopped; several at once share the runs among themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from densemtl_core import __version__
from densemtl_core.errors import InputError
from densemtl_core.learning.run_files import checkpoints
from densemtl_core.learning.written_files import UnwritableError, write_whole
from training.comparison import Comparison, Training, open_folder, read_comparison, stored_comparison
from training.comparison_table import Outcome, Score, cells, markdown, method_row, set_delta
from training.network_cost import count, time_interleaved
from training.run_folder import claimed
from training.settings import Settings
from training.train import run

__all__ = ["main", "train_all", "write_table"]

log = logging.getLogger("densemtl.compare")

RESULT, TIMES = "result.json", "times.json"
PATHS = ("encoder_weights", "start", "data.root", "data.cache")  # settings that name a file


def train_all(comparison: Comparison, out: Path, methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Do every run that is not done yet: seed after seed, so that an early table already has all methods.

    Args:
        comparison: what to do.
        out: the comparison's folder.
        methods: which of its methods.
        seeds: of the runs.
    """
    plan = [t for seed in seeds for method in methods for t in comparison.trainings(out, method, seed)]
    todo = [t for t in plan if not (t.folder / RESULT).is_file()]
    log.info("%d runs, %d of them done", len(plan), len(plan) - len(todo))
    spent: list[float] = []
    for number, training in enumerate(todo):
        left = f", about {sum(spent) / len(spent) * (len(todo) - number) / 60:.0f} min left" if spent else ""
        name = f"{training.method}, {'+'.join(training.tasks)}, seed {training.seed}"
        with claimed(training.folder, ".claim") as ours:
            if not ours:
                log.info("[%d/%d] %s: another process is at it", number + 1, len(todo), name)
                continue
            if (training.folder / RESULT).is_file():
                continue  # another process was quicker
            log.info("[%d/%d] %s%s", number + 1, len(todo), name, left)
            start = time.monotonic()
            _write_json(training.folder / RESULT, _train(training))
            spent.append(time.monotonic() - start)


def write_table(comparison: Comparison, out: Path, command: str) -> list[list[str]]:
    """Make ``compare.json`` and ``table.md`` from the runs that are done.

    Args:
        comparison: of the folder.
        out: the folder.
        command: what to type to repeat it.

    Returns:
        The table as text, its heading first.

    Raises:
        InputError: no run is done.
    """
    judges = {t.name: Score(t.metric().primary, t.metric().higher_is_better) for t in comparison.made_tasks()}
    size = (comparison.data.size[0], comparison.data.size[1])  # type: ignore[index]
    times = json.loads((out / TIMES).read_text()) if (out / TIMES).is_file() else {}
    seeds = sorted({int(f.name.removeprefix("seed_")) for f in out.glob("runs/*/*/seed_*")})
    rows, unfinished = [], []
    for method, recipe in comparison.methods.items():
        outcomes = []
        for seed in seeds:
            for training in comparison.trainings(out, method, seed):
                result = _read_result(training)
                if result is not None:
                    outcomes.append(result)
                else:
                    unfinished.append(f"{method}, {'+'.join(training.tasks)}, seed {seed}")
        rows.append(
            {
                "preset": recipe.preset,
                "single": recipe.single,
                **method_row(method, outcomes, judges),
                **count(comparison.networks(method), size),
                "ms": times.get(method),
            }
        )
    if not any(row["seeds"] for row in rows):
        raise InputError(f"{out} has no finished run yet; leave --table out to train")
    set_delta(rows, comparison.baseline)
    data, settings = comparison.data, _public(comparison)
    report = {
        "command": command,
        "made_with": {"densemtl_core": __version__, "torch": torch.__version__},
        "judged_on": {
            "dataset": data.dataset,
            "split": "val",
            "size": list(size),
            "options": data.options,
            "classes": comparison.class_list,
            "training_samples": "all" if data.train is None else data.train,
            "validation_samples": "all" if data.validation is None else data.validation,
        },
        "settings": settings,
        "seeds": seeds,
        "baseline": comparison.baseline,
        "rows": rows,
        "unfinished": unfinished,
    }
    table = cells(rows, judges)
    _write_json(out / "compare.json", report)
    write_whole(out / "table.md", markdown(report, table))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="YAML file, e.g. training/configs/compare_street.yaml")
    parser.add_argument("--out", default="runs/compare", help="folder of the comparison (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from run.seed on (default: %(default)s)")
    parser.add_argument("--only", metavar="METHOD[,METHOD]", help="train these alone; the table has all")
    parser.add_argument("--table", action="store_true", help="train nothing, make the table of what is done")
    parser.add_argument(
        "--time", type=int, metavar="ROUNDS", help="measure the methods' ms side by side; wants a quiet machine"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of the network")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the file")
    given = parser.parse_intermixed_args(arguments)  # key=value may stand anywhere
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    if given.threads:
        torch.set_num_threads(given.threads)
    out = Path(given.out)
    try:
        for name, value in (("--seeds", given.seeds), ("--time", given.time)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        if given.table:
            comparison = stored_comparison(out)
        elif given.config:
            comparison = open_folder(read_comparison(given.config, given.overrides), out)
        else:
            raise InputError("--config is missing: what to compare, e.g. training/configs/compare_street.yaml")
        methods = _chosen(given.only, comparison)
        if not given.table:
            _write_json(out / "command.json", _command(given))
            train_all(comparison, out, methods, range(comparison.run.seed, comparison.run.seed + given.seeds))
        if given.time:
            groups = {name: comparison.networks(name) for name in comparison.methods}
            size = (comparison.data.size[0], comparison.data.size[1])  # type: ignore[index]
            _write_json(out / TIMES, time_interleaved(groups, size, given.time))
        table = write_table(comparison, out, json.loads((out / "command.json").read_text()))
    except UnwritableError as error:
        print(f"error: {error}, then the same command goes on", file=sys.stderr)
        return 2
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    _show(table)
    print(f"{out / 'table.md'}  {out / 'compare.json'}")
    return 0


def _train(training: Training) -> dict[str, Any]:
    begun = bool(checkpoints(training.folder))
    try:
        scores = run(training.settings, training.folder, "last" if begun else None)
    except FloatingPointError as error:
        log.warning("%s: %s", training.folder, error)
        return {"scores": {}, "diverged": str(error)}
    return {"scores": scores, "diverged": ""}


def _read_result(training: Training) -> Outcome | None:
    file = training.folder / RESULT
    if not file.is_file():
        return None
    result = json.loads(file.read_text())
    scores = {
        task: {name: math.nan if value is None else float(value) for name, value in figures.items()}
        for task, figures in result["scores"].items()
    }
    return Outcome(training.tasks, training.seed, scores, result["diverged"])


def _chosen(only: str | None, comparison: Comparison) -> list[str]:
    if only is None:
        return list(comparison.methods)
    chosen = [name.strip() for name in only.split(",")]
    for name in chosen:
        if name not in comparison.methods:
            raise InputError(f"--only {name!r} is no method; known: {', '.join(comparison.methods)}")
    return chosen


def _command(given: argparse.Namespace) -> str:
    """What to type for the whole comparison on any machine: of files that settings name, only the name."""
    words = ["python", "-m", "training.compare", "--config", _portable(given.config), "--out", _portable(given.out)]
    words += ["--seeds", str(given.seeds)]
    for override in given.overrides:
        key, sign, value = override.partition("=")
        words.append(f"{key}{sign}{_portable(value) if key in PATHS else value}")
    return shlex.join(words)


def _portable(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path


def _public(comparison: Comparison) -> dict[str, Any]:
    """The settings that all methods share, as plain data without this machine's folders."""
    shared = {f.name: getattr(comparison, f.name) for f in dataclasses.fields(Settings) if f.name != "preset"}
    plain: Any = OmegaConf.to_container(OmegaConf.create(shared))
    for key in PATHS:
        group, _, name = key.rpartition(".")
        where = plain[group] if group else plain
        if where[name]:
            where[name] = _portable(where[name])
    return plain


def _write_json(file: Path, value: Any) -> None:
    """Whole or not at all; what is no number becomes null."""
    write_whole(file, json.dumps(_finite(value), indent=1, ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(table: Sequence[Sequence[str]]) -> None:
    shown = Table()
    for heading in table[0]:
        shown.add_column(heading, overflow="fold")  # a narrow terminal loses no digit
    for line in table[1:]:
        shown.add_row(*line)
    # Into a file or a pipe every line is written out.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(shown)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: what is done stays
    raise SystemExit(main())
