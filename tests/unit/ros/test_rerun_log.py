"""Recordings are written and read back: every value, stamp and name arrives, and nothing goes anywhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rerun.chunk")

import rerun as rr
from densemtl_ros.outputs import OUTPUTS
from densemtl_ros.rerun_log import STREAMS, FrameLog, blueprint
from rerun_reading import rows

K = [60.0, 0.0, 31.5, 0.0, 61.0, 23.5, 0.0, 0.0, 1.0]
STAMP = 1_700_000_000_000_000_001
NAMES = {0: "road", 1: "car"}
COLOURS = {0: (128, 64, 128), 1: (0, 0, 142)}


def frame(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    classes = random.integers(0, 2, (48, 64), dtype=np.uint8)
    classes[0] = 255
    colours = np.zeros((48, 64, 3), np.uint8)
    for number, colour in COLOURS.items():
        colours[classes == number] = colour
    depth = random.uniform(1.0, 90.0, (48, 64)).astype(np.float32)
    depth[0], depth[1] = np.nan, np.inf
    smooth = cv2.resize(random.integers(0, 256, (4, 4, 3), dtype=np.uint8), (64, 48))
    edges = random.integers(0, 256, (48, 64), dtype=np.uint8)
    return {"classes": classes, "colours": colours, "overlay": smooth, "depth": depth, "edges": edges}


def record(path: Path, *frames: dict[str, np.ndarray], quality: int = 85, k: list[float] = K) -> None:
    recording = rr.RecordingStream("densemtl")
    recording.save(path, default_blueprint=blueprint(["/front/perception"], list(frames[0])))
    log = FrameLog(recording, "/front/perception", quality)
    log.put_labels(NAMES)
    for number, content in enumerate(frames):
        log.put_intrinsics(STAMP + number, k, (48, 64))
        for stream, values in content.items():
            log.put(stream, STAMP + number, values)
    recording.disconnect()


def array(row: dict, dtype: str, *shape: int) -> np.ndarray:
    return np.frombuffer(bytes(row["buffer"]), dtype).reshape(*shape)


def test_classes_depth_and_edges_come_back_exactly_with_their_stamps(tmp_path):
    path = tmp_path / "drive.rrd"
    frames = [frame(seed) for seed in range(3)]
    record(path, *frames)
    found = rows(path)
    for stream, dtype in (("classes", "u1"), ("depth", "f4"), ("edges", "u1")):
        logged = found[f"/front/perception/camera/{stream}"]
        assert [row["stamp"] for row in logged] == [STAMP, STAMP + 1, STAMP + 2]
        for row, content in zip(logged, frames, strict=True):
            assert (row["format"]["width"], row["format"]["height"]) == (64, 48)
            np.testing.assert_array_equal(array(row, dtype, 48, 64), content[stream])  # NaN and infinity included
    assert {row["meter"] for row in found["/front/perception/camera/depth"]} == {1.0}
    assert "/front/perception/camera/colours" not in found


def test_the_camera_is_logged_so_that_depth_is_points(tmp_path):
    path = tmp_path / "drive.rrd"
    record(path, frame())
    (camera,) = rows(path)["/front/perception/camera"]
    np.testing.assert_allclose(np.reshape(camera["image_from_camera"], (3, 3), order="F"), np.reshape(K, (3, 3)))
    assert camera["resolution"] == [64.0, 48.0]
    assert camera["camera_xyz"] == [3, 2, 5], "right, down, forward"


def test_an_uncalibrated_camera_is_left_out(tmp_path):
    path = tmp_path / "drive.rrd"
    record(path, frame(), k=[0.0] * 9)
    assert "/front/perception/camera" not in rows(path)
    assert "/front/perception/camera/depth" in rows(path)


def test_classes_have_the_nodes_names_and_colours(tmp_path):
    path = tmp_path / "drive.rrd"
    record(path, frame(), frame(1))
    contexts = [row["context"] for row in rows(path)["/front/perception"] if "context" in row]
    assert len(contexts) == 2, "names at once, colours when they are known, and no more after that"
    entries = [entry["class_description"]["info"] for entry in contexts[-1]]
    assert {entry["id"]: entry["label"] for entry in entries} == NAMES | {255: "unlabelled"}
    colours = {entry["id"]: tuple(entry["color"].to_bytes(4, "big")) for entry in entries}
    assert colours == {number: (*colour, 255) for number, colour in COLOURS.items()} | {255: (0, 0, 0, 0)}


def test_colours_are_not_learnt_from_another_frames_mask(tmp_path):
    path = tmp_path / "drive.rrd"
    recording = rr.RecordingStream("densemtl")
    recording.save(path)
    log = FrameLog(recording, "/front/perception")
    log.put_labels(NAMES)
    content = frame()
    log.put("classes", STAMP, content["classes"])
    log.put("colours", STAMP + 1, content["colours"])
    recording.disconnect()
    contexts = [row["context"] for row in rows(path)["/front/perception"] if "context" in row]
    assert len(contexts) == 1


@pytest.mark.parametrize("quality", [0, 85])
def test_pictures_are_jpeg_or_exact(tmp_path, quality):
    path = tmp_path / "drive.rrd"
    content = frame()
    record(path, content, quality=quality)
    (row,) = rows(path)["/front/perception/camera/overlay"]
    if quality:
        assert row["media_type"] == "image/jpeg"
        got = cv2.cvtColor(cv2.imdecode(np.frombuffer(bytes(row["blob"]), np.uint8), 1), cv2.COLOR_BGR2RGB)
        assert np.abs(got.astype(int) - content["overlay"]).mean() < 3
    else:
        np.testing.assert_array_equal(array(row, "u1", 48, 64, 3), content["overlay"])


def test_streams_are_topics_that_the_node_publishes():
    published = {output.topic: output.encoding for output in OUTPUTS}
    assert {topic: published[topic] for topic, _ in STREAMS.values()} == dict(STREAMS.values())


PROGRAM = """
import os, socket, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from test_rerun_log import K, STAMP, FrameLog, frame, rr


def connections():
    places = [Path("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    names = {os.readlink(place) for place in places if place.is_symlink()}
    inodes = {name[8:-1] for name in names if name.startswith("socket:[")}
    tables = [Path("/proc/self/net", kind) for kind in ("tcp", "tcp6", "udp", "udp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return sum(line.split()[9] in inodes for line in lines)


recording = rr.RecordingStream("densemtl")
recording.save(sys.argv[2])
log = FrameLog(recording, "/perception")
log.put_intrinsics(STAMP, K, (48, 64))
for stream, values in frame().items():
    log.put(stream, STAMP, values)
recording.flush()
during = connections()
recording.disconnect()
with socket.create_server(("127.0.0.1", 0)):
    print(during, connections())
"""


def test_writing_a_file_opens_no_connection_and_leaves_nothing_at_home(tmp_path):
    """The viewer reports its use unless told not to; the SDK alone must not."""
    home = tmp_path / "home"
    home.mkdir()
    path = tmp_path / "drive.rrd"
    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""}
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "1"], "none while recording; the last one shows that they would be seen"
    assert not [found for found in home.rglob("*") if "rerun" in found.name]
    assert "/perception/camera/depth" in rows(path)
