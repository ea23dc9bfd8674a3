"""What a faster engine costs in accuracy, and how much of that is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densemtl_core.data.cityscapes import TRAIN_IDS
from densemtl_core.data.class_lists import CITYSCAPES_19, CLASS_LISTS
from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.street.world import FURTHER
from densemtl_core.runtime import Predictor
from densemtl_core.tasks import SemanticTask, Task

__all__ = ["GATES", "Drop", "drops", "labelled_street", "scores", "street_frames"]

GATES: Mapping[str, tuple[str, float]] = {
    "mIoU": ("points", 0.015),
    "macroF1": ("points", 0.015),
    "RMSE": ("relative", 0.03),
    "mErr": ("points", 0.7),
    "centerF1": ("points", 0.015),
}
"""Judging metric to what a task may lose: so much of the figure itself, or so much of it relatively."""

OTHER_GATE = ("relative", 0.03)
"""For every other metric."""

SEED = 7


def street_frames(size: tuple[int, int], count: int) -> str:
    """What `labelled_street` is called where scores are told: equal names are equal frames."""
    return f"procedural street world, real style, {count} frames of {size[0]}x{size[1]}"


@dataclass(frozen=True)
class Drop:
    """What one task loses.

    Attributes:
        task: its name.
        metric: that judges it.
        before: at fp32.
        after: in the engine.
        allowed: by the gate, in the metric's own unit.
        lost: in the metric's own unit; negative where it gained.
    """

    task: str
    metric: str
    before: float
    after: float
    allowed: float
    lost: float

    @property
    def passes(self) -> bool:
        """Whether the gate lets it through; a score that is not a number does not pass."""
        return self.lost <= self.allowed


def labelled_street(size: tuple[int, int], count: int, tasks: Sequence[Task] = ()) -> list[Sample]:
    """Labelled frames that nobody trained on, of the procedural street world's realistic style.

    Args:
        size: ``(H, W)``.
        count: how many.
        tasks: the network's. Class labels are told in its own list; where the street world does not know that list
            they are left out, and the task is not judged.
    """
    further = [task.name for task in tasks if task.name in FURTHER]
    world = StreetWorld(seed=SEED, split="val", size=size, style="real", length=count, further=further)
    return [_in_the_lists_of(tasks, world[k]) for k in range(count)]


def _in_the_lists_of(tasks: Sequence[Task], sample: Sample) -> Sample:
    labels = dict(sample.labels)
    for task in tasks:
        if not isinstance(task, SemanticTask) or task.name not in labels or task.class_names == CITYSCAPES_19.classes:
            continue
        native = labels.pop(task.name)
        for known in TRAIN_IDS.lists:
            if CLASS_LISTS[known].classes == task.class_names:
                labels[task.name] = TRAIN_IDS.to(known, strict=False)(native.numpy(), sample.name)
    return replace(sample, labels=labels)


def scores(
    bundle: Path,
    backend: str,
    tasks: Sequence[Task],
    samples: Sequence[Sample],
    done: Callable[[int], None] = lambda count: None,
) -> dict[str, dict[str, float]]:
    """Judge a bundle as a robot runs it: bytes in, decoded predictions out.

    Args:
        bundle: its folder.
        backend: to load it into.
        tasks: the bundle's, which know their metrics.
        samples: labelled, without a batch dimension.
        done: is told how many are judged, after each.

    Returns:
        Task name to its scores.
    """
    metrics = {task.name: task.metric().quick() for task in tasks}
    predictor = Predictor(bundle, backend=backend)
    try:
        for count, sample in enumerate(samples, 1):
            rgb = (sample.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            K = None if sample.intrinsics is None else sample.intrinsics.numpy()
            found = predictor.predict(rgb, intrinsics=K)
            decoded = {name: _batched(value) for name, value in found.items()}
            for task in tasks:
                if task.name in sample.labels:
                    task.score(metrics[task.name], decoded, sample.labels[task.name][None])
            done(count)
    finally:
        predictor.close()
    return {name: metric.compute() for name, metric in metrics.items()}


def drops(
    tasks: Sequence[Task], before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> list[Drop]:
    """Compare two sets of `scores` task by task."""
    found = []
    for task in tasks:
        metric = task.metric()
        key = metric.primary
        was, now = before[task.name][key], after[task.name][key]
        kind, gate = GATES.get(key, OTHER_GATE)
        allowed = gate if kind == "points" or math.isnan(was) else gate * abs(was)
        lost = was - now if metric.higher_is_better else now - was
        # a figure that was never there cannot be lost; one that is gone is
        if math.isnan(was):
            lost = 0.0
        found.append(Drop(task.name, key, was, now, allowed, math.inf if math.isnan(lost) else lost))
    return found


def _batched(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))[None]
    return tensor if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
