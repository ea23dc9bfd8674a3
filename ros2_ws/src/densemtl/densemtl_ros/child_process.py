"""A ROS 2 node as a child process that cannot outlive its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["NodeProcess"]

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _prepare_child() -> None:
    """Let SIGINT end this process, and ask the kernel to end it when its parent is gone, however that came about."""
    # A shell's background job (`make run &` in a script) hands "SIGINT is ignored" down to every process below it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class NodeProcess:
    """A Python module that runs as a node, in a process group of its own, its output in a log file.

    Args:
        name: how messages name it.
        module: what ``python -m`` runs.
        arguments: what comes after the module.
        environment: the whole environment of the process.
        log: file for its output.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self._ended = False
        with log.open("wb") as output:
            # A group of its own: Ctrl-C in the terminal reaches only the parent, which then ends its children in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", module, *arguments],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_prepare_child,
            )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, or None while it runs."""
        return self._process.poll()

    def last_line(self, containing: str = "") -> str:
        """Take the last line of the output that holds some text; an empty string when none does."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip() and containing in line), "")

    def stop(self, patience: float = 8.0) -> int:
        """End the whole group: SIGINT, then SIGTERM, then SIGKILL, and wait.

        Args:
            patience: seconds for the orderly way out.

        Returns:
            Exit status; negative = the signal that ended it.
        """
        if self._ended:
            return self._process.wait()
        self._ended = True
        for number, seconds in ((signal.SIGINT, patience), (signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
            if self._process.poll() is not None:
                break
            self._signal(number)
            end = time.monotonic() + seconds
            while self._process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
        # Whatever it started itself shares the group.
        self._signal(signal.SIGKILL)
        return self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
