"""What exchanges cost: the exchange alone, in the frame of `densemtl_edge_s`, for four tasks and for two to eight.

    OMP_WAIT_POLICY=PASSIVE python docs/benchmarks/exchange.py                 # writes docs/benchmarks/exchange.json
    python docs/benchmarks/exchange.py --presets densemtl_edge_s,xtam_edge_s --out two.json
    python docs/benchmarks/exchange.py --plot runs/exchange/compare.json       # writes docs/images/exchange.png

GFLOP (multiply and add counted apart) are of 512x1024 and exact: they come from shapes alone. Milliseconds and memory
are of 256x512; every exchange of a table is timed in turns in one process, and only ratios within a table mean
something. A growth exponent is the slope of log cost over log T, T = 2..8, by least squares: 1 linear, 2 quadratic.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import torch
from measuring import extra_peak, in_turns
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from densemtl_core.models import PRESETS, build_model
from densemtl_core.tasks import DepthTask
from deploy.comparison import spread
from deploy.presets_pareto import beaten_by
from deploy.presets_plot import Panel, Point, draw

COUNTED, TIMED = (512, 1024), (256, 512)
MANY = tuple(range(2, 9))
PUBLISHED = "densemtl_r101"


def shapes(preset: str, tasks: int, size: tuple[int, int]) -> tuple[list[tuple[int, ...]], float]:
    """The shapes of the features that a preset exchanges, and its exchange's GFLOP a frame; computes nothing."""
    seen: list[tuple[int, ...]] = []
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = build_model(preset, [DepthTask(name=f"task{i}") for i in range(tasks)]).eval()
        assert model.exchange is not None  # noqa: S101
        model.exchange.register_forward_pre_hook(
            lambda _, given: seen.extend(tuple(x.shape) for x in given[0].values())
        )
        model(torch.empty(1, 3, *size))
    flop = sum(counter.get_flop_counts()["DenseMTL.exchange"].values())
    return seen, flop / 1e9


def ready(preset: str, tasks: int) -> tuple[Callable[[], object], float]:
    """A call of the exchange with random weights and features at `TIMED`, and its parameters in millions."""
    seen, _ = shapes(preset, tasks, TIMED)
    make = PRESETS[preset].make_exchange
    assert make is not None  # noqa: S101
    exchange = make([f"task{i}" for i in range(tasks)], seen[0][1]).eval()
    features: dict[str, Tensor] = {f"task{i}": torch.randn(shape) for i, shape in enumerate(seen)}
    return lambda: exchange(features), sum(p.numel() for p in exchange.parameters()) / 1e6


def milliseconds(calls: Sequence[Callable[[], object]], repeats: int) -> list[dict[str, float]]:
    """Of each call, taken in turns after one that does not count."""
    for call in calls:
        call()
    times = in_turns({str(k): call for k, call in enumerate(calls)}, repeats)
    return [spread([1e3 * second for second in times[str(k)]]) for k in range(len(calls))]


