"""Whether a manifest and the network that it is of say the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from densemtl_core.runtime.manifest import BundleError, Manifest, OutputInfo, TaskInfo

__all__ = ["BUILT_IN", "check_network"]

BUILT_IN: Mapping[str, tuple[str, tuple[OutputInfo, ...]]] = {
    "semantic": (
        "classes",
        (
            OutputInfo("", 1, "uint8", "class id"),
            OutputInfo("_confidence", 1, "float32", "probability", "linear"),
        ),
    ),
    "depth": ("depth", (OutputInfo("", 1, "float32", "metres along the optical axis"),)),
    "normals": ("normals", (OutputInfo("", 3, "float32", "unit vector, optical frame, facing the camera"),)),
    "edges": ("probability", (OutputInfo("", 1, "float32", "probability", "linear"),)),
    "albedo": ("linear_rgb", (OutputInfo("", 3, "float32", "linear RGB reflectance", "linear"),)),
    "shading": ("scalar", (OutputInfo("", 1, "float32", "stops beside open level ground", "linear"),)),
    "boundary_distance": ("scalar", (OutputInfo("", 1, "float32", "image diagonals", "linear"),)),
    "instance_center": ("probability", (OutputInfo("", 1, "float32", "height of a centre's Gaussian", "linear"),)),
    "planes": (
        "classes",
        (
            OutputInfo("", 1, "uint8", "class id"),
            OutputInfo("_confidence", 1, "float32", "probability", "linear"),
        ),
    ),
}
"""Kind to its picture and its outputs, named after the task's name: what the task's class says, for a robot without
PyTorch."""

UP_TO_SCALE = "unknown unit along the optical axis"
"""Unit of depth that was learned without a scale."""


def check_network(origin: str, manifest: Manifest, description: bytes) -> None:
    """Refuse a manifest that says otherwise than ``model.json``.

    Args:
        origin: the bundle's path, for messages.
        manifest: what the robot goes by.
        description: the bytes of ``model.json``: what the network was built by.

    Raises:
        BundleError: they differ, or ``model.json`` is damaged.
    """
    try:
        model = json.loads(description)
        described: dict[str, Mapping[str, Any]] = {task["name"]: task for task in model["tasks"]}
        said = {"preset": model["preset"], "input_size": tuple(model["input_size"])}
        kinds = {name: task["kind"] for name, task in described.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{origin}: model.json is damaged ({error!r}); rebuild the bundle") from None
    for name, value in said.items():
        _same(origin, name, getattr(manifest, name), value)
    if set(described) != set(manifest.tasks):
        raise BundleError(f"{origin}: manifest.json and model.json name different tasks; rebuild the bundle")
    for name, task in manifest.tasks.items():
        _same(origin, "kind", task.kind, kinds[name], name)
        _check_task(origin, task, described[name])


def _check_task(origin: str, task: TaskInfo, described: Mapping[str, Any]) -> None:
    """Of the built-in kinds everything that their configuration implies; of others what can be known."""
    classes = tuple(described.get("class_names", ()))
    if task.class_names != classes:
        raise BundleError(
            f"{origin}: manifest.json names {len(task.class_names)} classes for task {task.name!r}, model.json "
            f"{len(classes)} (or in another order); rebuild the bundle"
        )
    if "palette" in described:
        palette = tuple(tuple(colour) for colour in described["palette"])
        for where, colours in (("palette", task.palette), ("picture_options.palette", _painted_with(task))):
            if colours != palette:
                raise BundleError(
                    f"{origin}: manifest.json says other colours for task {task.name!r} ({where}) than model.json; "
                    "rebuild the bundle"
                )
    if task.kind == "depth":
        rule = {"focal": described.get("canonical_focal", 0.0), "limit": described.get("max_depth")}
        known = rule["focal"] and not described.get("up_to_scale")
        _same(origin, "camera", dict(task.camera), rule if known else {}, task.name)
    elif task.kind in BUILT_IN:
        _same(origin, "camera", dict(task.camera), {}, task.name)
    if task.kind in BUILT_IN:
        picture, outputs = BUILT_IN[task.kind]
        _same(origin, "picture", task.picture, picture, task.name)
        named = tuple(replace(output, name=task.name + output.name) for output in outputs)
        if described.get("up_to_scale"):
            named = (replace(named[0], unit=UP_TO_SCALE),)
        _same_outputs(origin, task, named)
    if task.kind == "normals":
        _same(origin, "needs", task.needs, (described.get("surface", "depth"),), task.name)
    elif task.kind in BUILT_IN:
        _same(origin, "needs", task.needs, (), task.name)


def _same_outputs(origin: str, task: TaskInfo, described: tuple[OutputInfo, ...]) -> None:
    _same(origin, "outputs", [o.name for o in task.outputs], [o.name for o in described], task.name)
    for said, wanted in zip(task.outputs, described, strict=True):
        for what in ("channels", "dtype", "unit", "resample"):
            _same(origin, f"{said.name}.{what}", getattr(said, what), getattr(wanted, what), task.name)


def _painted_with(task: TaskInfo) -> object:
    """The palette of the picture, or the task's own where the picture has none."""
    return task.picture_options.get("palette", task.palette)


def _same(origin: str, what: str, said: object, described: object, task: str = "") -> None:
    if said != described:
        of = f" for task {task!r}" if task else ""
        raise BundleError(
            f"{origin}: manifest.json says {what} {said!r}{of}, model.json {described!r}; rebuild the bundle"
        )
