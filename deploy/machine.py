"""A machine as the doctor sees it: its files, its programs, and imports that may raise anything, crash or hang."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Machine", "shortened"]

ROOT = Path(__file__).resolve().parents[1]
LONGEST_ERROR = 150
MARK = "doctor-facts:"


@dataclass
class Machine:
    """Where the probes look. The defaults are this machine; tests give another.

    Attributes:
        root: of the file system.
        environment: variables; ``PATH`` is where programs are looked for.
        python: command that starts the interpreter whose libraries count.
        site: folders with installed distributions, None for those of this process.
        architecture: as ``uname -m`` says it.
        timeout: seconds that a program or an import may take.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    python: Sequence[str] = (sys.executable,)
    site: Sequence[str] | None = None
    architecture: str = field(default_factory=platform.machine)
    timeout: float = 60.0
    _proofs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _running: set[int] = field(default_factory=set)
    _stopped: bool = False

    def read(self, path: str) -> str:
        """Text of a file, empty where there is none."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip("\0\n ")
        except OSError:
            return ""

    def program(self, name: str, *folders: str) -> str:
        """Path of a program on PATH or in other folders, empty where there is none."""
        places = [str(self.root / folder.lstrip("/")) for folder in folders]
        return shutil.which(name, path=os.pathsep.join([self.environment.get("PATH", ""), *places])) or ""

    def run(self, *command: str) -> tuple[int | None, str, str]:
        """Exit status (None: took too long), standard output and standard error of a command."""
        if self._stopped:
            return 127, "", "the machine was stopped"
        try:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=dict(self.environment),
                start_new_session=True,
            )
        except OSError as error:
            return 127, "", str(error)
        self._running.add(process.pid)
        if self._stopped:  # between the question above and here
            _end(process.pid)
        try:
            out, err = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            _end(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):  # what left the session may keep them open: let it
                process.communicate(timeout=5)
            return None, "", ""
        finally:
            self._running.discard(process.pid)
        return process.returncode, out, err

    def stop(self) -> None:
        """End every command that runs, and start none any more."""
        self._stopped = True
        for identity in tuple(self._running):
            _end(identity)

    def version(self, *distributions: str) -> str:
        """Version of the first of these that is installed, empty for none. Nothing is imported."""
        path = sys.path if self.site is None else list(self.site)
        for name in distributions:
            for found in metadata.distributions(name=name, path=path):
                try:
                    return found.version or "unknown"
                except Exception:  # half-removed: the folder is there and tells nothing
                    return "unknown"
        return ""

    def prove(self, code: str) -> dict[str, Any]:
        """Run Python that fills ``facts`` in a process of its own, once for each code. Threads may call it.

        Returns:
            The facts; with ``error``, one line, where it raised, crashed or hung.
        """
        with self._locks.setdefault(code, threading.Lock()):
            if code not in self._proofs:
                self._proofs[code] = self._prove(code)
            return self._proofs[code]

    def _prove(self, code: str) -> dict[str, Any]:
        script = (
            "import json, os, sys\n"
            f"sys.path[:] = [p for p in sys.path if p] + [{str(ROOT)!r}]\n"
            "facts = {}\n"
            "try:\n" + textwrap.indent(code, "    ") + "\n"
            "except BaseException as error:\n"
            "    facts = {'error': f'{type(error).__name__}: {error}'}\n"
            f"print('\\n' + {MARK!r} + json.dumps(facts), flush=True)\n"
            "os._exit(0)\n"  # what a library does when the interpreter ends is not asked
        )
        status, out, err = self.run(*self.python, "-c", script)
        if status is None:
            return {"error": f"hung: gave no answer in {self.timeout:g} s"}
        for line in reversed(out.splitlines()):
            if line.startswith(MARK):
                facts: dict[str, Any] = json.loads(line[len(MARK) :])
                return {k: shortened(v) if k == "error" else v for k, v in facts.items()}
        if status < 0:
            return {"error": f"crashed with {signal.Signals(-status).name}"}
        last = err.strip().splitlines()[-1:] or ["no output"]
        return {"error": shortened(f"exit status {status}: {last[0]}")}

    @property
    def jetson(self) -> bool:
        """Whether this is an NVIDIA Jetson."""
        return bool(self.read("/etc/nv_tegra_release")) or "jetson" in self.read("/proc/device-tree/model").lower()

    @property
    def nvidia(self) -> bool:
        """Whether an NVIDIA driver is loaded."""
        return self.jetson or bool(self.read("/proc/driver/nvidia/version"))


def shortened(text: object) -> str:
    """The first sentence, on one line."""
    line = " ".join(str(text).split()).partition(". ")[0]
    return line if len(line) <= LONGEST_ERROR else f"{line[: LONGEST_ERROR - 3]}..."


def _end(process: int) -> None:
    """Kill a process, with whatever it started, which would keep the pipes open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
