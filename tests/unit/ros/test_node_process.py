"""How a process around a node ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, sys
from densemtl_ros.node_process import end_after
class Library:
    def __del__(self):
        os.abort()  # what a library's destructors do to a process now and then
held = Library()
atexit.register(lambda: print("cleaned up"))
if {orderly}:
    end_after(5)
sys.stdout.write("done, ")
sys.exit(5)
"""


@pytest.mark.parametrize(("orderly", "code"), [(True, 5), (False, -6)])
def test_a_process_ends_after_its_clean_up_and_before_the_destructors_of_libraries(orderly, code):
    pytest.importorskip("rclpy")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(orderly=orderly)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    if orderly:
        assert done.stdout == "done, cleaned up\n"
