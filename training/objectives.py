"""From settings to what a run minimises."""

from __future__ import annotations

from collections.abc import Sequence

from densemtl_core.errors import InputError
from densemtl_core.learning.objective import JointObjective, Objective
from densemtl_core.learning.self_supervised import SelfSupervisedDepth
from densemtl_core.learning.supervised import SupervisedObjective
from densemtl_core.learning.task_weights import FixedWeights, TaskWeights, UncertaintyWeights
from densemtl_core.models.pose import PoseNetwork
from densemtl_core.tasks import DepthTask, Task
from training.settings import Settings
from training.starting_weights import load_pretrained

__all__ = ["make_objective", "make_pose"]

WEIGHTINGS = ("fixed", "uncertainty")
FROM_LABELS = "labels"


def make_objective(settings: Settings, tasks: Sequence[Task], fresh: bool = True) -> Objective:
    """The supervised objective of every task that learns from labels, beside the self-supervised one, if any.

    Args:
        settings: of the run.
        tasks: the network's.
        fresh: load pretrained weights where the settings name some; a run that is resumed has its own.

    Raises:
        InputError: settings that contradict each other.
    """
    if settings.weighting not in WEIGHTINGS:
        raise InputError(f"weighting is {settings.weighting!r}; it must be one of {', '.join(WEIGHTINGS)}")
    how = settings.self_supervised
    if how is None:
        return _supervised(settings, tasks)
    learner = next((task for task in tasks if task.name == how.task), None)
    if not isinstance(learner, DepthTask):
        depths = ", ".join(task.name for task in tasks if isinstance(task, DepthTask)) or "none"
        raise InputError(
            f"self_supervised.task is {how.task!r}, which is no depth task of this run; there are: {depths}"
        )
    if not settings.data.frames:
        raise InputError("self_supervised needs neighbouring frames: set data.frames to [-1, 1]")
    pose = make_pose(how.pose, how.pose_weights, fresh)
    video = SelfSupervisedDepth(
        learner,
        pose,
        settings.data.frames,
        weight=how.weight,
        smoothness=how.smoothness,
        automask=how.automask,
        automask_from=how.automask_from,
    )
    labelled = [task for task in tasks if task is not learner]
    if not labelled:
        return video
    return JointObjective({"supervised": _supervised(settings, labelled), "self_supervised": video})


def make_pose(backbone: str, weights: str | None, fresh: bool = True) -> PoseNetwork | None:
    """The network that tells the camera's motion; None where labels do.

    Args:
        backbone: timm's name, or ``labels``.
        weights: pretrained ones, loaded if the run is fresh.
        fresh: see `make_objective`.
    """
    if backbone == FROM_LABELS:
        return None
    pose = PoseNetwork(backbone)
    if weights and fresh:
        load_pretrained(pose, backbone, weights, "pose")
    return pose


def _supervised(settings: Settings, tasks: Sequence[Task]) -> Objective:
    if settings.weighting == "uncertainty" and settings.weights:
        raise InputError("weighting=uncertainty learns the weights: leave weights out, or set weighting=fixed")
    weights: TaskWeights = (
        UncertaintyWeights(tasks) if settings.weighting == "uncertainty" else FixedWeights(tasks, settings.weights)
    )
    return SupervisedObjective(tasks, weights)
