"""Whether the ROS 2 node can be left alone: memory, threads, open files, latency and every frame, over half an hour.

    python docs/benchmarks/soak.py                      # 30 minutes; writes docs/benchmarks/soak.json
    python docs/benchmarks/soak.py --seconds 120        # a shorter look

Three processes: the replay node as camera, the perception node with the shipped bundle, and this one, which subscribes
to the four raw outputs and looks at the node's process from outside (``/proc``; Linux). Growth is the slope of a
Theil-Sen line (the median of the slopes between all pairs of samples) through what was sampled after the warm-up, times
that time, in per cent of the median: a single odd sample does not move it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from densemtl_ros.child_process import NodeProcess
from densemtl_ros.stream_report import versions
from densemtl_ros.transport import transport_environment

RAW = ("semantic/image", "depth/image", "normals/image", "edges/image")
LATENCY = ("age_at_publish_ms_p50", "age_at_publish_ms_p99")


def process_figures(pid: int) -> dict[str, float]:
    """Resident memory in MB (all; without what is shared or mapped from files), threads and open files of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return {
        "resident_mb": int(status["VmRSS"].split()[0]) / 1024,
        "anonymous_mb": int(status["RssAnon"].split()[0]) / 1024,
        "threads": int(status["Threads"]),
        "open_files": len(os.listdir(f"/proc/{pid}/fd")),
    }


def growth(seconds: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Robust growth of a figure over the time that it was sampled."""
    t, v = np.asarray(seconds, float), np.asarray(values, float)
    first, second = np.triu_indices(len(t), 1)
    slope = float(np.median((v[second] - v[first]) / (t[second] - t[first])))
    middle = float(np.median(v))
    return {
        "median": round(middle, 2),
        "least": round(float(v.min()), 2),
        "most": round(float(v.max()), 2),
        "growth_percent": round(100.0 * slope * float(t[-1] - t[0]) / middle, 3) if middle else 0.0,
    }


def account(camera: int, counts: dict[str, int]) -> dict[str, int]:
    """Where every frame of the camera went; call when nothing is on its way any more.

    ``unexplained`` are frames that reached the node and are in none of its counts; ``missed`` those that the camera
    published and the node neither received nor reported as lost in transport or overwritten there by a newer one.
    """
    kept = ("received", "processed", "dropped", "unwanted", "rejected", "inference_failures", "lost_in_transport")
    told = {name: counts[name] for name in kept}
    told["unexplained"] = told["received"] - sum(told[name] for name in kept[1:6])
    told["overwritten"] = counts.get("overwritten_before_callback", 0)
    told["missed"] = camera - told["received"] - told["lost_in_transport"] - told["overwritten"]
    return {"published_by_camera": camera, **told}


class Watcher:
    """Subscribes to the camera's infos, the node's four raw images and its diagnostics.

    Args:
        prefixes: of the topics of each camera, ``front/`` say; one camera has none.

    Attributes:
        topics: the images listened to.
        camera: camera infos so far.
        heard: images so far by prefix and topic.
        values: the newest diagnostic values.
        statuses: the same by status name.
        spoken: statuses so far.
        levels: how often each level was told.
    """

    def __init__(self, prefixes: Sequence[str] = ("",)) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import CameraInfo, Image

        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self.node = rclpy.create_node("soak")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.camera = 0
        self.heard: Counter[str] = Counter()
        self.values: dict[str, str] = {}
        self.statuses: dict[str, dict[str, str]] = {}
        self.spoken = 0
        self.levels: Counter[str] = Counter()
        reliable = ReliabilityPolicy.RELIABLE
        every = QoSProfile(depth=2000, reliability=reliable)
        self.node.create_subscription(CameraInfo, "camera_info", self._on_info, every)
        self.topics = [prefix + topic for prefix in prefixes for topic in RAW]
        for topic in self.topics:
            qos = QoSProfile(depth=2, reliability=reliable)
            self.node.create_subscription(Image, f"perception/{topic}", lambda _, t=topic: self.heard.update([t]), qos)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_info(self, _: Any) -> None:
        self.camera += 1

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith("perception"):
                self.values = self.statuses[status.name] = {pair.key: pair.value for pair in status.values}
                self.levels.update([("ok", "warn", "error", "stale")[status.level[0]]])
                self.spoken += 1

    def listen(self, seconds: float) -> None:
        """Serve callbacks for some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.2))

    def close(self) -> None:
        """Destroy the node."""
        self._executor.shutdown(timeout_sec=2.0)
        self.node.destroy_node()
        self._rclpy.try_shutdown()


