"""From the scores of finished runs to the paper's table: scores a task, Delta, parameters, GFLOP, milliseconds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from densemtl_core.metrics import relative_gain

__all__ = ["Outcome", "Score", "cells", "markdown", "method_row", "set_delta"]

DIVERGED = "diverged"


@dataclass(frozen=True)
class Score:
    """How a task is judged.

    Attributes:
        metric: key of its primary figure.
        higher_is_better: the figure's direction.
    """

    metric: str
    higher_is_better: bool


@dataclass(frozen=True)
class Outcome:
    """What one run came to.

    Attributes:
        tasks: that it learned.
        seed: of the run.
        scores: task name to metric name to value; empty where it diverged.
        diverged: why there are no scores, or an empty text.
    """

    tasks: tuple[str, ...]
    seed: int
    scores: Mapping[str, Mapping[str, float]]
    diverged: str = ""


def method_row(method: str, outcomes: Sequence[Outcome], judges: Mapping[str, Score]) -> dict[str, Any]:
    """One row, without Delta and cost.

    Args:
        method: its name.
        outcomes: of all its finished runs.
        judges: task name to how it is judged; in the table's order.

    Returns:
        ``method``; ``seeds``; ``tasks``: task name to ``metric``, ``higher_is_better``, ``mean``, ``std`` (of the
        sample; null with one seed), ``values`` by seed and ``others``, the metrics beside the primary one in the same
        form; ``diverged``: runs without scores. A figure that is no number counts as diverged.
    """
    seeds = sorted({o.seed for o in outcomes})
    diverged = [{"seed": o.seed, "tasks": list(o.tasks), "why": o.diverged} for o in outcomes if o.diverged]
    tasks: dict[str, Any] = {}
    for task, judge in judges.items():
        found = {o.seed: o.scores[task] for o in outcomes if task in o.scores}
        names = [n for n in dict.fromkeys(n for scores in found.values() for n in scores) if n != judge.metric]
        values = {seed: scores.get(judge.metric, math.nan) for seed, scores in found.items()}
        for seed, value in values.items():
            if not math.isfinite(value):
                diverged.append({"seed": seed, "tasks": [task], "why": f"{judge.metric} is {value}"})
        tasks[task] = {
            "metric": judge.metric,
            "higher_is_better": judge.higher_is_better,
            **_statistics(values),
            "others": {n: _statistics({seed: s.get(n, math.nan) for seed, s in found.items()}) for n in names},
        }
    return {"method": method, "seeds": seeds, "tasks": tasks, "diverged": diverged}


def set_delta(rows: Sequence[dict[str, Any]], baseline: str) -> None:
    """Give every row its ``delta``: ``mean``, ``std`` and ``values`` by seed, in percent.

    Each seed of a method is measured against the baseline's mean over its seeds, so that the mean of the deltas is the
    delta of the means. Beside it, ``paired_delta``: each seed against the baseline of the same seed, which began with
    the same weights and saw the same samples in the same order, so that what a seed does to both is left out, and rows
    of different seeds may be compared. They stay empty where the baseline, or a task, has no score.

    Args:
        rows: of `method_row`; changed.
        baseline: name of the row to measure against.
    """
    reference = next((row["tasks"] for row in rows if row["method"] == baseline), {})
    means = {task: entry["mean"] for task, entry in reference.items()}
    comparable = bool(means) and all(means.values())  # neither missing nor zero
    for row in rows:
        higher = {task: entry["higher_is_better"] for task, entry in row["tasks"].items()}
        deltas, paired = {}, {}
        for seed in row["seeds"] if comparable else ():
            scores = {task: entry["values"].get(str(seed)) for task, entry in row["tasks"].items()}
            if None not in scores.values():
                deltas[seed] = relative_gain(scores, means, higher)
                same = {task: entry["values"].get(str(seed)) for task, entry in reference.items()}
                if all(same.values()):
                    paired[seed] = relative_gain(scores, same, higher)
        row["delta"], row["paired_delta"] = _statistics(deltas), _statistics(paired)


def cells(rows: Sequence[Mapping[str, Any]], judges: Mapping[str, Score]) -> list[list[str]]:
    """The table as text, its heading first."""
    arrows = {True: "↑", False: "↓"}
    heading = ["method", "seeds"]
    heading += [f"{task} {judge.metric} {arrows[judge.higher_is_better]}" for task, judge in judges.items()]
    heading += ["Delta % ↑", "parameters (M)", "GFLOP", "ms"]
    lines = [heading]
    for row in rows:
        scores = [_figure(row["tasks"][task], row["diverged"]) for task in judges]
        time = row["ms"]
        lines.append(
            [
                row["method"],
                str(len(row["seeds"])),
                *scores,
                _figure(row["delta"], row["diverged"], "+.2f"),
                f"{row['parameters']:.2f}",
                f"{row['gflop']:.2f}",
                f"{time['median']:.1f} ({time['low']:.1f} to {time['high']:.1f})" if time else "not measured",
            ]
        )
    return lines


def markdown(report: Mapping[str, Any], table: Sequence[Sequence[str]]) -> str:
    """``table.md``: what was done, and the table.

    Args:
        report: of ``compare.json``.
        table: of `cells`.
    """
    on, settings = report["judged_on"], report["settings"]
    size = "x".join(str(side) for side in on["size"])
    seeds = ", ".join(str(s) for s in report["seeds"])
    options = "".join(f", {k} {v}" for k, v in on["options"].items())
    lines = [
        f"Data: {on['dataset']}{options}, {size}; trained on {on['training_samples']} samples of train, judged on "
        f"{on['validation_samples']} of val; classes {on['classes']}.",
        f"Training: {settings['run']['steps']} steps of batch {settings['run']['batch']}, the same for every network; "
        f"encoder from {settings['encoder_weights'] or 'random weights'}; seeds {seeds}.",
        f"Figures are mean ± standard deviation over seeds; Delta is against {report['baseline']}.",
        "Parameters, GFLOP (multiply and add apart) and ms are of all networks that a method needs for one frame; "
        "ms is median (quartiles) of interleaved rounds, batch 1, one CPU thread.",
        "",
        "| " + " | ".join(table[0]) + " |",
        "|" + "|".join(["---", *["---:"] * (len(table[0]) - 1)]) + "|",
        *("| " + " | ".join(line) + " |" for line in table[1:]),
        "",
        f"Made by `{report['command']}`.",
    ]
    for row in report["rows"]:
        lines += [
            f"- {row['method']}, seed {d['seed']}, {'+'.join(d['tasks'])}: diverged ({d['why']})."
            for d in row["diverged"]
        ]
    lines += [f"- Not finished yet: {name}." for name in report["unfinished"]]
    return "\n".join(lines) + "\n"


def _figure(entry: Mapping[str, Any], diverged: Sequence[Any], form: str = ".4g") -> str:
    if entry["mean"] is None:
        return DIVERGED if diverged else "-"
    spread = "" if entry["std"] is None else f" ± {entry['std']:{form.lstrip('+').replace('4', '2')}}"
    lost = sum(value is None for value in entry["values"].values())
    mean = round(entry["mean"], 9) + 0.0  # never "-0.00"
    return f"{mean:{form}}{spread}" + (f" ({lost} {DIVERGED})" if lost else "")


def _statistics(values: Mapping[int, float]) -> dict[str, Any]:
    """Mean and spread of what is a number; null where nothing is."""
    numbers = [v for v in values.values() if math.isfinite(v)]
    return {
        "mean": statistics.fmean(numbers) if numbers else None,
        "std": statistics.stdev(numbers) if len(numbers) > 1 else None,
        "values": {str(seed): v if math.isfinite(v) else None for seed, v in sorted(values.items())},
    }
