"""The network as a TensorRT engine, through Torch-TensorRT.

The whole of `deploy.graph.DeployedNetwork` becomes one engine, from bytes of pixels to decoded outputs. TensorRT has no
precision switch any more: it computes in the types that the graph has. So fp16 and bf16 are a network cast to them
(colours are scaled before, outputs are decoded after in fp32), and INT8 is ModelOpt's explicit quantisers with fp16
around them.

Two things are written in another way for TensorRT, with the same values: the largest class is found by two operators,
for it has none that gives both the value and the place, and ids leave the engine as int32, because bytes are not among
the types to which it casts.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram

from densemtl_core.errors import InputError
from densemtl_core.runtime.backends.tensorrt import this_machine
from deploy.graph import DeployedNetwork, example
from deploy.quantize_modelopt import cpu_export, quantised, quantisers
from deploy.tensorrt_versions import MATCHES, match_of

__all__ = ["PRECISIONS", "Built", "Support", "build", "engine_bytes", "missing", "prepared", "support", "traced"]

PRECISIONS: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.float16,
}
"""Precision to the type of what is computed in floating point."""

aten = torch.ops.aten


@dataclass(frozen=True)
class Built:
    """An engine.

    Attributes:
        engine: as TensorRT serialises it.
        made_for: what a machine must be to run it.
        made_with: versions of what built it.
    """

    engine: bytes
    made_for: Mapping[str, str]
    made_with: Mapping[str, str]


@dataclass(frozen=True)
class Support:
    """What Torch-TensorRT would make of a graph.

    Attributes:
        converted: operators for which it has a converter.
        operators: all of them.
        engines: into how many the graph would fall.
        left: operators that would stay with PyTorch, and how often they occur.
    """

    converted: int
    operators: int
    engines: int
    left: Mapping[str, int]


def missing() -> str:
    """What this machine lacks for building engines, one line; empty where nothing."""
    match = match_of(torch.__version__)
    known = f"torch {torch.__version__.partition('+')[0]} goes with " + (
        f"torch-tensorrt {match.torch_tensorrt} (TensorRT {match.tensorrt})"
        if match
        else f"no torch-tensorrt known here; torch {', '.join(MATCHES)} do"
    )
    if not torch.cuda.is_available():
        return f"engines are built on the machine that runs them, and PyTorch sees no CUDA GPU here; {known}"
    try:
        metadata.version("torch-tensorrt")  # torch-tensorrt-rtx imports under the same name, and is another engine
        import torch_tensorrt  # noqa: F401
    except metadata.PackageNotFoundError:
        return f"torch-tensorrt is not installed; {known}: pip install 'densemtl-core[tensorrt]'"
    except Exception as error:  # without its libraries it raises anything
        reason = " ".join(str(error).split())[:150]
        return f"torch-tensorrt does not import ({type(error).__name__}: {reason}); {known}"
    return ""


def build(
    network: DeployedNetwork,
    size: tuple[int, int],
    precision: str,
    *,
    batch: int = 1,
    frames: Sequence[NDArray[np.uint8]] = (),
    keep: Sequence[str] = (),
) -> Built:
    """Build the engine for this machine.

    Args:
        network: to build.
        size: ``(H, W)`` of its images, multiples of 32.
        precision: one of `PRECISIONS`.
        batch: images at a time.
        frames: to calibrate INT8 with, ``(H, W, 3)`` uint8 each.
        keep: modules that INT8 leaves in floating point, by the beginning of their name.

    Raises:
        InputError: this machine cannot build engines, or not one of this graph.
    """
    lacks = missing()
    if lacks:
        raise InputError(f"backend tensorrt: {lacks}")
    program = traced(prepared(network, precision, frames=frames, keep=keep), size, batch=batch)
    tools = ("torch-tensorrt", "nvidia-modelopt") if precision == "int8" else ("torch-tensorrt",)
    return Built(engine_bytes(program), this_machine(), {name: metadata.version(name) for name in tools})


def prepared(
    network: DeployedNetwork, precision: str, *, frames: Sequence[NDArray[np.uint8]] = (), keep: Sequence[str] = ()
) -> DeployedNetwork:
    """A copy in the types that the engine is to compute in, on the GPU if there is one; arguments as for `build`."""
    if precision not in PRECISIONS:
        raise InputError(f"TensorRT has no precision {precision!r}; known: {', '.join(PRECISIONS)}")
    ready = copy.deepcopy(network).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    if precision == "int8":
        ready = quantised(ready, frames, keep)
    _cast(ready, PRECISIONS[precision])
    return ready


def traced(network: DeployedNetwork, size: tuple[int, int], *, batch: int = 1) -> ExportedProgram:
    """The graph as TensorRT can have it, for one shape.

    Args:
        network: of `prepared`.
        size: ``(H, W)`` of its images, multiples of 32.
        batch: images at a time.
    """
    pixels = example(size, batch).to(next(network.parameters()).device)
    around = cpu_export() if quantisers(network) else contextlib.nullcontext()
    with _quiet(), around, torch.no_grad():
        program: ExportedProgram = torch.export.export(network, (pixels,))
        program = program.run_decompositions({aten.max.dim: _max, aten._to_copy.default: _to_copy})
    return program


def support(program: ExportedProgram) -> Support:
    """Ask Torch-TensorRT what it would convert; needs no GPU, and builds nothing.

    Args:
        program: of `traced`.
    """
    import torch_tensorrt

    with tempfile.TemporaryDirectory(prefix="densemtl-tensorrt-") as folder, _quiet():
        report = Path(folder) / "report.txt"
        settings = _settings(torch_tensorrt.dynamo.compile, dryrun=str(report))
        torch_tensorrt.dynamo.compile(program, arg_inputs=_inputs(program), **settings)
        text = report.read_text()
    counts = re.search(r"(\d+) Total Operators, of which (\d+) operators are supported", text)
    if counts is None:
        raise RuntimeError("Torch-TensorRT's dry run gave a report that is not understood")
    left = re.findall(r"^ (torch\.ops\.\S+|\S+): (\d+)$", text.partition("excluded from conversion")[2], re.MULTILINE)
    engines = len(re.findall(r"^\s*TRT Engine #\d+", text, re.MULTILINE))
    return Support(int(counts[2]), int(counts[1]), engines, {name: int(count) for name, count in left})


def engine_bytes(program: ExportedProgram) -> bytes:
    """Build the engine and serialise it.

    Args:
        program: of `traced`.

    Raises:
        InputError: an operator has no converter here, or the builder failed.
    """
    import torch_tensorrt

    convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
    settings = _settings(convert, require_full_compilation=True, timing_cache_path=str(_timing_cache()))
    try:
        with _quiet():
            return bytes(convert(program, arg_inputs=_inputs(program), **settings))
    except Exception as error:
        found = support(program)
        if found.left:
            raise InputError(
                f"torch-tensorrt {torch_tensorrt.__version__} has no converter for {', '.join(found.left)}; leave out "
                "the task that needs it, or use model.onnx with trtexec"
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"TensorRT could not build the engine ({type(error).__name__}: {reason})") from error


def _cast(network: DeployedNetwork, kind: torch.dtype) -> None:
    """Let the network compute in a type; colours are normalised before it and outputs decoded after it in fp32."""
    if kind == torch.float32:
        return
    inside = network.network
    mean, std = inside.mean, inside.std
    inside.to(kind)
    inside.mean, inside.std = mean, std
    encoder: nn.Module = inside.encoder
    encoder.register_forward_pre_hook(lambda _, values: (values[0].to(kind),))


def _max(values: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return values.amax(dim, keepdim), values.argmax(dim, keepdim)


def _to_copy(values: Tensor, *, dtype: torch.dtype | None = None, **how: Any) -> Any:
    if dtype == torch.uint8:
        return values.to(torch.int32)
    return NotImplemented


def _inputs(program: ExportedProgram) -> list[Tensor]:
    args, _ = program.example_inputs
    return list(args)


def _settings(function: Any, **given: Any) -> dict[str, Any]:
    """Settings for one of Torch-TensorRT's functions, of those that the installed version has.

    Precision is none of them: from 2.10 on a graph that says it itself is refused together with ``enabled_precisions``.
    """
    # Before TensorRT 10.14 there is no attention to convert to; products and a softmax it always has.
    settings = {"decompose_attention": True, "min_block_size": 1, **given}
    known = inspect.signature(function).parameters
    return {name: value for name, value in settings.items() if name in known}


def _timing_cache() -> Path:
    """A file that no other user can write: TensorRT reads it unchecked."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "densemtl" / "tensorrt"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder / "timing.bin"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch-TensorRT logs whole graphs where it fails."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
