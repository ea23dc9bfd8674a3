"""A machine without the packages that training needs, or a shell outside their environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def told(lacking: str) -> str:
    return (
        f"training needs {lacking}, which {sys.executable} lacks; in a clone: make setup, then "
        "source .venv/bin/activate; elsewhere: pip install 'densemtl-core[train]'"
    )


def test_the_last_line_says_what_to_install():
    without = "import sys; sys.modules['kornia'] = sys.modules['omegaconf'] = None; import training"
    found = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.strip().splitlines()[-1] == f"ImportError: {told('kornia, omegaconf')}"


@pytest.mark.parametrize("module", ["train", "evaluate", "compare", "predict"])
def test_a_command_outside_the_environment_says_it_in_one_line(module):
    """-S leaves site-packages out, as a Python outside the environment does."""
    command = [sys.executable, "-S", "-m", f"training.{module}", "--help"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    needed = "numpy, cv2, safetensors, torch, timm, kornia, lightning, omegaconf, rich"
    assert found.stderr == f"error: {told(needed)}\n"
    assert (found.returncode, found.stdout) == (2, "")
