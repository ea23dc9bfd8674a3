"""What the node itself costs: everything from a frame's stamp to its four published images that is not the network.

Three processes share the machine: replay, the node (`node_probe.py`) and a subscriber to the four raw outputs; then,
with the same replay and the same subscriber, a node that publishes as many bytes and does nothing else
(`node_floor.py`). Overhead is counted frame by frame, as age at publishing minus the time in the network.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from densemtl_ros.child_process import NodeProcess
from densemtl_ros.stream_report import summary
from densemtl_ros.transport import transport_environment
from soak import Watcher, parameters

HERE = Path(__file__).parent


def environment(logs: Path) -> dict[str, str]:
    """Settle this process's ROS environment, and say it for children, which find these scripts too."""
    os.environ.update(
        transport_environment(),
        ROS_DOMAIN_ID=os.environ.get("ROS_DOMAIN_ID", str(1 + os.getpid() % 100)),
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        ROS_LOG_DIR=str(logs),
    )
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path}


def overhead(seconds: float, *, width: int, rate: float, bundle: str = "", threads: int = 0) -> dict[str, Any]:
    """Measure the node, then the floor; milliseconds."""
    logs = Path(tempfile.mkdtemp(prefix="overhead_"))
    variables = environment(logs)
    played = parameters(source="street", width=width, rate=rate, loop=True, street_budget=12.0, wait_timeout=300.0)
    settings = {"autostart": True, "threads": threads, "budget_ms": 0.0} | ({"bundle": bundle} if bundle else {})
    rows = {}
    watcher = Watcher()
    replay = NodeProcess("replay", "densemtl_ros.replay_node", played, variables, logs / "replay.log")
    try:
        for module, given in (("node_probe", parameters(**settings)), ("node_floor", ["--ros-args"])):
            file = logs / f"{module}.json"
            node = NodeProcess(module, module, [str(file), *given], variables, logs / f"{module}.log")
            try:
                listen(watcher, node, replay, seconds)
            finally:
                node.stop()
            rows[module] = json.loads(file.read_text())
    finally:
        watcher.close()
        replay.stop()
    return report(rows["node_probe"], rows["node_floor"]) | {"source": f"street, {width} wide at {rate:g} Hz"}


def listen(watcher: Watcher, node: NodeProcess, camera: NodeProcess, seconds: float) -> None:
    """Wait for answers on every topic, then listen for some time."""
    watcher.heard.clear()
    began = time.monotonic()
    while not all(watcher.heard[topic] for topic in watcher.topics):
        if time.monotonic() - began > 180 or node.returncode is not None or camera.returncode is not None:
            raise SystemExit(f"nothing came back: {node.last_line()} ({node.log}); {camera.last_line()} ({camera.log})")
        watcher.listen(0.2)
    watcher.listen(seconds)


def report(node: Sequence[Mapping[str, float]], floor: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Percentiles of each stage and of what remains when the network is taken away."""
    node, floor = node[len(node) // 10 :], floor[len(floor) // 10 :]  # the first ones come while everybody starts
    # From the camera callback to the worker: long only while the frame before is still in work.
    node = [{**row, "waiting": row["age_at_publish"] - row["age_at_input"] - row["total"]} for row in node]
    stages = {name: summary([row[name] for row in node if name in row]) for name in node[0]}
    result = {
        "frames": len(node),
        # Without the network alone: fitting the image to its input and its outputs to the image still count.
        "overhead_ms": summary([row["age_at_publish"] - row["infer.infer"] for row in node]),
        # Without `Predictor.predict`, which does these too.
        "overhead_without_predict_ms": summary([row["age_at_publish"] - row["infer"] for row in node]),
        "stages_ms": stages,
        "floor": {},
    }
    for kind in ("messages", "serialised"):
        chosen = [row for row in floor if row["kind"] == kind]
        result["floor"][kind] = {
            name: summary([row[name] for row in chosen])
            for name in ("age_at_input", "fill", "publish", "age_at_publish")
        }
    return result