def parameters(**values: Any) -> list[str]:
    """Parameters as a command line."""
    return ["--ros-args", *(part for name, value in values.items() for part in ("-p", f"{name}:={json.dumps(value)}"))]


def soak(given: argparse.Namespace) -> dict[str, Any]:
    """Run the processes and sample; the report."""
    logs = Path(tempfile.mkdtemp(prefix="soak_"))
    os.environ.update(
        transport_environment(),
        ROS_DOMAIN_ID=os.environ.get("ROS_DOMAIN_ID", str(1 + os.getpid() % 100)),
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        ROS_LOG_DIR=str(logs),
    )
    # Reliable from the first frame: `auto` subscribes anew when the camera appears, and which frames that costs nobody
    # counts.
    node_parameters = {"autostart": True, "threads": given.threads, "input_reliability": "reliable", "budget_ms": 0.0}
    if given.bundle:
        node_parameters["bundle"] = given.bundle
    node = NodeProcess(
        "perception", "densemtl_ros.perception_node", parameters(**node_parameters), os.environ, logs / "perception.log"
    )
    camera = NodeProcess(
        "replay",
        "densemtl_ros.replay_node",
        parameters(
            source=given.source, rate=given.rate, width=given.width, loop=True, street_budget=5.0, wait_timeout=300.0
        ),
        os.environ,
        logs / "replay.log",
    )
    watcher = Watcher()
    try:
        return watch(watcher, node, camera, given)
    finally:
        watcher.close()
        camera.stop()
        node.stop()


def watch(watcher: Watcher, node: NodeProcess, camera: NodeProcess, given: argparse.Namespace) -> dict[str, Any]:
    """Sample the node while the camera plays, then let everything come to rest and count."""
    began = time.monotonic()
    while not all(watcher.heard[topic] for topic in RAW):
        if time.monotonic() - began > 180 or node.returncode is not None or camera.returncode is not None:
            raise SystemExit(f"nothing came back: {node.last_line()} ({node.log}); {camera.last_line()} ({camera.log})")
        watcher.listen(0.2)
    began = time.monotonic()
    samples: list[dict[str, float]] = []
    while (elapsed := time.monotonic() - began) < given.seconds:
        watcher.listen(given.every)
        if node.returncode is not None:
            raise SystemExit(f"the node ended, exit status {node.returncode}: {node.last_line()} ({node.log})")
        latency = {name: float(watcher.values[name]) for name in LATENCY if name in watcher.values}
        samples.append({"seconds": round(elapsed + given.every, 1), **process_figures(node.pid), **latency})
    seconds = time.monotonic() - began
    camera_status = camera.stop()
    spoken = watcher.spoken
    watcher.listen(2.0)  # what is on its way arrives ...
    while watcher.spoken < spoken + 4:  # ... and the node's counts are told once a second
        watcher.listen(0.2)
    frames = account(watcher.camera, {k: int(v) for k, v in watcher.values.items() if v.isdigit()})
    node_status = node.stop()
    steady = [sample for sample in samples if sample["seconds"] >= given.warm_up and LATENCY[0] in sample]
    figures = {
        name: growth([s["seconds"] for s in steady], [s[name] for s in steady])
        for name in steady[0]
        if name != "seconds"
    }
    return {
        "command": f"python docs/benchmarks/soak.py --seconds {given.seconds:g} --warm-up {given.warm_up:g}",
        "machine": {"cpus": os.cpu_count()},
        "seconds": round(seconds, 1),
        "warm_up_seconds": given.warm_up,
        "source": f"{given.source}, {given.width} wide at {given.rate:g} Hz",
        "threads": given.threads,
        "bundle": {
            name: watcher.values[name] for name in ("bundle", "bundle_sha256", "precision", "backend", "device")
        },
        "versions": versions(),
        "frames": frames,
        "heard_by_subscriber": dict(watcher.heard),
        "diagnostic_levels": dict(watcher.levels),
        "exit_codes": {"perception": node_status, "replay": camera_status},
        "figures": figures,
        "samples": samples,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--warm-up", type=float, default=180.0, help="seconds that growth does not look at")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--source", default="street", help="as the replay node takes it")
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second of the camera")
    parser.add_argument("--width", type=int, default=320, help="of its images")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for inference")
    parser.add_argument("--bundle", default="", help="folder of a bundle; default: the one that ships")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    if given.seconds < given.warm_up + 3 * given.every:
        parser.error("--seconds must leave at least three samples after --warm-up")
    report = soak(given)
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in ("seconds", "frames", "figures", "exit_codes")}, indent=1))


if __name__ == "__main__":
    main()
