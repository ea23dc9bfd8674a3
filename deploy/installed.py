"""What a command needs and this Python lacks, told in one line before anything is imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

__all__ = ["COMPILER", "ROBOT", "instead", "lacking", "require"]

ROBOT = ("numpy", "cv2")
"""Modules that every process with a bundle imports."""

COMPILER = (*ROBOT, "safetensors", "torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime")
"""What compiling needs besides."""

DISTRIBUTIONS = {"cv2": "opencv-python-headless"}
"""Module to what brings it, where the two have different names."""

ROOT = Path(__file__).resolve().parents[1]
OURS = Path(".venv/bin/python")


def lacking(modules: Sequence[str]) -> list[str]:
    """Those of some top-level modules that are not installed. Nothing is imported."""
    return [module for module in modules if find_spec(module) is None]


def instead(command: str, root: Path = ROOT) -> str:
    """The same command with the Python of ``make setup``; empty where this is that one, or there is none."""
    if not (root / OURS).exists() or Path(sys.prefix).resolve() == (root / ".venv").resolve():
        return ""
    return f"{OURS} {command}"


def require(command: str, modules: Sequence[str], extra: str) -> None:
    """End the process with one line where something is missing.

    Args:
        command: file of the command, from the root of the repository.
        modules: that it imports before it can say anything else.
        extra: of the package, that brings them; empty where the package itself does.

    Raises:
        SystemExit: with status 2.
    """
    gone = ", ".join(DISTRIBUTIONS.get(module, module) for module in lacking(modules))
    if not gone:
        return
    first = f"run {instead(command) or f'make setup, then {OURS} {command}'}"
    install = f"pip install '.[{extra}]'" if extra else "pip install ."
    print(f"error: {command} needs {gone}; {first}, or install for this Python: {install}", file=sys.stderr)
    raise SystemExit(2)
