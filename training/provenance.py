"""With what a run was made: so that a result can be traced back to code and settings."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from densemtl_core import __version__

__all__ = ["provenance"]

PACKAGES = ("torch", "torchvision", "timm", "lightning", "kornia", "numpy")


def provenance() -> dict[str, Any]:
    """Versions of code and libraries, the git revision (null outside a repository), and the kind of device."""
    return {
        "densemtl_core": __version__,
        "git_revision": _git("rev-parse", "HEAD"),
        "git_modified": _git("status", "--porcelain", "--untracked-files=no") not in (None, ""),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})",
    }


def _git(*arguments: str) -> str | None:
    # Of the folder that holds this code, not of wherever the command was typed.
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
