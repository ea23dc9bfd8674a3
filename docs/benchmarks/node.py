"""How the ROS 2 node keeps up: real processes, real DDS.

    python docs/benchmarks/node.py --bundle INT8.bundle      # writes docs/benchmarks/node.json and node.md

Three measurements, each with every process on this machine's cores:

* ``runs``: the demo, whose subscriber checks every message; a 640x360 stream at a rate that the node cannot reach, so
  that its own speed shows and frames are dropped, and a 1280x720 stream.
* ``overhead``: what the node costs apart from its network at 1280x720, and what the middleware alone costs for as many
  bytes (`node_overhead.py`).
* ``cameras``: four cameras at 320x192 on one node, with the bundle of ``--bundle`` (`node_cameras.py`).

``soak`` is taken over from soak.json, which `soak.py` writes in half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from node_cameras import cameras
from node_overhead import overhead

RUNS = {"640x360 at 30 Hz": ("640", "30"), "1280x720 at 10 Hz": ("1280", "10")}
KEPT = (
    "frames_in", "frames_out", "dropped", "input_rate_hz", "output_rate_hz", "stamp_to_publish_ms",
    "stamp_to_publish_measured_by", "stages_ms", "messages_checked", "problem_count",
    "backend", "device", "cpus", "bundle",
)  # fmt: skip
STAGES = (
    "age_at_input", "waiting", "decode", "infer.preprocess", "infer.infer", "infer.postprocess", "encode", "publish",
    "age_at_publish",
)  # fmt: skip


def demo(width: str, rate: str, seconds: float) -> dict[str, Any]:
    """One run; what its latency.json says."""
    with tempfile.TemporaryDirectory() as out:
        command = ["-m", "densemtl_ros.demo", "--source", "street", "--width", width, "--rate", rate]
        subprocess.run(  # noqa: S603
            [sys.executable, *command, "--seconds", str(seconds), "--out", out], check=True, stdout=subprocess.DEVNULL
        )
        report = json.loads((Path(out) / "latency.json").read_text())
    return {key: report[key] for key in KEPT}


def runs_table(report: dict[str, Any]) -> list[str]:
    """The streams as Markdown."""
    first = next(iter(report["runs"].values()))
    lines = [
        f"{first['bundle']['preset']}, {first['bundle']['precision']} on {first['backend']}; four raw topics, "
        "confidence and the classes' colours subscribed.",
        "",
        "| stream | out, Hz | frames in / out / dropped | stamp to publish p50 / p90 / p99, ms | inference p50, ms "
        "| hand-off p50 / p99, ms | checks failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in report["runs"].items():
        age, stages = run["stamp_to_publish_ms"], run["stages_ms"]
        lines.append(
            f"| {name} | {run['output_rate_hz']} | {run['frames_in']} / {run['frames_out']} / {run['dropped']} "
            f"| {age['p50']:.0f} / {age['p90']:.0f} / {age['p99']:.0f} | {stages['infer']['p50']:.0f} "
            f"| {stages['hand_over']['p50']:.2f} / {stages['hand_over']['p99']:.2f} "
            f"| {run['problem_count']} of {run['messages_checked']} |"
        )
    return lines


def overhead_table(measured: dict[str, Any]) -> list[str]:
    """Where the time of a frame goes, beside a node that only publishes as many bytes."""
    floor = measured["floor"]
    lines = [
        "## What the node costs apart from its network",
        "",
        f"{measured['source']}, {measured['frames']} frames, the four raw outputs subscribed; the floor is a node that "
        "only publishes as many bytes. Milliseconds, p50 / p99.",
        "",
        "| | node | floor, as messages | floor, serialised beforehand |",
        "|---|---|---|---|",
    ]
    cell = lambda f: f"{f['p50']:.1f} / {f['p99']:.1f}" if f else ""  # noqa: E731
    for stage in STAGES:
        other = "fill" if stage == "encode" else stage
        cells = [measured["stages_ms"].get(stage), *(floor[kind].get(other) for kind in ("messages", "serialised"))]
        lines.append(f"| {stage.replace('_', ' ')} | {' | '.join(map(cell, cells))} |")
    for name, words in (
        ("overhead_ms", "stamp to publish without the network"),
        ("overhead_without_predict_ms", "the same without resizing in and out"),
    ):
        lines.append(f"| **{words}** | **{cell(measured[name])}** | | |")
    lines += [
        "",
        "Read it so: the floor's age at publishing is what a process that does nothing else needs from the stamp to "
        "the last of four messages, 16.6 MB, camera and subscriber at work beside it. The node cannot be faster; "
        "what is left to gain there is the middleware's. `output_scale: 0.5` sends a quarter of the bytes.",
    ]
    return lines


def cameras_table(measured: dict[str, Any]) -> list[str]:
    """The share of each camera."""
    bundle = measured["bundle"]
    shares = ", ".join(f"{name} {rate:.1f}" for name, rate in measured["by_camera"].items())
    return [
        "## Several cameras",
        "",
        f"{measured['source']}; {bundle['bundle']}, {bundle['precision']} on {bundle['backend']}: "
        f"**{measured['frames_per_second']:.1f} frames a second** in all ({shares}); the least of them has "
        f"{100 * measured['least_of_mean']:.0f} % of the mean.",
    ]


def soak_table(soak: dict[str, Any]) -> list[str]:
    """Half an hour in one paragraph."""
    frames, figures = soak["frames"], soak["figures"]
    overwritten = frames["missed"] + frames.get("overwritten", 0)
    return [
        "## Left alone",
        "",
        f"`{soak['command']}`: {soak['seconds'] / 60:.0f} minutes, {frames['received']} frames received = "
        f"{frames['processed']} processed + {frames['dropped']} dropped + {frames['unexplained']} unexplained; "
        f"{overwritten} of the camera's {frames['published_by_camera']} were replaced by "
        "newer ones in the middleware before the node took them. "
        f"Resident memory {figures['resident_mb']['median']:.0f} MB, growth "
        f"{figures['resident_mb']['growth_percent']:.3f} %; threads {figures['threads']['least']:.0f} to "
        f"{figures['threads']['most']:.0f}, open files {figures['open_files']['least']:.0f} to "
        f"{figures['open_files']['most']:.0f}.",
    ]


def table(report: dict[str, Any]) -> str:
    """The figures as Markdown."""
    cpus = report["machine"]["cpus"]
    parts = [
        [f"# The node on {cpus} CPU cores", "", f"`{report['command']}`; {cpus} cores shared by all processes."],
        runs_table(report) if "runs" in report else [],
        overhead_table(report["overhead"]) if "overhead" in report else [],
        cameras_table(report["cameras"]) if "cameras" in report else [],
        soak_table(report["soak"]) if "soak" in report else [],
        ["A shared machine: compare figures within one run only. None comes from a GPU or a Jetson."],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--bundle", default="", help="for the several cameras; default: the one that ships")
    parser.add_argument("--only", choices=("runs", "overhead", "cameras"), help="measure this, keep the rest of --out")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    measurements = {
        "runs": lambda: {name: demo(width, rate, given.seconds) for name, (width, rate) in RUNS.items()},
        "overhead": lambda: overhead(given.seconds, width=1280, rate=5.0),
        "cameras": lambda: cameras(given.seconds, bundle=given.bundle),
    }
    old = json.loads(given.out.read_text()) if given.only and given.out.exists() else {}
    report = old | {
        "command": f"python docs/benchmarks/node.py --seconds {given.seconds:g}"
        + (f" --bundle {Path(given.bundle).name}" if given.bundle else ""),
        "machine": {"cpus": os.cpu_count()},
    }
    for name, measure in measurements.items():
        if given.only in (None, name):
            report[name] = measure()
    soaked = Path(__file__).with_name("soak.json")
    if soaked.exists():
        report["soak"] = {k: v for k, v in json.loads(soaked.read_text()).items() if k != "samples"}
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
