"""Nested training state as files without pickle: tensors in safetensors, everything else in JSON."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from densemtl_core.errors import InputError
from densemtl_core.learning.written_files import write_through, writing

__all__ = ["read_state", "write_state"]

TENSORS, TREE = "tensors.safetensors", "tree.json"


def write_state(folder: Path, state: Mapping[str, Any], *, extra: Mapping[str, bytes] | None = None) -> Path:
    """Write a state folder that appears whole or not at all, even if the process is killed half-way.

    Args:
        folder: to write; replaced if it exists.
        state: nested dicts (string or int keys), lists, tuples, tensors, strings, numbers, booleans, None.
        extra: further files, name to bytes.

    Returns:
        The folder.

    Raises:
        TypeError: a value of another type, with its place.
        UnwritableError: the disk is full, say; what stood there before still does.
    """
    tensors: dict[str, Tensor] = {}
    tree = _pack(state, "", tensors)
    contents = {
        TENSORS: safetensors.torch.save(tensors),
        TREE: json.dumps(tree).encode(),
        **(extra or {}),
    }
    with writing(folder, sum(map(len, contents.values()))):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        before = fresh.with_name(f"{fresh.name}.before")
        try:
            for name, data in contents.items():
                write_through(fresh / name, data)
            fresh.chmod(0o755)
            if folder.exists():
                folder.rename(before)  # a folder cannot be replaced: this one is gone for an instant, not lost
            fresh.rename(folder)
            _fsync_folder(folder.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            if before.exists() and not folder.exists():
                before.rename(folder)
            shutil.rmtree(before, ignore_errors=True)
    return folder


def _fsync_folder(folder: Path) -> None:
    """The names in a folder, to the disk: a power cut after this loses none of them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_state(folder: Path) -> dict[str, Any]:
    """Read what `write_state` wrote.

    Raises:
        InputError: files are missing or damaged.
    """
    try:
        tensors = safetensors.torch.load((folder / TENSORS).read_bytes())
        tree = json.loads((folder / TREE).read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"checkpoint {folder}: {Path(error.filename).name} is missing; resume from another") from None
    except Exception as error:  # safetensors raises its own type; the meaning is the same
        raise InputError(f"checkpoint {folder} is damaged ({error}); resume from another") from None
    state = _unpack(tree, tensors)
    assert isinstance(state, dict)  # noqa: S101  (write_state takes a mapping)
    return state


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = place or "value"
        tensors[name] = value.detach().cpu().contiguous().clone()  # clones: safetensors refuses shared memory
        return {"t": name}
    if isinstance(value, Mapping):
        # JSON knows only string keys; optimisers number their parameters
        keys = [k if isinstance(k, str | int) else _refuse(k, place) for k in value]
        return {"d": [[k, _pack(value[k], f"{place}/{k}", tensors)] for k in keys]}
    if isinstance(value, list | tuple):
        kind = "l" if isinstance(value, list) else "u"
        return {kind: [_pack(v, f"{place}/{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, str | bool | int | float):
        return {"v": value}
    return _refuse(value, place)


def _refuse(value: Any, place: str) -> Any:
    raise TypeError(f"state at {place or 'the top'} is a {type(value).__name__}, which has no place in a checkpoint")


def _unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    ((kind, content),) = tree.items()
    if kind == "t":
        return tensors[content]
    if kind == "d":
        return {k: _unpack(v, tensors) for k, v in content}
    if kind == "v":
        return content
    values = [_unpack(v, tensors) for v in content]
    return values if kind == "l" else tuple(values)


def random_state() -> dict[str, Tensor]:
    """The state of every random generator that this process's training draws from."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Put the generators back to where `random_state` found them."""
    torch.set_rng_state(state["cpu"].cpu())
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu())
