"""What ``deploy/compile.py`` was asked for, checked: everything that can be refused before the long work."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.models import DenseMTL, ModelDescription
from densemtl_core.runtime import default_bundle
from densemtl_core.runtime.bundle import require_replaceable, through_link
from densemtl_core.runtime.signature import read_private_key
from deploy import tensorrt
from deploy.compilation import PRECISIONS
from deploy.footage import Footage
from deploy.held_out import left_to_calibrate
from deploy.image_size import image_size
from deploy.room import bundle_bytes, require_room
from deploy.untrained import untrained_network

__all__ = ["CLASSES", "JUDGED", "CompilePlan", "compile_plan"]

PREFERRED = ("tensorrt", "onnx", "eager")
"""What ``auto`` compiles for, the first that this machine can; OpenVINO has to be asked for."""

JUDGED = 32
"""Labelled frames by default."""

CLASSES = 19
"""Of a preset by default."""


@dataclass(frozen=True)
class CompilePlan:
    """What will be done.

    Attributes:
        model: the network with its weights.
        description: of that network, at the size to compile for.
        backend: to compile for.
        precision: to compile in.
        judge: labelled frames to judge on; 0: nothing is judged.
        calibrate: frames for INT8, 0 for another precision.
        footage_frames: how many frames there are to calibrate with, 0 for those of the street world.
        card: text of the model card.
        size: about so many bytes the bundle will have.
        out: the folder that it will be; where a symbolic link was given, what that points to.
    """

    model: DenseMTL
    description: ModelDescription
    backend: str
    precision: str
    judge: int
    calibrate: int
    footage_frames: int
    card: str | None
    size: int
    out: Path


def compile_plan(given: argparse.Namespace) -> CompilePlan:
    """Check everything that was given.

    Raises:
        InputError: something cannot be, cannot be read, or cannot be written.
    """
    model, description = _network(given)
    backend = _backend(given.backend, given.precision)
    if given.precision not in PRECISIONS[backend]:
        others = [name for name, known in PRECISIONS.items() if given.precision in known]
        raise InputError(
            f"backend {backend} has no {given.precision}, only {', '.join(PRECISIONS[backend])}; "
            f"{given.precision} is of {', '.join(others)}"
        )
    if given.fixed and backend == "eager":
        raise InputError("--fixed is for a compiled engine, and eager takes every size; leave it out")
    if given.batch != 1 and (backend != "tensorrt" or given.batch < 1):
        raise InputError(
            f"--batch {given.batch} is for TensorRT engines, at least 1; other graphs take any number of images"
        )
    # eager is the yardstick itself: it is judged where somebody asks for its scores
    judge = given.judge if given.judge is not None else JUDGED * (backend != "eager")
    if judge < 0:
        raise InputError(f"--judge is {judge}; give a number of frames, or 0 to judge nothing")
    calibrate, there = _calibration(given, description)
    card = _card(given.card) if given.card else None
    if given.sign:
        read_private_key(given.sign)
    if not given.out.name.isprintable():
        raise InputError(f"--out {str(given.out)!r} has characters that cannot be printed; give another name")
    out = through_link(given.out)
    require_replaceable(out)
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    size = bundle_bytes(weights, backend, given.precision)
    require_room(out, size, weights)
    return CompilePlan(
        model,
        description,
        backend,
        given.precision,
        0 if given.preset else judge,
        calibrate,
        there,
        card,
        size,
        out,
    )


def _calibration(given: argparse.Namespace, description: ModelDescription) -> tuple[int, int]:
    """How many frames to calibrate with, and how many there are; the first one is read, to see that it can be."""
    if given.precision != "int8":
        if given.calibration:
            raise InputError(f"--calibration {given.calibration} is for --int8; leave it out, or ask for --int8")
        return 0, 0
    if given.calibration_frames < 1:
        raise InputError(f"--calibration-frames is {given.calibration_frames}; give at least 1")
    if not given.calibration:
        return given.calibration_frames, 0
    try:
        footage = Footage(given.calibration, description.input_size)
        footage.frame(0)
    except InputError as error:
        # a folder is named by the option here
        reason = str(error).removesuffix("; check root")
        raise InputError(f"--calibration {given.calibration}: {reason}") from None
    # some of one's own frames are kept, to compare on
    return left_to_calibrate(len(footage), given.calibration_frames), len(footage)


def _card(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"--card {file} cannot be read ({error.strerror}); give a Markdown file") from None
    except UnicodeDecodeError:
        raise InputError(f"--card {file} is not text in UTF-8; give a Markdown file") from None


def _network(given: argparse.Namespace) -> tuple[DenseMTL, ModelDescription]:
    size = image_size("--input", given.input) if given.input else None
    if given.num_classes is not None and not given.preset:
        raise InputError("--num-classes is for --preset: a checkpoint has its classes; give --preset, or leave it out")
    if not given.preset:
        model, description = load_checkpoint(given.checkpoint or default_bundle())
        return model, ModelDescription(description.preset, description.tasks, size or description.input_size)
    return untrained_network(given.preset, size, CLASSES if given.num_classes is None else given.num_classes)


def _backend(asked: str, precision: str) -> str:
    """The backend to compile for; one that this machine cannot build is refused before anything is done."""
    candidates = [name for name in PREFERRED if precision in PRECISIONS[name]] if asked == "auto" else [asked]
    lacking = {name: _lacks(name) for name in candidates}
    able = [name for name in candidates if not lacking[name]]
    if asked == "auto" and lacking.get("tensorrt") and torch.cuda.is_available():
        print(f"auto      not tensorrt: {lacking['tensorrt']}")
    if able:
        return able[0]
    others = [name for name, known in PRECISIONS.items() if precision in known and name not in candidates]
    advice = f"; {precision} is also of --backend {' or '.join(others)}" if others else ""
    raise InputError("; ".join(f"backend {name}: {lacks}" for name, lacks in lacking.items()) + advice)


def _lacks(backend: str) -> str:
    """What is missing for a backend, empty where nothing is."""
    if backend == "tensorrt":
        return tensorrt.missing()
    library, extra = {"onnx": ("onnxruntime", "deploy"), "openvino": ("openvino", "openvino")}.get(
        backend, ("torch", "eager")
    )
    if importlib.util.find_spec(library):
        return ""
    return f"needs {library}; install it with: pip install 'densemtl-core[{extra}]'"
