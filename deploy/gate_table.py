"""What the accuracy gate found, for a person: units, verdicts, and whether the network itself is any good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from densemtl_core.runtime import Manifest
from densemtl_core.tasks import Task
from deploy.accuracy import Drop

__all__ = ["beside_shipped", "gate_table"]

UNITS: Mapping[str, tuple[str, float]] = {
    "mIoU": ("%", 100.0),
    "macroF1": ("%", 100.0),
    "RMSE": ("metres", 1.0),
    "mErr": ("degrees", 1.0),
    "centerF1": ("%", 100.0),
}
"""Judging metric to its unit here, and what a score is multiplied by; others are told as they are, with more digits."""

NOTICED = 0.05
"""What a figure must be worse by, as a share of that of the network that ships, to be told."""


def gate_table(drops: Sequence[Drop], engine: str) -> str:
    """A line a task, and the verdict of all.

    Args:
        drops: of `deploy.accuracy.drops`; at least one.
        engine: backend and precision.
    """
    width = 2 + max(len(engine), len("eager fp32"))
    named = max(12, 2 + max(len(drop.task) for drop in drops))
    lines = [
        f"{'task':<{named}}{'metric':<18}{'eager fp32':>{width}}{engine:>{width}}{'lost':>8}{'allowed':>9}  verdict",
    ]
    for drop in drops:
        unit, factor = UNITS.get(drop.metric, ("", 1.0))
        metric = f"{drop.metric} {unit}".strip()
        if math.isnan(drop.before):
            lines.append(f"{drop.task:<{named}}{metric:<18} not judged: the street world has no labels for it")
            continue
        digits = 2 if unit else 4
        scores = "".join(f"{value * factor:>{width}.{digits}f}" for value in (drop.before, drop.after))
        verdict = "passed" if drop.passes else "FAILED: too much is lost"
        lost, allowed = f"{drop.lost * factor:>8.{digits}f}", f"{drop.allowed * factor:>9.{digits}f}"
        lines.append(f"{drop.task:<{named}}{metric:<18}{scores}{lost}{allowed}  {verdict}")
    judged = [drop for drop in drops if not math.isnan(drop.before)]
    failed = [drop.task for drop in judged if not drop.passes]
    if failed:
        lines.append(f"gate      FAILED by {', '.join(failed)}")
    elif judged:
        lines.append(
            "gate      passed: the engine loses no more than is allowed. How good the network is, it does not say"
        )
    return "\n".join(lines)


def beside_shipped(
    tasks: Sequence[Task], before: Mapping[str, Mapping[str, float]], dataset: str, shipped: Manifest
) -> str:
    """Where a network is worse than the one that ships, judged on the very same frames; one line.

    Args:
        tasks: the network's.
        before: task name to its scores at fp32.
        dataset: the frames' name (`deploy.accuracy.street_frames`).
        shipped: manifest of the bundle that ships, with its own scores.

    Returns:
        Empty where nothing can be compared: other frames, other classes, or no scores.
    """
    if shipped.accuracy.get("dataset") != dataset:
        return ""
    compared, worse = [], []
    for task in tasks:
        metric = task.metric()
        theirs = _score(shipped.accuracy.get("scores", {}), task.name, metric.primary)
        mine = _score(before, task.name, metric.primary)
        same = task.name in shipped.tasks and shipped.tasks[task.name].class_names == tuple(
            getattr(task, "class_names", ())
        )
        if not same or math.isnan(mine) or math.isnan(theirs):
            continue
        compared.append(task.name)
        loss = theirs - mine if metric.higher_is_better else mine - theirs
        if loss > NOTICED * abs(theirs):
            unit, factor = UNITS.get(metric.primary, ("", 1.0))
            figures = f"{metric.primary} {mine * factor:.1f} {unit}".strip()
            worse.append(f"{task.name} {figures}, the shipped one's {theirs * factor:.1f}")
    if not compared:
        return ""
    if not worse:
        return f"beside    the network that ships, on the same frames: none of {', '.join(compared)} is much worse"
    return f"beside    the network that ships, on the same frames, yours is WORSE: {'; '.join(worse)}"


def _score(scores: Mapping[str, Any], task: str, metric: str) -> float:
    value = scores.get(task, {}).get(metric)
    return float(value) if isinstance(value, int | float) else math.nan
