"""The manifest of a bundle: everything a robot must know about a model before it runs it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from densemtl_core.errors import InputError
from densemtl_core.runtime.field import Field, FieldError
from densemtl_core.runtime.picture_field import checked_colours, checked_picture

__all__ = ["SCHEMA_VERSION", "BundleError", "EngineInfo", "FileInfo", "Manifest", "OutputInfo", "TaskInfo"]

SCHEMA_VERSION = 1

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

ENGINE_FILES = {"tensorrt": ".engine", "onnx": ".onnx", "openvino": ".onnx"}
"""Backend to the ending of what it loads; the backend ``eager`` loads the weights."""

ENGINE_PRECISIONS = {"tensorrt": PRECISIONS, "onnx": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8")}
"""Backend to the precisions in which it computes."""

DTYPES = ("uint8", "uint16", "int16", "int32", "float32", "float64")

SMALLEST, LARGEST = 32, 4096
"""Side of the working size in pixels, both multiples of 32; what is larger would take the memory of any robot."""

MOST_CLASSES = 255
MOST_CHANNELS = 512
MOST_BYTES = 1 << 40
FARTHEST = 1e6
"""Of a camera rule, in pixels or in the output's unit."""


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
            BundleError: not JSON, unknown schema version, a field that is missing or unknown, or a value that it cannot
                have.
        """
        try:
            data = json.loads(text, object_pairs_hook=_named_once)
        except FieldError as error:
            raise BundleError(f"{origin}: manifest.json is damaged: {error}; copy or rebuild the bundle") from None
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{origin}: manifest.json is not JSON ({error}); copy the bundle again") from None
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        if type(found) is not int or found != SCHEMA_VERSION:
            raise BundleError(
                f"{origin}: manifest.json has schema version {Field(found).short()}, this package reads "
                f"{SCHEMA_VERSION}; rebuild the bundle with: python deploy/compile.py"
            )
        try:
            return _manifest(Field(data))
        except FieldError as error:
            raise BundleError(f"{origin}: manifest.json is damaged: {error}; copy or rebuild the bundle") from None


def _manifest(whole: Field) -> Manifest:
    fields = whole.members(
        ("name", "preset", "precision", "input_size", "tasks", "files", "backends", "schema"),
        ("resize", "colour", "engines", "accuracy", "made_with"),
    )

    def optional(name: str, default: Any) -> Field:
        return fields.get(name, Field(default, name))

    files = {name: _file(name, value) for name, value in fields["files"].pairs()}
    engines = {name: _engine(name, value, files) for name, value in optional("engines", {}).pairs()}
    manifest = Manifest(
        name=fields["name"].text(),
        preset=fields["preset"].text(),
        precision=fields["precision"].one_of(PRECISIONS),
        input_size=_size(fields["input_size"]),
        tasks={name: _task(name, value) for name, value in fields["tasks"].pairs()},
        files=files,
        backends=_distinct(fields["backends"], [*ENGINE_FILES, "eager"]),
        resize=optional("resize", "aspect").one_of(("aspect", "stretch")),
        colour=optional("colour", "rgb").one_of(("rgb",)),
        engines=engines,
        accuracy=_accuracy(optional("accuracy", {})),
        made_with={name: value.string() for name, value in optional("made_with", {}).pairs()},
    )
    if not manifest.tasks:
        raise fields["tasks"].must("at least one task")
    names = [output.name for task in manifest.tasks.values() for output in task.outputs]
    for name in names:
        if names.count(name) > 1:
            raise FieldError(f"tasks have two outputs that are called {name!r}; each must have a name of its own")
    return manifest


def _size(value: Field) -> tuple[int, int]:
    height, width = (side.whole(SMALLEST, LARGEST) for side in value.array(2, 2))
    if height % 32 or width % 32:
        raise value.must("height and width in multiples of 32")
    return height, width


def _file(name: str, value: Field) -> FileInfo:
    if not name or not name.isprintable() or len(name) > 200 or "/" in name or "\\" in name or name.startswith("."):
        raise FieldError(f"files lists {Field(name).short()}, which is outside the bundle; it must be a plain name")
    fields = value.members(("sha256", "size"))
    digest = fields["sha256"].text()
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise fields["sha256"].must("64 hexadecimal digits in lower case")
    return FileInfo(digest, fields["size"].whole(0, MOST_BYTES))


def _engine(backend: str, value: Field, files: Iterable[str]) -> EngineInfo:
    if backend not in ENGINE_FILES:
        raise FieldError(f"engines has {Field(backend).short()}; known: {', '.join(ENGINE_FILES)}")
    fields = value.members(("file", "precision"), ("made_for",))
    file = fields["file"].text()
    if file not in files:
        raise FieldError(f"it names {file!r} for backend {backend!r} and does not list it")
    if not file.endswith(ENGINE_FILES[backend]):
        raise fields["file"].must(f"a file that ends in {ENGINE_FILES[backend]}")
    made_for = {key: text.text() for key, text in fields.get("made_for", Field({})).pairs()}
    return EngineInfo(file, fields["precision"].one_of(ENGINE_PRECISIONS[backend]), made_for)


def _distinct(value: Field, known: Iterable[str]) -> tuple[str, ...]:
    found = [name.one_of(tuple(known)) for name in value.array()]
    if len(set(found)) < len(found):
        raise value.must("each name once")
    return tuple(found)


def _accuracy(value: Field) -> dict[str, Any]:
    """Scores are told, not computed with: only their shape is looked at."""
    found = dict(value.pairs())
    if "dataset" in found:
        found["dataset"].string()
    for key in ("scores", "scores_fp32"):
        for _, scores in found[key].pairs() if key in found else ():
            dict(scores.pairs())
    return {name: field.value for name, field in found.items()}


def _task(name: str, value: Field) -> TaskInfo:
    required = ("name", "kind", "picture", "picture_options", "outputs", "class_names", "palette", "needs")
    fields = value.members(required, ("camera",))  # manifests from before the camera rule have none
    if fields["name"].text() != name:
        raise fields["name"].must(f"{name!r}, as the task is listed")
    outputs = tuple(_output(output) for output in fields["outputs"].array(1))
    main = outputs[0]
    if main.name != name:
        raise FieldError(f"{value.where}.outputs[0].name is {main.name!r}; it must be the task's, {name!r}")
    class_names = tuple(each.string() for each in fields["class_names"].array(0, MOST_CLASSES))
    palette = checked_colours(fields["palette"])
    if len(palette) != len(class_names):
        raise FieldError(f"{value.where}.palette has {len(palette)} colours for {len(class_names)} classes")
    picture, options = checked_picture(
        fields["picture"], fields["picture_options"], main.channels, main.dtype, len(class_names)
    )
    needs = tuple(each.text() for each in fields["needs"].array())
    camera = {key: number.number(0.0, FARTHEST) for key, number in _rule(fields.get("camera", Field({}))).items()}
    if camera and (main.channels, main.dtype) != (1, "float32"):
        raise fields["camera"].must(f"empty: the main output is {main.dtype} of {main.channels} channels, no length")
    return TaskInfo(name, fields["kind"].text(), picture, options, outputs, class_names, palette, needs, camera)


def _rule(value: Field) -> dict[str, Field]:
    """Both numbers of a camera rule, or none."""
    return value.members(("focal", "limit")) if dict(value.pairs()) else {}


def _output(value: Field) -> OutputInfo:
    fields = value.members(("name", "channels", "dtype", "unit"), ("resample",))
    dtype = fields["dtype"].one_of(DTYPES)
    resample = fields.get("resample", Field("nearest")).one_of(("nearest", "linear"))
    if resample == "linear" and not dtype.startswith("float"):
        raise fields["resample"].must(f"nearest: the mean of two {dtype} values means nothing")
    return OutputInfo(
        fields["name"].text(), fields["channels"].whole(1, MOST_CHANNELS), dtype, fields["unit"].text(least=0), resample
    )


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of two values of one name, the one that is read would be chance."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise FieldError(f"{Field(twice).short()} is said twice in one object")
    return found
