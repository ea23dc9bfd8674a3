"""``python -m training.predict`` on a few small pictures, with a small untrained network and with the shipped one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bag_writing import image, write

from densemtl_core.learning.checkpoint import save_checkpoint
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks
from training import predict

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("road", "sky", "car")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """What a run leaves, of an untrained network."""
    torch.manual_seed(0)
    kinds = ["semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges"]
    tasks = make_tasks(kinds, class_names=CLASSES)
    description = ModelDescription("densemtl_edge_s", tasks, (64, 96))
    return save_checkpoint(tmp_path_factory.mktemp("runs") / "mine", build_model("densemtl_edge_s", tasks), description)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Three pictures of two sizes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (40, 60)), ("b.jpg", (50, 44)), ("c.png", (40, 60))):
        assert cv2.imwrite(str(folder / name), rng.integers(0, 255, (*size, 3), np.uint8))
    return folder


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_folder_gives_a_panel_a_picture(run_folder, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict.main([str(pictures), "--run", str(run_folder), "--out", str(out)]) == 0
    assert files(out) == {"predictions.json", "panels/a.png", "panels/b.png", "panels/c.png"}
    panel = cv2.imread(str(out / "panels/a.png"))
    assert panel.shape == (2 * (320 + 24), 3 * 480, 3)
    shown = cv2.resize(panel[24 : 24 + 320, :480], (60, 40), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - cv2.imread(str(pictures / "a.png"))).max() <= 1
    assert "3 of 3 pictures: semantic, depth, normals, edges" in capsys.readouterr().out


def test_a_bag_is_seen_topic_by_topic(run_folder, tmp_path, capsys):
    rng = np.random.default_rng(0)
    sent = [image(rng.integers(0, 256, (40, 60, 3)), size=(40, 60)) for _ in range(3)]
    bag = write(tmp_path / "bag", {"/front/image_raw": sent, "/rear/image_raw": sent[:1]})
    given = [str(bag), "--run", str(run_folder), "--out", str(tmp_path / "out"), "--stride", "2"]
    assert predict.main(given) == 2
    assert "/front/image_raw (3 messages)" in capsys.readouterr().err  # which of the two is meant?
    assert predict.main([*given, "--topic", "/front/image_raw"]) == 0
    assert files(tmp_path / "out") == {"predictions.json", "panels/frame_000000.png", "panels/frame_000002.png"}


def test_a_topic_is_of_a_bag(run_folder, pictures, tmp_path, capsys):
    given = [str(pictures), "--run", str(run_folder), "--out", str(tmp_path / "out"), "--topic", "/camera"]
    assert predict.main(given) == 2
    assert "--topic /camera is of a rosbag2" in capsys.readouterr().err


def test_raw_arrays_are_what_their_page_says(run_folder, pictures, tmp_path):
    out = tmp_path / "out"
    command = [str(pictures / "b.jpg"), "--run", str(run_folder), "--out", str(out), "--raw", "--no-panel"]
    assert predict.main(command) == 0
    page = json.loads((out / "predictions.json").read_text())
    assert page["complete"] is True
    assert page["frames"] == [{"name": "b", "source": str(pictures / "b.jpg"), "size": [50, 44]}]
    assert page["network"]["preset"] == "densemtl_edge_s"
    promised = {file.replace("NAME", "b") for output in page["outputs"].values() for file in output["files"]}
    assert files(out) == {"predictions.json", *promised}
    assert page["outputs"]["semantic"]["classes"] == list(CLASSES)
    assert page["outputs"]["depth"]["unit"].startswith("metres")

    ids = cv2.imread(str(out / "semantic/b.png"), cv2.IMREAD_UNCHANGED)
    assert (ids.dtype, ids.shape) == (np.uint8, (50, 44))
    assert ids.max() < len(CLASSES)
    depth = np.load(out / "depth/b.npy")
    stored = cv2.imread(str(out / "depth/b.16.png"), cv2.IMREAD_UNCHANGED)
    assert (depth.dtype, depth.shape, stored.dtype) == (np.float32, (50, 44), np.uint16)
    near = np.isfinite(depth)
    assert near.any()
    np.testing.assert_allclose(stored[near] / 256, depth[near], atol=1 / 512)
    assert (stored[~near] == 0).all()
    normals = np.load(out / "normals/b.npy")
    assert normals.shape == (50, 44, 3)
    length = np.linalg.norm(normals, axis=-1)
    np.testing.assert_allclose(length[np.isfinite(length)], 1, atol=1e-5)
    edges = np.load(out / "edges/b.npy")
    assert edges.shape == (50, 44)
    assert 0 <= edges.min() <= edges.max() <= 1


def test_tasks_stride_limit_and_size(run_folder, pictures, tmp_path):
    out = tmp_path / "out"
    command = [str(pictures), "--run", str(run_folder), "--out", str(out), "--raw", "--tasks", "normals"]
    assert predict.main([*command, "--stride", "2", "--limit", "1", "--size", "32x48"]) == 0
    assert files(out) == {"predictions.json", "panels/a.png", "normals/a.npy"}
    assert np.load(out / "normals/a.npy").shape == (32, 48, 3)


def test_a_given_camera_makes_canonical_depth_metres(pictures, tmp_path):
    torch.manual_seed(0)
    tasks = make_tasks([{"kind": "depth", "encoding": "log", "canonical_focal": 60}])
    description = ModelDescription("densemtl_edge_s", tasks, (64, 96))
    run = save_checkpoint(tmp_path / "run", build_model("densemtl_edge_s", tasks), description)
    found = {}
    for given in ("50,50,30,20", "100,100,30,20", "none"):
        out = tmp_path / given
        command = [str(pictures / "a.png"), "--run", str(run), "--out", str(out), "--raw", "--no-panel"]
        assert predict.main(command + (["--intrinsics", given] if given != "none" else [])) == 0
        found[given] = np.load(out / "depth/a.npy")
    near = found["100,100,30,20"] < 80
    assert near.any()
    np.testing.assert_allclose(found["100,100,30,20"][near], 2 * found["50,50,30,20"][near], rtol=1e-5)
    # the network works at 96 columns, of which the picture has 60
    np.testing.assert_allclose(found["50,50,30,20"], found["none"] * (50 * 96 / 60 / 60), rtol=1e-5)


def test_the_shipped_bundle_on_the_street_world(tmp_path):
    out = tmp_path / "out"
    assert (
        predict.main(["street", "--limit", "2", "--stride", "3", "--size", "96x160", "--raw", "--out", str(out)]) == 0
    )
    assert {"panels/street_000000.png", "panels/street_000003.png"} <= files(out)
    page = json.loads((out / "predictions.json").read_text())
    assert page["network"]["name"] == "edge_s_street"
    ids = cv2.imread(str(out / "semantic/street_000000.png"), cv2.IMREAD_UNCHANGED)
    # the bottom middle of a street is road, and the bundle has learnt that world
    assert page["outputs"]["semantic"]["classes"][np.bincount(ids[80:, 60:100].ravel()).argmax()] == "road"


def test_video_in_video_out(run_folder, tmp_path):
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    for n in range(6):
        writer.write(np.full((48, 64, 3), 40 * n, np.uint8))
    writer.release()
    out = tmp_path / "out"
    command = [str(film), "--run", str(run_folder), "--out", str(out), "--stride", "2", "--video", "--tasks", "depth"]
    assert predict.main(command) == 0
    assert files(out) == {"predictions.json", "panels.mp4", *(f"panels/frame_00000{n}.png" for n in (0, 2, 4))}
    capture = cv2.VideoCapture(str(out / "panels.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    frames = [capture.read()[1] for _ in range(3)]
    grey = [frame[24 : 24 + 360, :480].mean() for frame in frames]
    assert grey == pytest.approx([0, 80, 160], abs=6)


def test_a_corrupt_picture_among_many_is_named_skipped_and_counted(run_folder, pictures, tmp_path, capsys):
    (pictures / "b.jpg").write_bytes((pictures / "b.jpg").read_bytes()[:200])
    out = tmp_path / "out"
    assert predict.main([str(pictures), "--run", str(run_folder), "--out", str(out)]) == 1
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith(f"skipped: {pictures / 'b.jpg'}: not a readable image")
    assert "2 of 3 pictures" in told.out
    assert files(out) == {"predictions.json", "panels/a.png", "panels/c.png"}
    (skipped,) = json.loads((out / "predictions.json").read_text())["skipped"]
    assert skipped["source"].endswith("b.jpg")


def error_of(arguments: list[str], capsys) -> str:
    assert predict.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_one_corrupt_picture_alone_is_an_error(run_folder, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"no picture")
    message = error_of([str(tmp_path / "a.png"), "--run", str(run_folder), "--out", str(tmp_path / "out")], capsys)
    assert "a.png: not a readable image" in message


def test_a_folder_that_is_not_empty_is_kept(run_folder, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "panels").mkdir(parents=True)
    (out / "panels/a.png").write_text("mine")
    command = [str(pictures / "a.png"), "--run", str(run_folder), "--out", str(out), "--tasks", "edges"]
    assert "is not empty; give another folder, or --force" in error_of(command, capsys)
    assert (out / "panels/a.png").read_text() == "mine"
    assert predict.main([*command, "--force"]) == 0
    assert cv2.imread(str(out / "panels/a.png")) is not None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["{empty}"], "there are none"),
        (["{film}"], "has no readable frames"),
        (["{pictures}/a.png", "{empty}"], "empty: no image"),
        (["{pictures}", "--limit", "0"], "--limit is 0"),
        (["{pictures}", "--stride", "0"], "--stride is 0"),
        (["{pictures}", "--size", "10x10"], "--size is '10x10'"),
        (["{pictures}", "--no-panel"], "nothing to write"),
        (["{pictures}", "--intrinsics", "50,50"], "give fx,fy,cx,cy"),
        (["{pictures}", "--intrinsics", "50,wide"], "--intrinsics is '50,wide'; give FX,FY,CX,CY"),
        (["street", "--intrinsics", "50,50,30,20"], "the street world knows its camera"),
        (["{pictures}", "--threads", "0"], "--threads is 0"),
        (["{pictures}", "--tasks", "dept"], "has no task 'dept'; it has semantic, depth, normals, edges"),
        (["{pictures}", "--run", "{empty}"], "has no model.json"),
        (["{pictures}", "--run", "{unfinished}"], "is not finished"),
        (["{pictures}", "--bundle", "nowhere"], "bundle not found: nowhere"),
        (["{pictures}", "--out", "{film}"], "is a file; give a folder"),
    ],
)
def test_bad_input_is_one_line(arguments, text, pictures, tmp_path, capsys):
    places = {"pictures": pictures, "empty": tmp_path / "empty", "film": tmp_path / "film.mp4"}
    places["unfinished"] = tmp_path / "unfinished"
    (tmp_path / "empty").mkdir()
    (tmp_path / "unfinished/checkpoints").mkdir(parents=True)
    places["film"].write_text("no video")
    given = [argument.format(**places) for argument in arguments]
    if "--out" not in given:
        given += ["--out", str(tmp_path / "out")]
    assert text in error_of(given, capsys)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def interruptible():
    """A shell's background jobs ignore SIGINT, and if the tests are one, what they start would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_only_complete_files(number, run_folder, tmp_path, interruptible):
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    data = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))[1].tobytes()
    for n in range(2000):
        (folder / f"{n:04d}.png").write_bytes(data)
    command = [sys.executable, "-m", "training.predict", str(folder), "--run", str(run_folder), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--raw", "--video"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (out / "panels/0002.png").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert told == f"interrupted; what lies in {out} is complete\n"
    page = json.loads((out / "predictions.json").read_text())
    assert page["complete"] is False
    assert 2 <= len(page["frames"]) < 2000
    assert not [p for p in files(out) if ".part" in p]
    for file in out.rglob("*.png"):
        assert cv2.imread(str(file), cv2.IMREAD_UNCHANGED) is not None
    for file in out.rglob("*.npy"):
        assert np.load(file).shape[:2] == (60, 80)
    assert cv2.VideoCapture(str(out / "panels.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) >= 2
