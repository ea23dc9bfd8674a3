"""The computer itself: operating system, processor, memory, JetPack."""

from __future__ import annotations

import os
import platform
import re
import sys

from deploy.finding import Finding
from deploy.machine import Machine
from deploy.tensorrt_versions import JETPACK_OF_L4T

__all__ = ["probe_cpu", "probe_jetpack", "probe_memory", "probe_system"]

CPU_FEATURES = {
    "avx2": "AVX2",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX",
    "asimddp": "asimddp",
    "i8mm": "i8mm",
    "bf16": "bf16",
}
INT8_FEATURES = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


def probe_system(machine: Machine) -> Finding:
    """Operating system, architecture and Python."""
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', machine.read("/etc/os-release"), re.MULTILINE)
    python = platform.python_version()
    detail = f"{name[1] if name else platform.system()}, {machine.architecture}, Python {python}"
    facts = {"architecture": machine.architecture, "python": python}
    if sys.version_info < (3, 10):  # noqa: UP036  the one file that must run where the package cannot
        return Finding("system", "broken", detail, "install Python 3.10 to 3.13", facts)
    return Finding("system", "ok", detail, facts=facts)


def probe_cpu(machine: Machine) -> Finding:
    """Processor, and the instructions that make INT8 and bfloat16 fast."""
    lines = [line.partition(":") for line in machine.read("/proc/cpuinfo").splitlines()]
    entries = {key.strip().lower(): value.strip() for key, _, value in lines}
    cores = sum(key.strip() == "processor" for key, _, _ in lines) or os.cpu_count() or 1
    flags = set((entries.get("flags") or entries.get("features") or "").split())
    known = [label for flag, label in CPU_FEATURES.items() if flag in flags]
    speed = "" if flags & INT8_FEATURES else "; no INT8 dot products: INT8 gains little on this CPU"
    detail = (
        f"{cores} x {entries.get('model name', machine.architecture)}: {', '.join(known) or 'no vector extras'}{speed}"
    )
    return Finding("cpu", "ok", detail, facts={"cores": cores, "features": known})


def probe_memory(machine: Machine) -> Finding:
    """Main memory."""
    sizes = {
        k: int(v) / 2**20 for k, v in re.findall(r"^(\w+):\s+(\d+) kB", machine.read("/proc/meminfo"), re.MULTILINE)
    }
    if "MemTotal" not in sizes:
        return Finding("memory", "absent", "/proc/meminfo cannot be read")
    shared = "; the GPU uses the same memory" if machine.jetson else ""
    detail = f"{sizes['MemTotal']:.1f} GiB, {sizes.get('MemAvailable', 0):.1f} GiB available{shared}"
    return Finding("memory", "ok", detail, facts={"total_gib": round(sizes["MemTotal"], 2)})


def probe_jetpack(machine: Machine) -> Finding:
    """JetPack and Jetson Linux (L4T)."""
    if not machine.jetson:
        return Finding("jetpack", "absent", "not a Jetson")
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", machine.read("/etc/nv_tegra_release"))
    l4t = re.sub(r"\.0$", "", f"{release[1]}.{release[2]}") if release else "unknown"
    status, out, _ = machine.run("dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack")
    jetpack = out.strip().partition("+")[0] if status == 0 else ""
    model = machine.read("/proc/device-tree/model") or "Jetson"
    facts = {"l4t": l4t, "jetpack": jetpack or JETPACK_OF_L4T.get(l4t, ""), "model": model}
    detail = f"{model}, JetPack {facts['jetpack'] or 'unknown'}, L4T {l4t}"
    if not jetpack:
        install = "sudo apt-get install nvidia-jetpack"
        return Finding("jetpack", "absent", f"{detail}; the package nvidia-jetpack is not installed", install, facts)
    return Finding("jetpack", "ok", detail, facts=facts)
