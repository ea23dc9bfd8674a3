"""Under which conditions a time was measured: machine, versions, and whether other processes wanted the same cores."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path
from typing import Any

from deploy.machine import Machine
from deploy.probes.board import probe_cpu, probe_system

__all__ = ["IDLE_CORES", "Disturbance", "conditions", "warning"]

IDLE_CORES = 0.3
"""Other processes that keep no more than so many cores busy leave a machine idle enough to time on."""

LIBRARIES = ("densemtl-core", "numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch", "torch-tensorrt")


def conditions(threads: int | None) -> dict[str, Any]:
    """What a reader of the times has to know.

    Args:
        threads: that were asked for, None for each engine's own choice.

    Returns:
        ``date``, ``system``, ``cpu``, ``cores`` that this process may use, ``threads``, ``environment``,
        ``load_average`` of the last minute, ``versions``.
    """
    machine = Machine()
    system = probe_system(machine)
    versions = {name: machine.version(name) for name in LIBRARIES}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "system": system.detail,
        "cpu": probe_cpu(machine).detail,
        "cores": _cores(),
        "threads": threads,
        "environment": {
            name: os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ
        },
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {name: version for name, version in versions.items() if version},
    }


class Disturbance:
    """How many cores other processes kept busy inside a ``with`` block.

    Attributes:
        cores: their mean number over the block; None before its end, and where ``/proc/stat`` cannot be read.
    """

    cores: float | None = None

    def __enter__(self) -> Disturbance:
        self._start = time.monotonic(), _busy_seconds(), time.process_time()
        return self

    def __exit__(self, *exception: object) -> None:
        start, busy, own = self._start
        wall, busy_now = time.monotonic() - start, _busy_seconds()
        if busy is not None and busy_now is not None and wall > 0:
            self.cores = max(0.0, (busy_now - busy - (time.process_time() - own)) / wall)


def warning(load_average: float | None, others: float | None) -> str:
    """One line where the machine was not idle; else empty.

    Args:
        load_average: of the minute before the first engine was loaded; None where this command itself was at work.
        others: cores that other processes kept busy meanwhile, None if not known.
    """
    if max(others or 0.0, load_average or 0.0) <= IDLE_CORES:
        return ""
    told = [f"load average {load_average:.1f} before the start"] if load_average is not None else []
    told += [f"other processes kept {others:.1f} of {os.cpu_count()} cores busy meanwhile"] if others else []
    return f"this machine is not idle: {', '.join(told)}; trust the ratios more than the milliseconds"


def _busy_seconds() -> float | None:
    """Core seconds in which this machine did anything since it started."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0].split()
        user, nice, system, _, _, interrupts, soft_interrupts, stolen = (int(value) for value in line[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
