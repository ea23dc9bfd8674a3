"""Whether there is room for what a command will write, asked before its long work."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from densemtl_core.errors import InputError

__all__ = ["bundle_bytes", "require_room"]

PARTS = {"model": 1.0, "model.onnx": 1.0, "model.int8-cpu.onnx": 0.45, "model.int8-trt.onnx": 0.45, "model.engine": 1.0}
"""What a bundle may hold, and its size as a share of the weights at fp32."""

BESIDE = 1_000_000
"""Bytes of the graph's structure in every file, of manifest and card."""

AT_WORK = 3.0
"""Graphs that lie in the temporary folder while INT8 is made, as a multiple of the weights."""


def bundle_bytes(weights: int, backend: str, precision: str) -> int:
    """About how large a bundle becomes; not less than it is.

    Args:
        weights: bytes of the network's weights at fp32.
        backend: that it is compiled for.
        precision: that it is compiled in.
    """
    parts = ["model"]
    if backend != "eager":
        parts.append("model.onnx")
    if precision == "int8" and backend != "eager":
        parts.append("model.int8-cpu.onnx")
        parts.append("model.engine" if backend == "tensorrt" else "model.int8-trt.onnx")
    elif backend == "tensorrt":
        parts.append("model.engine")
    return int(weights * sum(PARTS[part] for part in parts)) + len(parts) * BESIDE


def require_room(out: Path, needed: int, weights: int) -> None:
    """Refuse a place that cannot be written, or has not enough room, for a bundle or for the work on it.

    Args:
        out: the bundle's folder, which need not be there yet.
        needed: bytes of `bundle_bytes`; an old bundle stays until the new one is whole, so all of them are needed.
        weights: bytes of the network's weights at fp32.

    Raises:
        InputError: it cannot be made, or too little is free.
    """
    place = out.absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--out {out}: {place} is a file, not a folder; give another --out")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: the folder {place} cannot be written; give another --out")
    _require(place, needed, f"the bundle {out}", "make room there, or give another --out")
    at_work = needed + int(AT_WORK * weights)
    _require(Path(tempfile.gettempdir()), at_work, "the work on it", "make room there, or set TMPDIR to another folder")


def _require(place: Path, needed: int, what: str, advice: str) -> None:
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            f"{what} needs about {needed / 1e6:.0f} MB in {place}, and {free / 1e6:.0f} MB are free; {advice}"
        )
