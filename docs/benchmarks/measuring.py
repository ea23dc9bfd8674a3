"""Time and memory as the benchmarks of this folder take them."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["extra_peak", "in_turns", "resident"]


def in_turns(
    calls: Mapping[str, Callable[[], object]], repeats: int, settle: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of each call, ``repeats`` times in turns; the order shifts by one each turn.

    Args:
        calls: by name; that they have run before is the caller's affair.
        repeats: of each.
        settle: waits until a device has done what was asked of it; before and after each call.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            settle()
            start = time.perf_counter()
            calls[name]()
            settle()
            times[name].append(time.perf_counter() - start)
    return times


def resident(field: str = "VmRSS") -> float:
    """A memory field of /proc/self/status in MiB: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def extra_peak(call: Callable[[], object]) -> float:
    """MiB by which the resident set grows at most while ``call`` runs.

    Linux forgets the peak through /proc/self/clear_refs. What was freed before goes back to it first: a call that moves
    into freed memory would seem to need none.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    call()
    return max(0.0, resident("VmHWM") - before)
