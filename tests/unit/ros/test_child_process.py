"""A child process ends when it is told to, one way or another, with everything it started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from densemtl_ros.child_process import NodeProcess

OBEDIENT = (
    "import signal, time\nprint('ready', flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass\n"
)
STUBBORN = (
    "import signal, time\n"
    "for number in (signal.SIGINT, signal.SIGTERM):\n    signal.signal(number, signal.SIG_IGN)\n"
    "print('ready', flush=True)\ntime.sleep(60)\n"
)
WITH_CHILD = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
    "print('ready', child.pid, flush=True)\ntime.sleep(60)\n"
)
FAILING = "print('loading')\nprint('[ERROR] no such bundle')\nprint('bye')\nraise SystemExit(3)\n"


@pytest.fixture
def start(tmp_path):
    started = []

    def make(code):
        (tmp_path / "child_module.py").write_text(code)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        started.append(NodeProcess("child", "child_module", [], environment, tmp_path / "child.log"))
        return started[-1]

    yield make
    for process in started:
        process.stop(patience=0.1)


def until(condition):
    end = time.monotonic() + 20
    while not (value := condition()):
        assert time.monotonic() < end, "waited 20 s"
        time.sleep(0.005)
    return value


def test_orderly_end(start):
    process = start(OBEDIENT)
    until(lambda: process.last_line() == "ready")
    assert process.returncode is None
    assert process.stop() == 0
    assert process.returncode == 0


def test_one_that_ignores_signals_is_killed(start, monkeypatch):
    process = start(STUBBORN)
    until(lambda: process.last_line() == "ready")
    sent = []
    send = process._signal
    monkeypatch.setattr(process, "_signal", lambda number: (sent.append(number), send(number)))
    assert process.stop(patience=0.2) == -signal.SIGKILL
    assert sent[:3] == [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


def test_what_it_started_itself_ends_too(start):
    process = start(WITH_CHILD)
    grandchild = int(until(lambda: process.last_line("ready")).split()[1])
    process.stop()
    status = Path(f"/proc/{grandchild}/stat")
    # Gone, or dead and not yet reaped by the init process.
    until(lambda: not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_last_words(start):
    process = start(FAILING)
    until(lambda: process.returncode is not None)
    assert process.returncode == 3
    assert process.last_line("[ERROR]") == "[ERROR] no such bundle"
    assert process.last_line() == "bye"
    assert process.last_line("nothing like it") == ""


def test_stopping_twice_is_harmless(start):
    process = start(OBEDIENT)
    until(lambda: process.last_line() == "ready")
    assert process.stop() == process.stop() == 0
