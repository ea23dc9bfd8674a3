"""The figures of a stream: how many frames, how old, where the time went; as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["as_table", "stages_from_diagnostics", "summary", "versions", "write_json"]

_STAGE = re.compile(r"^(?P<stage>.+)_ms_p(?P<percent>\d+)$")
AGE_AT_PUBLISH = "age_at_publish"


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles of durations in milliseconds: ``{"p50": ..., "p90": ..., "p99": ...}``; empty for no durations."""
    if not seconds:
        return {}
    return {f"p{p}": round(float(np.percentile(seconds, p)) * 1e3, 2) for p in (50, 90, 99)}


def stages_from_diagnostics(values: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Collect what a diagnostic status says about stages.

    Args:
        values: its key / value pairs; those named ``STAGE_ms_pNN`` are read.

    Returns:
        Stage to percentile to milliseconds.
    """
    stages: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        match = _STAGE.match(key)
        if match:
            stages.setdefault(match["stage"], {})[f"p{match['percent']}"] = float(value)
    return stages


def versions() -> dict[str, str]:
    """Versions of what took part; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in ("densemtl-core", "numpy", "opencv-python-headless", "torch", "onnxruntime", "rclpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def as_table(report: Mapping[str, Any]) -> str:
    """Write a report for a terminal."""
    wide = max([26, *(len(stage) + 2 for stage in report["stages_ms"])])
    rows = [
        ("source", f"{report['source']}, {report['width']} x {report['height']}"),
        ("bundle", f"{report['bundle']['name']} ({report['bundle']['preset']}, {report['bundle']['precision']})"),
        ("backend", f"{report['backend']} on {report['device']}"),
        ("frames in / out / dropped", f"{report['frames_in']} / {report['frames_out']} / {report['dropped']}"),
        ("rate in / out", f"{report['input_rate_hz']:.1f} / {report['output_rate_hz']:.1f} Hz"),
        ("images checked", f"{report['messages_checked']}, {report['problem_count']} wrong"),
        ("frames only in part", f"{report['incomplete']}"),
    ]
    lines = [f"  {name:<{wide}} {value}" for name, value in rows]
    lines.append(f"  {'milliseconds':<{wide}} {'p50':>8} {'p90':>8} {'p99':>8}")
    timed = {"stamp to publish": report["stamp_to_publish_ms"], "stamp to arrival": report["stamp_to_arrival_ms"]}
    timed |= {f"  {stage}": figures for stage, figures in report["stages_ms"].items()}
    for name, figures in timed.items():
        cells = (f"{figures[p]:8.2f}" if p in figures else " " * 8 for p in ("p50", "p90", "p99"))
        lines.append(f"  {name:<{wide}} {' '.join(cells)}".rstrip())
    return "\n".join(lines)


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report so that a reader sees the old file or the whole new one."""
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    os.replace(fresh, path)
