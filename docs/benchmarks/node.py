"""How the ROS 2 node keeps up: real processes, real DDS, a subscriber that checks every message.

    python docs/benchmarks/node.py               # writes docs/benchmarks/node.json and node.md

Two runs of the demo on this machine, with the shipped bundle: a 640x360 stream at a rate that the node cannot reach, so
that its own speed shows and frames are dropped; and a 1280x720 stream, for the time a camera callback takes from the
message to the newest-frame slot (``hand_over``). Replay, node and subscriber share the machine's cores.
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

RUNS = {"640x360 at 30 Hz": ("640", "30"), "1280x720 at 10 Hz": ("1280", "10")}
KEPT = (
    "frames_in", "frames_out", "dropped", "input_rate_hz", "output_rate_hz", "stamp_to_publish_ms",
    "stamp_to_publish_measured_by", "stages_ms", "messages_checked", "problem_count",
    "backend", "device", "cpus", "bundle",
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


def table(report: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "# The node on two CPU cores",
        "",
        f"`{report['command']}`; {report['machine']['cpus']} cores shared by replay, node and subscriber; "
        f"{next(iter(report['runs'].values()))['bundle']['preset']} in PyTorch; four raw topics, confidence and "
        "colours subscribed.",
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
    lines += [
        "",
        "A shared machine: compare figures within one run only. None comes from a GPU or a Jetson.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    report = {
        "command": f"python docs/benchmarks/node.py --seconds {given.seconds:g}",
        "machine": {"cpus": os.cpu_count()},
        "runs": {name: demo(width, rate, given.seconds) for name, (width, rate) in RUNS.items()},
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
