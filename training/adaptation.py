"""From settings to what a run learns from its target domain."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from torch.utils.data import Dataset

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.adaptation import Adaptation, AdaptationTerm, TargetObjective
from densemtl_core.learning.adversarial import AdversarialAlignment
from densemtl_core.learning.cross_task_consistency import EdgeAgreement, NormalAgreement
from densemtl_core.learning.self_supervised import SelfSupervisedDepth
from densemtl_core.learning.self_training import SelfTraining
from densemtl_core.runtime.backends.base import working_size
from densemtl_core.tasks import DepthTask, EdgesTask, NormalsTask, SemanticTask, Task
from training.adaptation_settings import AdaptationSettings
from training.data_settings import DataSettings
from training.datasets import make_dataset
from training.objectives import make_pose
from training.settings import Settings

__all__ = ["make_adaptation", "open_target", "target_frames", "with_target_aspect"]

AnyTask = TypeVar("AnyTask", bound=Task)


def make_adaptation(settings: Settings, tasks: Sequence[Task], fresh: bool = True) -> Adaptation | None:
    """What a run learns from frames without labels; None where the settings have no adaptation.

    Args:
        settings: of the run.
        tasks: the network's.
        fresh: load pretrained weights where the settings name some; a run that is resumed has its own.

    Raises:
        InputError: settings that contradict each other.
    """
    how = settings.adaptation
    if how is None:
        return None
    terms = dict(_terms(settings, how, tasks, fresh))
    if not terms and how.restyle is None:
        raise InputError(
            "adaptation learns nothing: give at least one of adaptation.restyle, adversarial, self_training, agreement "
            "and photometric, e.g. adaptation.self_training={}"
        )
    return Adaptation(terms, how.restyle)


def target_frames(settings: Settings) -> DataSettings:
    """How the target's frames are prepared: to the size of the source's, unless they have one of their own."""
    how = settings.adaptation
    assert how is not None  # noqa: S101  (narrows the type)
    return replace(how.target, size=how.target.size or settings.data.crop or settings.data.size)


def open_target(frames: DataSettings, classes: str) -> Dataset[Sample]:
    """The target's training frames, without labels; what is refused is told by its key among the settings."""
    try:
        return make_dataset(frames, [], classes, "train")
    except InputError as error:
        raise InputError(re.sub(r"^data\.", "adaptation.target.", str(error))) from None


def with_target_aspect(settings: Settings) -> Settings:
    """The sizes that ``adaptation.keep_aspect`` asks for, of the target's first frame; other settings as they are.

    Raises:
        InputError: no such frame (see `training.datasets.make_dataset`), or nothing to take the number of pixels from.
    """
    how = settings.adaptation
    if how is None or not how.keep_aspect:
        return settings
    if settings.data.size is None or settings.data.crop or how.target.crop:
        raise InputError("adaptation.keep_aspect needs data.size, and no crop: whole frames keep their aspect")
    if min(settings.data.size) < 32:
        raise InputError(f"data.size is {list(settings.data.size)}; it must be [height, width], at least 32 each")
    frames = open_target(replace(how.target, size=None, frames=[], cache=None), settings.class_list)
    height, width = frames[0].image.shape[-2:]
    size = list(working_size((height, width), (settings.data.size[0], settings.data.size[1]), "aspect"))
    target = replace(how, keep_aspect=False, target=replace(how.target, size=size))
    return replace(settings, data=replace(settings.data, size=size), adaptation=target)


def _terms(
    settings: Settings, how: AdaptationSettings, tasks: Sequence[Task], fresh: bool
) -> Iterator[tuple[str, AdaptationTerm]]:
    if (adversarial := how.adversarial) is not None:
        yield (
            "adversarial",
            AdversarialAlignment(
                tasks,
                weight=adversarial.weight,
                width=adversarial.width,
                downscale=adversarial.downscale,
                lr=adversarial.lr,
                heads=adversarial.heads,
            ),
        )
    if (training := how.self_training) is not None:
        if not settings.run.average:
            raise InputError("adaptation.self_training needs a teacher, the average of the weights: run.average=0.99")
        yield (
            "self_training",
            SelfTraining(
                tasks,
                settings.weights,
                weight=training.weight,
                threshold=training.threshold,
                mix=training.mix,
                mirror=training.mirror,
                colour=training.colour,
            ),
        )
    semantic, depth, normals, edges = (_first(tasks, k) for k in (SemanticTask, DepthTask, NormalsTask, EdgesTask))
    if (agreement := how.agreement) is not None:
        if agreement.normals:
            if depth is None or normals is None:
                raise InputError("adaptation.agreement.normals needs tasks depth and normals; set it to 0")
            yield "normals", NormalAgreement(depth, normals, agreement.normals, agreement.field_of_view)
        if agreement.edges:
            if edges is None:
                raise InputError("adaptation.agreement.edges needs a task of edges; set it to 0")
            yield "edges", EdgeAgreement(edges, semantic, depth, agreement.edges)
    if (video := how.photometric) is not None:
        if depth is None:
            raise InputError("adaptation.photometric needs a depth task; leave it out")
        if not how.target.frames:
            raise InputError("adaptation.photometric needs neighbouring frames: adaptation.target.frames=[-1,1]")
        pose = make_pose(video.pose, video.pose_weights, fresh)
        yield (
            "photometric",
            TargetObjective(
                SelfSupervisedDepth(depth, pose, how.target.frames, weight=video.weight, smoothness=video.smoothness)
            ),
        )


def _first(tasks: Sequence[Task], kind: type[AnyTask]) -> AnyTask | None:
    return next((task for task in tasks if isinstance(task, kind)), None)
