"""The manifest of a bundle: everything a robot must know about a model before it runs it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from densemtl_core.errors import InputError

__all__ = ["SCHEMA_VERSION", "BundleError", "EngineInfo", "FileInfo", "Manifest", "OutputInfo", "TaskInfo"]

SCHEMA_VERSION = 1


class BundleError(InputError):
    """A bundle cannot be used. The message is one line: which bundle, what is wrong, what to do."""


@dataclass(frozen=True)
class FileInfo:
    """A file of the bundle.

    Attributes:
        sha256: of its bytes, lower-case hex.
        size: in bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True)
class EngineInfo:
    """What a backend loads.

    Attributes:
        file: of the bundle.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        made_for: what this machine must be: name (``tensorrt``, ``gpu``, ``compute_capability``, ``platform``) to
            value; empty for a file that runs anywhere.
    """

    file: str
    precision: str
    made_for: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OutputInfo:
    """One array that the model gives for an image.

    Attributes:
        name: key of the prediction.
        channels: 1 for ``(H, W)``, more for ``(H, W, C)``.
        dtype: NumPy element type.
        unit: what a value means.
        resample: how it may be enlarged, ``nearest`` or ``linear``.
    """

    name: str
    channels: int
    dtype: str
    unit: str
    resample: str = "nearest"


@dataclass(frozen=True)
class TaskInfo:
    """What a task is, for a process that has neither PyTorch nor the task's class.

    Attributes:
        name: of the task, and of its main output.
        kind: registered kind of the task.
        picture: how a person sees the main output: a key of `densemtl_core.render.PICTURES`.
        picture_options: arguments of that function.
        outputs: main output first.
        class_names: of a task with classes, in id order; else empty.
        palette: RGB a class; else empty.
        needs: tasks that must be computed too whenever this one is.
        camera: how the main output depends on the camera's focal length, empty where it does not: predicted for one
            of ``focal`` pixels, at the size at which the network works; for another it is multiplied by the ratio of
            the two, and beyond ``limit`` +inf (`densemtl_core.runtime.camera`).
    """

    name: str
    kind: str
    picture: str
    picture_options: Mapping[str, Any]
    outputs: tuple[OutputInfo, ...]
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    needs: tuple[str, ...] = ()
    camera: Mapping[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Unit of the main output."""
        return self.outputs[0].unit


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    Attributes:
        name: of the bundle.
        preset: network.
        precision: that was asked for; an engine may say otherwise of itself.
        input_size: ``(H, W)`` in pixels at which the network works.
        resize: ``aspect``: an image is resized to about as many pixels as ``input_size`` has, its aspect kept, sides
            multiples of 32; ``stretch``: always to exactly ``input_size``.
        colour: order of the channels the model expects; always ``rgb``.
        tasks: by name, in output order.
        files: by name; everything the loader may read.
        backends: the backends this bundle has files for.
        engines: backend to what it loads; the backend ``eager`` loads the weights themselves.
        accuracy: task to scores, with the data set they were measured on; may be empty.
        made_with: versions of what made it, and the git revision.
        schema: version of this layout.
    """

    name: str
    preset: str
    precision: str
    input_size: tuple[int, int]
    tasks: Mapping[str, TaskInfo]
    files: Mapping[str, FileInfo]
    backends: tuple[str, ...]
    resize: str = "aspect"
    colour: str = "rgb"
    engines: Mapping[str, EngineInfo] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    made_with: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    @property
    def sha256(self) -> str:
        """Hash of the weights: the identity of the model."""
        return self.files["model.safetensors"].sha256

    def precision_of(self, backend: str) -> str:
        """In which a backend computes: its engine's, or ``fp32`` where it runs the weights themselves."""
        engine = self.engines.get(backend)
        return engine.precision if engine else "fp32"

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str) -> Manifest:
        """Read and check a manifest.

        Args:
            text: of ``manifest.json``.
            origin: the bundle's path, for messages.

        Raises:
            BundleError: not JSON, unknown schema version, a field that is missing, unknown or of the wrong type.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BundleError(f"{origin}: manifest.json is not JSON ({error}); copy the bundle again") from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA_VERSION:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise BundleError(
                f"{origin}: manifest.json has schema version {found!r}, this package reads {SCHEMA_VERSION}; "
                "rebuild the bundle with: python deploy/compile.py"
            )
        try:
            data["tasks"] = {name: _task(value) for name, value in data["tasks"].items()}
            data["files"] = {name: FileInfo(str(v["sha256"]), int(v["size"])) for name, v in data["files"].items()}
            data["input_size"] = _size(data["input_size"])
            data["backends"] = tuple(str(b) for b in data["backends"])
            data["engines"] = {str(name): EngineInfo(**value) for name, value in data.get("engines", {}).items()}
            manifest = cls(**data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{origin}: manifest.json is damaged ({error!r}); copy or rebuild the bundle") from None
        if manifest.resize not in ("aspect", "stretch") or manifest.colour != "rgb" or not manifest.tasks:
            raise BundleError(
                f"{origin}: manifest.json asks for resize {manifest.resize!r}, colour {manifest.colour!r} and "
                f"{len(manifest.tasks)} tasks, which this package cannot do; rebuild the bundle"
            )
        for name, engine in manifest.engines.items():
            if engine.file not in manifest.files:
                raise BundleError(
                    f"{origin}: manifest.json names {engine.file!r} for backend {name!r} and does not list it; "
                    "rebuild the bundle"
                )
        return manifest


def _size(value: Any) -> tuple[int, int]:
    height, width = (int(v) for v in value)
    if not (32 <= height <= 8192 and 32 <= width <= 8192):
        raise ValueError(f"input_size {height} x {width} is outside 32..8192")
    return height, width


def _task(value: Mapping[str, Any]) -> TaskInfo:
    fields = dict(value)
    fields["outputs"] = tuple(OutputInfo(**o) for o in fields["outputs"])
    fields["class_names"] = tuple(str(n) for n in fields["class_names"])
    fields["palette"] = tuple((int(r), int(g), int(b)) for r, g, b in fields["palette"])
    fields["needs"] = tuple(str(n) for n in fields["needs"])
    fields["camera"] = _camera(fields.get("camera", {}))  # manifests from before it have none
    if not fields["outputs"] or fields["outputs"][0].name != fields["name"]:
        raise ValueError(f"task {fields['name']!r} has no main output")
    return TaskInfo(**fields)


def _camera(value: Mapping[str, Any]) -> dict[str, float]:
    rule = {str(key): float(number) for key, number in value.items()}
    if rule and (set(rule) != {"focal", "limit"} or not all(0 < number < math.inf for number in rule.values())):
        raise ValueError(f"camera {rule} must have focal and limit, finite and above 0")
    return rule
