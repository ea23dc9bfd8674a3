"""Put a checkpoint into a bundle."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from densemtl_core.models import DenseMTL, ModelDescription
from densemtl_core.runtime import Bundle, EngineInfo, Manifest, OutputInfo, TaskInfo, write_bundle
from densemtl_core.runtime.bundle import through_link
from densemtl_core.tasks import Task

__all__ = ["Contents", "package", "task_info"]


@dataclass(frozen=True)
class Contents:
    """What a compilation adds to the network itself.

    Attributes:
        files: name to bytes.
        engines: backend to what it loads.
        precision: that was asked for.
        told: further facts for the manifest's ``made_with``.
    """

    files: Mapping[str, bytes]
    engines: Mapping[str, EngineInfo]
    precision: str = "fp32"
    told: Mapping[str, str] = field(default_factory=dict)


def task_info(task: Task) -> TaskInfo:
    """What the manifest says of a task."""
    return TaskInfo(
        name=task.name,
        kind=task.kind,
        picture=task.picture,
        picture_options=task.picture_options(),
        outputs=tuple(OutputInfo(o.name, o.channels, o.dtype, o.unit, o.resample) for o in task.outputs()),
        class_names=tuple(getattr(task, "class_names", ())),
        palette=tuple(getattr(task, "palette", ())),
        needs=task.needs(),
        camera=task.camera_rule(),
    )


def package(
    model: DenseMTL,
    description: ModelDescription,
    out: Path,
    *,
    contents: Contents | None = None,
    accuracy: Mapping[str, Any] | None = None,
    card: str | None = None,
    sign_with: Path | None = None,
) -> Bundle:
    """Write a bundle: the network itself, for the backend ``eager``, and what was compiled of it.

    Args:
        model: the network with its weights.
        description: of that model.
        out: folder to write; replaced at once when it is a bundle already; of a symbolic link, what it points to.
        contents: engines and their files; None: none.
        accuracy: task to scores, with the data set they were measured on.
        card: text of the model card, written as ``README.md``.
        sign_with: PEM file of a private Ed25519 key; None = the bundle is not signed.

    Returns:
        The bundle, verified.
    """
    contents, out = contents or Contents({}, {}), through_link(out)
    files = {**description.files(model), **contents.files}
    if card is not None:
        files["README.md"] = card.encode()
    manifest = Manifest(
        name=out.name.removesuffix(".bundle"),
        preset=description.preset,
        precision=contents.precision,
        input_size=description.input_size,
        tasks={task.name: task_info(task) for task in description.tasks},
        files={},
        backends=(*contents.engines, "eager"),
        engines=contents.engines,
        accuracy=accuracy or {},
        made_with={**_made_with(), **contents.told},
    )
    return write_bundle(out, manifest, files, sign_with=sign_with)


def _made_with() -> dict[str, str]:
    made = {"python": platform.python_version()}
    for name in ("densemtl-core", "torch", "timm", "safetensors", "onnx", "onnxruntime", "openvino"):
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            continue
    try:
        here = Path(__file__).parent
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        made["revision"] = revision.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass  # installed without its repository
    return made
