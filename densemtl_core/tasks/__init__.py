"""The spine: one object a task, which answers every question the rest of the package asks about it.

A new task is a frozen dataclass that derives from `Task` and is registered; nothing else changes:

    @register
    @dataclass(frozen=True)
    class HazeTask(Task):
        kind: ClassVar[str] = "haze"
        ...
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

from densemtl_core.errors import InputError, did_you_mean
from densemtl_core.tasks.albedo import AlbedoTask
from densemtl_core.tasks.base import Output, Task, masked_mean, self_information
from densemtl_core.tasks.boundary_distance import BoundaryDistanceTask
from densemtl_core.tasks.depth import DepthTask
from densemtl_core.tasks.edges import EdgesTask
from densemtl_core.tasks.instance_center import InstanceCenterTask
from densemtl_core.tasks.normals import NormalsTask
from densemtl_core.tasks.planes import PLANES, PlanesTask
from densemtl_core.tasks.semantic import SemanticTask
from densemtl_core.tasks.shading import ShadingTask

__all__ = [
    "PLANES",
    "AlbedoTask",
    "BoundaryDistanceTask",
    "DepthTask",
    "EdgesTask",
    "InstanceCenterTask",
    "NormalsTask",
    "Output",
    "PlanesTask",
    "SemanticTask",
    "ShadingTask",
    "Task",
    "decode",
    "from_config",
    "make_tasks",
    "masked_mean",
    "register",
    "registered",
    "self_information",
]

AnyTask = TypeVar("AnyTask", bound=type[Task])

_KINDS: dict[str, type[Task]] = {}


def register(task: AnyTask) -> AnyTask:
    """Class decorator that makes a task known by its ``kind``; a module that is loaded again may define it again."""
    known = _KINDS.setdefault(task.kind, task)
    if (known.__module__, known.__qualname__) != (task.__module__, task.__qualname__):
        raise ValueError(f"task kind {task.kind!r} is already {known.__module__}.{known.__qualname__}")
    _KINDS[task.kind] = task
    return task


for _task in (
    SemanticTask,
    DepthTask,
    NormalsTask,
    EdgesTask,
    AlbedoTask,
    ShadingTask,
    BoundaryDistanceTask,
    InstanceCenterTask,
    PlanesTask,
):
    register(_task)


def registered() -> tuple[str, ...]:
    """The kinds that can be named in a configuration or a bundle."""
    return tuple(_KINDS)


def from_config(config: Mapping[str, Any]) -> Task:
    """Make a task from plain data (`Task.config`).

    Raises:
        InputError: unknown kind or field, or a value that the task refuses.
    """
    options = dict(config)
    kind = options.pop("kind", None)
    if kind is None:
        raise InputError(f"task {dict(config)} has no kind; give kind: one of {', '.join(registered())}")
    if kind not in _KINDS:
        hint = did_you_mean(str(kind), registered())
        raise InputError(f"unknown task kind {kind!r}; {hint}registered: {', '.join(registered())}")
    known = [field.name for field in dataclasses.fields(_KINDS[kind])]
    for name in options:
        if name not in known:
            raise InputError(
                f"task {kind!r} has no field {name!r}; {did_you_mean(name, known)}it has {', '.join(known)}"
            )
    try:
        return _KINDS[kind](**options)
    except (TypeError, ValueError) as error:
        text = str(error)
        raise InputError(text if text.startswith("task ") else f"task {kind!r}: {text}") from error


def make_tasks(
    tasks: Iterable[str | Mapping[str, Any] | Task],
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> tuple[Task, ...]:
    """Make task objects from what a caller conveniently has.

    Args:
        tasks: kinds with their default options, plain-data configurations, or ready tasks, in any mixture.
        num_classes: number of classes of a semantic task named only by its kind.
        class_names: its class names, instead of ``num_classes``.
        palette: its colours.

    Raises:
        InputError: an unknown kind, a repeated name, no task at all, or a semantic task without classes.
    """
    if isinstance(tasks, str):
        raise InputError(f"tasks is the text {tasks!r}; give a list of names: [{tasks!r}]")
    made = []
    for task in tasks:
        if isinstance(task, Task):
            made.append(task)
            continue
        config: dict[str, Any] = dict(task) if isinstance(task, Mapping) else {"kind": task}
        if config.get("kind") == "semantic" and "class_names" not in config:
            if class_names is None and num_classes is None:
                raise InputError("task 'semantic' needs its classes: give num_classes or class_names")
            if class_names is not None and num_classes not in (None, len(class_names)):
                raise InputError(f"num_classes is {num_classes} but class_names has {len(class_names)} names")
            config["class_names"] = class_names or [f"class {i}" for i in range(num_classes or 0)]
            config["palette"] = palette or ()
        made.append(from_config(config))
    names = [t.name for t in made]
    if not names:
        raise InputError("no tasks given; name at least one of: " + ", ".join(registered()))
    if len(set(names)) != len(names):
        raise InputError(f"task names must differ, got {', '.join(names)}")
    return tuple(made)


def decode(tasks: Iterable[Task], raw: Mapping[str, Tensor], intrinsics: Tensor | None = None) -> dict[str, Tensor]:
    """Decode the raw outputs of one frame or batch, all of one size, and let tasks refine one another.

    Args:
        tasks: the tasks to decode; each must have its raw output.
        raw: task name to ``(B, channels, H, W)``.
        intrinsics: ``(B, 3, 3)`` in pixels of the image as the network saw it; None = unknown (`Task.for_camera`).

    Returns:
        Output name to decoded tensor (see `Task.decode`).
    """
    tasks = tuple(tasks)
    decoded: dict[str, Tensor] = {}
    for task in tasks:
        own = task.decode(raw[task.name])
        task.for_camera(own, intrinsics)
        decoded.update(own)
    for task in tasks:
        task.refine(decoded)
    return decoded