def exponent(tasks: Sequence[int], costs: Sequence[float]) -> float:
    """Slope of log cost over log T, by least squares."""
    x, y = [math.log(t) for t in tasks], [math.log(c) for c in costs]
    mx, my = statistics.mean(x), statistics.mean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def memory(preset: str, tasks: int) -> float:
    """MiB that the first call takes at its peak, in a process of its own: memory that was used before hides what is."""
    command = [sys.executable, __file__, "--memory", f"{preset},{tasks}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603


def table(wanted: Sequence[tuple[str, int]], repeats: int) -> list[dict[str, object]]:
    """A row for each preset and number of tasks; all of them timed in turns."""
    calls, rows = [], []
    for preset, tasks in wanted:
        call, parameters = ready(preset, tasks)
        calls.append(call)
        rows.append(
            {
                "preset": preset,
                "tasks": tasks,
                "gflop": round(shapes(preset, tasks, COUNTED)[1], 3),
                "parameters_M": round(parameters, 3),
                "extra_peak_MiB": memory(preset, tasks),
            }
        )
    return [{**row, "ms": ms} for row, ms in zip(rows, milliseconds(calls, repeats), strict=True)]


def plot(compared: Path, costs: Path, picture: Path) -> None:
    """Gain over no exchange against GFLOP of the exchange; and GFLOP over the number of tasks.

    Args:
        compared: ``compare.json`` of ``training.compare``, its baseline without exchange.
        costs: what this script wrote.
        picture: file to write.
    """
    measured = json.loads(costs.read_text())
    gflop = {entry["preset"]: entry["gflop"] for entry in measured["four_tasks"]}
    rows = [r for r in json.loads(compared.read_text())["rows"] if r["preset"] in gflop and r["seeds"]]
    gains = {r["method"]: (gflop[r["preset"]], r["paired_delta"]["mean"]) for r in rows}
    front = beaten_by(gains)
    points = [
        Point(
            r["method"],
            *gains[r["method"]],
            spread=r["paired_delta"]["std"] or 0.0,
            family=int(r["preset"] not in PRESETS),
            front=front[r["method"]] is None,
        )
        for r in rows
    ]
    growth = [
        Point(f"{name.removesuffix('_edge_s')}, {entry['tasks']}", entry["tasks"], entry["gflop"], family=family)
        for family, name in enumerate(("pool_edge_s", "xtam_edge_s"))
        for entry in measured["many_tasks"][name]["rows"]
    ]
    panels = [
        Panel("Gain and cost, four tasks", "GFLOP of the exchange, 512x1024", "Delta to no exchange, %", points),
        Panel("Cost of more tasks", "tasks", "GFLOP of the exchange, 512x1024", growth, log_y=True),
    ]
    captions = [
        "left: discs stayed, squares were given up; bar: spread over seeds; right: discs the pool, squares xTAM"
    ]
    cv2.imwrite(str(picture), draw(panels, captions)[..., ::-1])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [name for name in PRESETS if name.endswith("_edge_s") and PRESETS[name].make_exchange]
    parser.add_argument("--presets", default=",".join(default), help="default: all of the edge frame with an exchange")
    parser.add_argument(
        "--many",
        default="xtam_edge_s,densemtl_edge_s,pool_edge_s",
        help="for two to eight tasks (default: %(default)s)",
    )
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("exchange.json"))
    parser.add_argument("--memory", metavar="PRESET,T", help="print the peak of one call alone, in MiB")
    parser.add_argument("--plot", type=Path, metavar="compare.json", help="measure nothing, draw what was measured")
    given = parser.parse_args()
    if given.plot:
        picture = Path(__file__).parents[1] / "images/exchange.png"
        plot(given.plot, given.out, picture)
        print(picture)
        return
    torch.set_num_threads(given.threads)
    if given.memory:
        preset, tasks = given.memory.split(",")
        with torch.inference_mode():
            call, _ = ready(preset, int(tasks))
            print(round(extra_peak(call), 1))
        return
    presets = given.presets.split(",")
    with torch.inference_mode():
        four = table([(preset, 4) for preset in presets], given.repeats)
        many = {}
        for preset in given.many.split(","):
            rows = table([(preset, tasks) for tasks in MANY], given.repeats)
            many[preset] = {
                "rows": rows,
                "exponent_gflop": round(exponent(MANY, [r["gflop"] for r in rows]), 2),  # type: ignore[misc]
                "exponent_ms": round(exponent(MANY, [r["ms"]["p50"] for r in rows]), 2),  # type: ignore[index]
                "gflop_8_over_4": round(rows[6]["gflop"] / rows[2]["gflop"], 2),  # type: ignore[operator]
                "ms_8_over_4": round(rows[6]["ms"]["p50"] / rows[2]["ms"]["p50"], 2),  # type: ignore[index]
            }
    published = {t: round(shapes(PUBLISHED, t, COUNTED)[1], 1) for t in MANY}
    report = {
        "command": f"OMP_WAIT_POLICY=PASSIVE python docs/benchmarks/exchange.py --repeats {given.repeats}",
        "threads": given.threads,
        "torch": torch.__version__,
        "four_tasks": four,
        "many_tasks": many,
        "published_at_half": {
            "preset": PUBLISHED,
            "gflop": published,
            "exponent_gflop": round(exponent(MANY, list(published.values())), 2),
            "gflop_8_over_4": round(published[8] / published[4], 2),
        },
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(given.out)


if __name__ == "__main__":
    main()
