"""A machine without the packages that training needs."""

from __future__ import annotations

import subprocess
import sys


def test_the_last_line_says_what_to_install():
    without = "import sys; sys.modules['kornia'] = sys.modules['omegaconf'] = None; import training"
    found = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    expected = "training needs omegaconf, kornia; install with: pip install 'densemtl-core[train]'"
    assert last == f"ImportError: {expected}"
