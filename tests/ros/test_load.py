"""Under load: a node that is asked for more than it can do, and one that is watched for a while."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_rig import CameraRig
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from test_faults import connect, start, status, tame, values

SOAK = Path(__file__).resolve().parents[2] / "docs/benchmarks/soak.py"
DELAY, RATE, FRAMES = 0.1, 30.0, 120


def test_a_camera_at_three_times_what_the_node_can_do(start_node, start_camera):
    rig: CameraRig = start_camera("/robot/perception")
    rig.listen("depth/image")
    start(start_node, "-p", "budget_ms:=0.0", before=("--delay", str(DELAY)))
    connect(rig, "depth/image")
    spoken = len(rig.statuses)
    rig.until(lambda: len(rig.statuses) > spoken + 1, "the node is idle and says so")
    before = {name: int(values(rig)[name]) for name in ("received", "processed", "dropped")}
    rig.received.clear()

    get_state = rig.tester.create_client(GetState, "/robot/perception/get_state")
    set_parameters = rig.tester.create_client(SetParameters, "/robot/perception/set_parameters")
    rig.until(lambda: get_state.service_is_ready() and set_parameters.service_is_ready(), "the services")
    change = Parameter("overlay_opacity", value=0.25).to_parameter_msg()
    sent, ages, controls = [], [], []
    image = tame(120, 160)
    begin = time.monotonic()
    while len(sent) < FRAMES:
        for client, request in (
            (get_state, GetState.Request()),
            (set_parameters, SetParameters.Request(parameters=[change])),
        ):
            asked = time.monotonic()
            future = client.call_async(request)
            while not future.done():
                if time.monotonic() >= begin + len(sent) / RATE and len(sent) < FRAMES:
                    sent.append(rig.message(image))
                    rig.camera.publish(sent[-1])
                rig._executor.spin_once(timeout_sec=0.002)
                assert time.monotonic() < asked + 10.0
            controls.append(time.monotonic() - asked)
    stamp = lambda m: m.header.stamp.sec * 10**9 + m.header.stamp.nanosec  # noqa: E731
    rig.until(lambda: rig.received["depth/image"][-1].header == sent[-1].header, "the newest frame wins")
    status(rig, lambda level, text: True, "the counts")
    status(rig, lambda level, text: True, "the counts, a second later")
    told = {name: int(values(rig)[name]) - before[name] for name in before}
    ages = [float(values(rig)[f"age_at_publish_ms_{p}"]) / 1e3 for p in ("p50", "p99")]
    print(f"controls p50, p99: {np.percentile(controls, (50, 99)).round(4)} s, {len(controls)} of them")
    print(f"ages {ages}, {told}")
    assert told["received"] == told["processed"] + told["dropped"], "nothing waits any more, nothing is lost"
    assert told["received"] <= FRAMES
    # The camera is this process, and publishes late on a busy machine: what it then overwrites never arrives.
    assert told["received"] > 0.7 * FRAMES, "the callback keeps up with the camera"
    assert told["dropped"] > told["processed"]
    stamps = [stamp(m) for m in rig.received["depth/image"]]
    assert stamps == sorted(set(stamps))
    # One interval and one inference, and margin for a busy machine; in a queue the last frame would be seconds old.
    assert ages[0] < 1 / RATE + 2 * DELAY
    assert ages[1] < 1 / RATE + 10 * DELAY
    assert np.median(controls) < 0.1
    assert max(controls) < 5.0


@pytest.mark.slow
def test_a_short_soak_with_the_shipped_bundle(tmp_path):
    pytest.importorskip("torch")
    out, frames_folder = tmp_path / "soak.json", tmp_path / "frames"
    frames_folder.mkdir()
    for number in range(8):
        cv2.imwrite(str(frames_folder / f"{number}.png"), tame(180, 320, seed=number))
    options = ("--seconds", "12", "--warm-up", "4", "--every", "0.5", "--source", str(frames_folder), "--out", str(out))
    done = subprocess.run([sys.executable, str(SOAK), *options], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    frames, figures = report["frames"], report["figures"]
    assert report["exit_codes"] == {"perception": 0, "replay": 0}
    assert frames["unexplained"] == 0, frames
    assert frames["processed"] > 20
    assert frames["missed"] <= 0.05 * frames["published_by_camera"], frames
    # One that comes and goes was seen on a busy machine; a leak of one a frame, or a second, would be a dozen.
    assert figures["threads"]["most"] <= figures["threads"]["least"] + 1, figures["threads"]
    assert figures["open_files"]["most"] <= figures["open_files"]["least"] + 2
    # Scaled to the half hour a leak of one small frame in ten would be far more than this.
    assert abs(figures["resident_mb"]["growth_percent"]) < 2.0, figures["resident_mb"]
