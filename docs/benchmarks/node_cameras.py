"""Several cameras on one node: how many frames a second it computes in all, and whether each gets its share."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from densemtl_ros.child_process import NodeProcess
from node_overhead import environment, listen
from soak import RAW, Watcher, parameters

NAMES = ("front", "left", "rear", "right")


def cameras(
    seconds: float, *, bundle: str = "", rate: float = 30.0, size: str = "320x192", names: Sequence[str] = NAMES
) -> dict[str, Any]:
    """Measure; every camera sends at ``rate``, all four raw outputs of each are subscribed to."""
    logs = Path(tempfile.mkdtemp(prefix="cameras_"))
    variables = environment(logs)
    settings = {"autostart": True, "budget_ms": 0.0, "cameras": list(names)} | ({"bundle": bundle} if bundle else {})
    watcher = Watcher([f"{name}/" for name in names])
    node = NodeProcess(
        "perception", "densemtl_ros.perception_node", parameters(**settings), variables, logs / "perception.log"
    )
    given = [str(rate), size, *names, "--ros-args"]
    bank = NodeProcess("camera_bank", "camera_bank", given, variables, logs / "camera_bank.log")
    try:
        listen(watcher, node, bank, 3.0)  # everybody has started
        before, began = watcher.heard.copy(), time.monotonic()
        watcher.listen(seconds)
        seconds = time.monotonic() - began
    finally:
        watcher.close()
        bank.stop()
        node.stop()
    # A frame counts when all four of its images have come; the rarest topic bounds that from above.
    rates = {name: min(watcher.heard[f"{name}/{t}"] - before[f"{name}/{t}"] for t in RAW) / seconds for name in names}
    mean = sum(rates.values()) / len(rates)
    told = next(iter(watcher.statuses.values()), {})
    kept = ("received", "processed", "dropped", "rejected", "age_at_publish_ms_p50", "age_at_publish_ms_p99")
    return {
        "source": f"{len(names)} cameras, {size} at {rate:g} Hz each",
        "frames_per_second": round(sum(rates.values()), 2),
        "by_camera": {name: round(value, 2) for name, value in rates.items()},
        "least_of_mean": round(min(rates.values()) / mean, 3),
        "bundle": {name: told.get(name, "unknown") for name in ("bundle", "precision", "backend", "device")},
        "diagnostics": {
            name: {key: float(values[key]) for key in kept if key in values}
            for name, values in watcher.statuses.items()
        },
    }
