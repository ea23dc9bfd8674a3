"""`make run` without make: the real command, real nodes, real DDS, on a tiny folder of images and a tiny bundle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", exc_type=ImportError)
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.ros

SIZE = (90, 160)
RAW_AND_PICTURES = 6
ENDS = 120


@pytest.fixture(scope="module")
def pristine_bundle(tmp_path_factory) -> Path:
    from densemtl_core.models import ModelDescription, build_model
    from densemtl_core.tasks import make_tasks
    from deploy.bundling import package

    torch.manual_seed(0)
    names = ("road", "sky", "car", "tree", "person")
    tasks = make_tasks(["semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges"], class_names=names)
    path = tmp_path_factory.mktemp("bundles") / "tiny.bundle"
    return package(
        build_model("densemtl_edge_s", tasks), ModelDescription("densemtl_edge_s", tasks, (64, 96)), path
    ).path


@pytest.fixture
def bundle(pristine_bundle, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(pristine_bundle, tmp_path / "tiny.bundle"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("drive")
    for number in range(12):
        picture = np.full((*SIZE, 3), 60, np.uint8)
        cv2.circle(picture, (10 + 12 * number, 45), 20, (40, 40, 220), -1)
        assert cv2.imwrite(str(path / f"{number}.png"), picture)
    return path


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "densemtl_ros.demo", *map(str, arguments)]


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=ENDS)


def nodes_of(out: Path) -> list[int]:
    """Processes that were started for this output folder and still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"densemtl_ros." in line and str(out / "log").encode() in environment:
            found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def finished(pristine_bundle, folder, tmp_path_factory):
    """One good run for several tests."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = run("--source", folder, "--seconds", 4, "--rate", 8, "--bundle", pristine_bundle, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return done, out


def test_figures(finished):
    _, out = finished
    report = json.loads((out / "latency.json").read_text())
    # All frames from the first image out on: the loop lets 4 s of them in, and the queue is one frame deep.
    assert 24 <= report["frames_in"] <= 60
    assert 5 <= report["frames_out"] <= report["frames_in"]
    assert report["dropped"] == report["frames_in"] - report["frames_out"]
    assert report["input_rate_hz"] == pytest.approx(8.0, rel=0.1)
    assert 0 < report["output_rate_hz"] <= report["input_rate_hz"] * 1.05
    latency = report["stamp_to_publish_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] < 20_000
    for stage in ("decode", "infer", "encode", "publish"):
        assert 0 < report["stages_ms"][stage]["p50"] <= report["stages_ms"][stage]["p99"]
    assert report["stages_ms"]["infer"]["p50"] <= report["stamp_to_arrival_ms"]["p99"]
    assert (report["width"], report["height"]) == SIZE[::-1]
    assert report["messages_checked"] >= RAW_AND_PICTURES * report["frames_out"]
    assert report["problems"] == []
    assert report["problem_count"] == 0
    assert report["backend"] == "eager"
    assert report["bundle"]["preset"] == "densemtl_edge_s"
    assert len(report["bundle"]["sha256"]) == 64
    assert {"python", "numpy", "rclpy", "torch"} <= set(report["versions"])


def test_the_nodes_own_counts_agree(finished):
    _, out = finished
    report = json.loads((out / "latency.json").read_text())
    counted = report["diagnostics"]
    assert int(counted["processed"]) == pytest.approx(report["frames_out"], abs=1)
    assert int(counted["received"]) == pytest.approx(report["frames_in"], abs=2)
    assert counted["rejected"] == "0"


def test_pictures(finished):
    _, out = finished
    panel, strip = (cv2.imread(str(out / name)) for name in ("panel.png", "strip.png"))
    assert panel.shape[1] == strip.shape[1] == 1440
    first = panel[24 : 24 + 270, :480]  # the input: a red circle on grey, in the true colours
    assert ((first[..., 2] > 180) & (first[..., 0] < 90)).mean() > 0.03
    assert (np.abs(first.astype(int) - 60).max(axis=-1) < 10).mean() > 0.5
    capture = cv2.VideoCapture(str(out / "panel.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) >= 5
    assert capture.read()[0]


def test_table_and_files_are_printed(finished):
    done, out = finished
    for name in ("latency.json", "panel.png", "strip.png", "panel.mp4"):
        assert str(out / name) in done.stdout
        assert (out / name).stat().st_size > 0
    assert "frames in / out / dropped" in done.stdout
    assert not [p for p in out.rglob("*") if "part" in p.name], "a partial file is left"


def test_nothing_is_left_running(finished):
    _, out = finished
    assert nodes_of(out) == []


def one_line(done: subprocess.CompletedProcess) -> str:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("demo: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--source", "/no/such/drive.mp4"], "does not exist"),
        (["--source", "{empty}"], "holds no image file"),
        (["--source", "{broken}"], "no frame can be decoded as video"),
        (["--bundle", "/no/such.bundle"], "bundle not found: /no/such.bundle"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--rate", "-1"], "--rate is -1"),
        (["--width", "2"], "width is 2"),
        (["--out", "{broken}/out"], "cannot be written"),
    ],
    ids=["no source", "empty", "broken video", "no bundle", "seconds", "rate", "width", "out"],
)
def test_bad_use_is_one_line_and_2(bundle, folder, tmp_path, arguments, text):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    places = {"empty": tmp_path / "empty", "broken": tmp_path / "broken.mp4"}
    arguments = [argument.format(**places) for argument in arguments]
    done = run("--source", folder, "--bundle", bundle, "--out", tmp_path / "out", *arguments)
    assert text in one_line(done)
    assert done.returncode == 2
    assert not (tmp_path / "out" / "latency.json").exists()


def test_tampered_bundle_is_one_line_and_2(bundle, folder, tmp_path):
    weights = bundle / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    done = run("--source", folder, "--bundle", bundle, "--out", tmp_path / "out")
    assert "was changed after the bundle was made" in one_line(done)
    assert done.returncode == 2


def test_node_that_dies_is_told_and_ends_all(bundle, folder, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        command("--source", folder, "--bundle", bundle, "--out", out, "--seconds", 60),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pids = wait_for_nodes(out, process, 1)
    (perception,) = [p for p in pids if b"perception_node" in Path(f"/proc/{p}/cmdline").read_bytes()]
    os.kill(perception, signal.SIGKILL)
    _, err = process.communicate(timeout=ENDS)
    assert process.returncode == 1
    assert "perception ended early, exit status -9" in err
    assert err.count("\n") == 1
    assert nodes_of(out) == []


def wait_for_nodes(out: Path, process: subprocess.Popen, count: int) -> list[int]:
    end = time.monotonic() + 60
    while True:
        # The wheels start Python anew with their library path; a process in that moment is found again.
        pids = nodes_of(out)
        if len(pids) >= count:
            return pids
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "the nodes did not start in 60 s"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["INT", "TERM", "KILL"])
def test_children_never_outlive_it(bundle, folder, tmp_path, number):
    out = tmp_path / "out"
    process = subprocess.Popen(
        command("--source", folder, "--bundle", bundle, "--out", out, "--seconds", 60),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "first images" in line:
            break
    assert len(nodes_of(out)) == 2
    process.send_signal(number)
    _, err = process.communicate(timeout=ENDS)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert err == "demo: interrupted\n"
    end = time.monotonic() + 20
    while nodes_of(out):
        assert time.monotonic() < end, "a node outlives the demo"
        time.sleep(0.02)
