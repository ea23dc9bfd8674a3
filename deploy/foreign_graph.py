"""Anybody's ONNX file, run in turns with our engines, for a ratio."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densemtl_core.errors import InputError
from densemtl_core.runtime.backends.base import RunResult

__all__ = ["ForeignGraph"]

ELEMENTS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}


class ForeignGraph:
    """An ONNX file with one image input, in onnxruntime on the CPU, fed with zeros.

    Its resizing and decoding are not known, so only inference is timed.

    Args:
        file: the graph.
        size: ``(H, W)`` for a graph that takes any.
        threads: CPU threads, None for onnxruntime's own choice.

    Attributes:
        shape: of the input.
        backend: ``onnxruntime``.
        device: ``cpu``.

    Raises:
        InputError: no such file, no graph in it, or not one image input.
    """

    backend = "onnxruntime"
    device = "cpu"

    def __init__(self, file: Path, size: tuple[int, int], threads: int | None = None) -> None:
        if not file.is_file():
            raise InputError(f"--against {file} is no file; give an ONNX file")
        try:
            import onnxruntime

            from densemtl_core.runtime.backends.onnx import session_options
        except ImportError:
            raise InputError("--against needs onnxruntime; install it with: pip install 'densemtl-core[cpu]'") from None
        options = session_options(threads)  # as our own engine has it, or the comparison would be one of settings
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises types of its own for every kind of damage
            raise InputError(f"--against {file}: onnxruntime cannot load it ({_line(error)})") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(i.name for i in inputs) or "none"
            raise InputError(f"--against {file} has {len(inputs)} inputs ({names}); only one image can be fed")
        (self._input,) = inputs
        if self._input.type not in ELEMENTS:
            raise InputError(
                f"--against {file}: input {self._input.name!r} is {self._input.type}, which no image is; "
                f"known: {', '.join(ELEMENTS)}"
            )
        self.shape = image_shape(self._input.shape, size, f"--against {file}: input {self._input.name!r}")
        self._zeros = np.zeros(self.shape, ELEMENTS[self._input.type])
        try:
            self.predict(None)
        except Exception as error:
            raise InputError(f"--against {file} does not run on zeros of shape {self.shape} ({_line(error)})") from None

    def predict(self, image: NDArray[Any] | None) -> RunResult:
        """Run on zeros, whatever the image."""
        start = time.perf_counter()
        self._session.run(None, {self._input.name: self._zeros})
        return RunResult({}, {"infer": time.perf_counter() - start})

    def close(self) -> None:
        """Free the graph."""
        del self._session


def image_shape(declared: list[Any], size: tuple[int, int], where: str) -> tuple[int, ...]:
    """A shape to feed: one image of the size, where the graph leaves it open.

    Args:
        declared: by the graph; what is no number may be any.
        size: ``(H, W)``.
        where: for the message.

    Raises:
        InputError: neither ``(B, C, H, W)`` nor ``(B, H, W, C)``.
    """
    if len(declared) == 4:
        channels_last = declared[3] in (1, 3, 4) and declared[1] not in (1, 3, 4)
        channels_first = declared[1] in (1, 3, 4)
        if channels_first or channels_last:
            usual = (1, *size, 3) if channels_last else (1, 3, *size)
            return tuple(d if isinstance(d, int) and d > 0 else u for d, u in zip(declared, usual, strict=True))
    raise InputError(f"{where} has shape {declared}; one image (B, 3, H, W) or (B, H, W, 3) is needed")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
