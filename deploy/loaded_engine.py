"""Engines side by side in memory: what each is, how large its file, how much memory it took."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from densemtl_core.runtime import Bundle, BundleError, Predictor

__all__ = ["LoadedEngine", "load_engines", "with_memory"]

Opened = TypeVar("Opened")

BROUGHT_BY = {"onnx": "onnxruntime", "openvino": "openvino", "eager": "torch", "tensorrt": "tensorrt"}
"""Backend to the module whose import the first engine of its kind pays for."""


@dataclass(frozen=True)
class LoadedEngine:
    """An engine that is ready to be timed.

    Attributes:
        name: unique among those that are compared.
        predictor: has ``predict(image)``, whose result has ``seconds``, and ``close()``.
        backend: its kind.
        device: where it runs.
        precision: of the engine.
        file: that it was loaded from.
        file_bytes: of that file.
        input_size: ``(H, W)`` at which it works.
        memory_mib: by which the resident set grew at its peak while the engine was loaded and computed one frame; None
            where Linux does not tell, and of engines on a GPU.
        memory_of_library: whether this has the backend's library in it, which no engine before had brought.
        random_weights: whether nobody has trained it.
    """

    name: str
    predictor: Any
    backend: str
    device: str
    precision: str
    file: str
    file_bytes: int
    input_size: tuple[int, int]
    memory_mib: float | None = None
    memory_of_library: bool = False
    random_weights: bool = False


def load_engines(
    path: Path, backends: Sequence[str] = (), threads: int | None = None, *, random_weights: bool = False
) -> tuple[list[LoadedEngine], list[str]]:
    """Load a bundle into several backends.

    Args:
        path: of the bundle.
        backends: that are wanted; none: all those that the bundle offers.
        threads: CPU threads, None for each engine's own choice.
        random_weights: to be noted.

    Returns:
        The engines in the order of ``backends``, and a line for each that was left out.

    Raises:
        BundleError: there is no sound bundle.
    """
    manifest = Bundle(path).manifest
    engines, left_out = [], []
    for backend in backends or manifest.backends:
        module = BROUGHT_BY.get(backend, backend)
        first = module not in sys.modules

        def opened(backend: str = backend) -> Predictor:
            predictor = Predictor(path, backend=backend, threads=threads)
            predictor.warm_up(frames=1)
            return predictor

        try:
            predictor, memory = with_memory(opened)
        except BundleError as error:
            left_out.append(f"{path.name} {backend}: {error}")
            continue
        info = manifest.engines.get(predictor.backend)
        file = info.file if info else "model.safetensors"
        engines.append(
            LoadedEngine(
                name=f"{path.name.removesuffix('.bundle')} {predictor.backend} {predictor.precision}",
                predictor=predictor,
                backend=predictor.backend,
                device=predictor.device,
                precision=predictor.precision,
                file=str((Path(path.name) if random_weights else path) / file),
                file_bytes=manifest.files[file].size,
                input_size=manifest.input_size,
                # on a GPU the process grows by its driver's state, whatever the engine needs there
                memory_mib=memory if predictor.device == "cpu" else None,
                memory_of_library=first,
                random_weights=random_weights,
            )
        )
    return engines, left_out


def with_memory(load: Callable[[], Opened]) -> tuple[Opened, float | None]:
    """Call, and tell by how many MiB the resident set grew at its peak; None where Linux does not tell."""
    _give_back_freed()
    before = _resident()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of what was before
        peaked = True
    except OSError:
        peaked = False  # not allowed here: then what is left at the end has to do
    loaded = load()
    after = _peak() if peaked else _resident()
    return loaded, None if before is None or after is None else round(max(0.0, after - before), 1)


def _give_back_freed() -> None:
    """Return to Linux what was freed: an engine that moves into it would seem to need nothing."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


def _resident() -> float | None:
    """MiB of this process in main memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak() -> float | None:
    """MiB of this process in main memory at most, since the peak was forgotten."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except (OSError, ValueError, StopIteration):
        return None
