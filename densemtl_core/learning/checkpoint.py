"""Checkpoints for people: a folder with ``model.safetensors`` and ``model.json``, nothing pickled."""

from __future__ import annotations

import os
from pathlib import Path

from densemtl_core.errors import InputError
from densemtl_core.learning.written_files import write_whole
from densemtl_core.models import DenseMTL, ModelDescription

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(folder: str | os.PathLike[str], model: DenseMTL, description: ModelDescription) -> Path:
    """Write a checkpoint; each file appears whole or not at all.

    Args:
        folder: made if it does not exist.
        model: its weights are written in float32.
        description: of that model.

    Returns:
        The folder.

    Raises:
        UnwritableError: a file cannot be written.
    """
    folder = Path(folder)
    for name, data in description.files(model).items():
        write_whole(folder / name, data)
    return folder


def load_checkpoint(folder: str | os.PathLike[str]) -> tuple[DenseMTL, ModelDescription]:
    """Read a checkpoint.

    Returns:
        The network, in training mode, and its description.

    Raises:
        InputError: files are missing, damaged, or do not belong together.
    """
    folder = Path(folder)
    for name in ("model.json", "model.safetensors"):
        if not (folder / name).is_file():
            inside = sorted(file.parent.name for file in folder.glob(f"*/{name}"))
            fix = f"it has {', '.join(inside)}: give one of these" if inside else "give the folder that training wrote"
            raise InputError(f"checkpoint {folder} has no {name}; {fix}")
    description = ModelDescription.from_json((folder / "model.json").read_bytes(), f"checkpoint {folder}")
    return description.build((folder / "model.safetensors").read_bytes(), f"checkpoint {folder}"), description
