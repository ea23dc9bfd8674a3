"""What the doctor looks for, one function each, and running them all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from deploy.finding import Finding
from deploy.machine import Machine
from deploy.probes.board import probe_cpu, probe_jetpack, probe_memory, probe_system
from deploy.probes.libraries import probe_modelopt, probe_onnxruntime, probe_openvino, probe_timm
from deploy.probes.nvidia import (
    probe_cuda,
    probe_gpu,
    probe_tensorrt,
    probe_torch,
    probe_torch_tensorrt,
    probe_trtexec,
)
from deploy.probes.robotics import probe_cv_bridge, probe_densemtl, probe_ros

__all__ = ["PROBES", "Probe", "at_once", "examine"]

Probe = Callable[[Machine], Finding]

PROBES: tuple[Probe, ...] = (
    probe_system,
    probe_cpu,
    probe_memory,
    probe_jetpack,
    probe_gpu,
    probe_cuda,
    probe_tensorrt,
    probe_trtexec,
    probe_torch,
    probe_timm,
    probe_torch_tensorrt,
    probe_onnxruntime,
    probe_openvino,
    probe_modelopt,
    probe_ros,
    probe_cv_bridge,
    probe_densemtl,
)
"""In the order of the report."""

SLOWEST = (probe_torch_tensorrt, probe_modelopt, probe_timm, probe_gpu)
"""Imports that take seconds, the longest first: started first, so that none is left to run alone at the end."""

LARGEST_IMPORT = 2 * 2**20
"""kB of memory left free for each import that runs; out of memory, a library would look broken that is not."""


def examine(machine: Machine, tell: Callable[[str], None] = lambda name: None) -> dict[str, Finding]:
    """Run every probe, several at once: most of them wait for an import in a process of its own.

    Args:
        machine: to look at.
        tell: hears the name of the probe that is waited for: an import may take its time.

    Returns:
        Name to finding, in the order of `PROBES`.
    """
    pool = ThreadPoolExecutor(at_once(machine))
    try:
        started = {probe: pool.submit(probe, machine) for probe in dict.fromkeys((*SLOWEST, *PROBES))}
        findings = {}
        for probe in PROBES:
            tell(probe.__name__[len("probe_") :])
            finding = started[probe].result()
            findings[finding.name] = finding
        return findings
    except BaseException:
        machine.stop()  # interrupted: an import that goes on would keep the program from ending
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def at_once(machine: Machine) -> int:
    """How many probes may run at the same time: one a core, up to four, as far as there is memory for their imports."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = re.search(r"^MemAvailable:\s+(\d+) kB", machine.read("/proc/meminfo"), re.MULTILINE)
    room = int(free[1]) // LARGEST_IMPORT if free else cores
    return max(1, min(cores, room, 4))
