"""Newest frame a stream, pictures as the node paints them, and messages that are wrong."""

from __future__ import annotations

import inspect
import json
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from densemtl_ros.image_codec import RejectedFrame
from densemtl_ros.viewer_health import HISTORY, NodeHealth
from densemtl_ros.viewer_legend import ClassLegend, read_labels
from densemtl_ros.viewer_pictures import Look, encode_jpeg, pixels, shrink, view_image
from densemtl_ros.viewer_streams import MOST_CAMERAS, SHOWN, StreamBoard
from viewer_messages import frame, image_message

from densemtl_core import render

LOOK = Look()


@pytest.fixture
def told():
    return []


@pytest.fixture
def camera(told):
    return StreamBoard(LOOK, told.append).add("/perception")


def decoded(picture):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


# Pictures ------------------------------------------------------------------------------------------------------------


def test_every_stream_becomes_a_picture_of_its_colours(camera):
    messages = frame(height=48, width=64)
    for stream, message in messages.items():
        camera.put(stream, message)
    assert all(camera.paint(stream) for stream in SHOWN)
    wanted = {
        "camera": np.full((48, 64, 3), 90),
        "semantic": np.frombuffer(messages["semantic"].data, np.uint8).reshape(48, 64, 3),
        "depth": render.depth(np.frombuffer(messages["depth"].data, np.float32).reshape(48, 64)),
        "normals": np.full((48, 64, 3), (128, 128, 0)),
        "edges": np.full((48, 64, 3), 200),
    }
    for stream, want in wanted.items():
        got = decoded(camera.picture(stream)[1])
        assert np.abs(got.astype(int) - want).max() <= 6, stream
        assert camera.picture(stream)[1].facts["width"] == 64
        assert camera.picture(stream)[1].facts["stamp"] == 1.5


def test_depth_says_its_range_and_what_is_unknown():
    metres = np.full((40, 50), 10.0, np.float32)
    metres[:10], metres[10:15], metres[39] = np.nan, np.inf, 30.0
    facts = encode_jpeg("depth", metres, LOOK).facts
    assert facts == {"near": 10.0, "median": 10.0, "far": 30.0, "unknown": 0.25, "beyond": 0.125}
    nothing = encode_jpeg("depth", np.full((4, 4), np.nan, np.float32), LOOK).facts
    assert (nothing["near"], nothing["far"], nothing["unknown"]) == (None, None, 1.0)


def test_depth_colours_end_where_the_painters_do():
    defaults = inspect.signature(render.depth).parameters
    assert (LOOK.depth_near, LOOK.depth_far) == (defaults["near"].default, defaults["far"].default)


@pytest.mark.parametrize("pad", [0, 1, 7])
def test_padded_and_big_endian_depth_is_read_as_it_is(pad):
    metres = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(view_image(image_message(metres, "32FC1", pad=pad), "32FC1", 100), metres)
    message = image_message(metres.astype(">f4"), "32FC1", pad=pad)
    message.is_bigendian = 1
    np.testing.assert_array_equal(pixels("depth", message, Look(width=2)), metres[:2, ::2])


def test_scaling_down_keeps_ids_and_metres_exact():
    ids = np.where(np.indices((90, 1280)).sum(0) % 2, 3, 9).astype(np.uint8)
    assert set(np.unique(shrink(ids, 640, exact=True))) <= {3, 9}
    assert shrink(ids, 640).shape == (45, 640)
    assert shrink(ids, 4000) is ids


@pytest.mark.parametrize(
    ("stream", "change", "reason"),
    [
        ("depth", {"encoding": "16UC1"}, "encoding"),
        ("semantic", {"encoding": "bgr8"}, "encoding"),
        ("depth", {"height": 0}, "size_zero"),
        ("edges", {"width": 2**20, "height": 2**20}, "size_huge"),
        ("normals", {"step": 5}, "step"),
        ("depth", {"height": 25}, "data_short"),
        ("camera", {"encoding": "nonsense"}, "encoding"),
        ("camera", {"step": 0}, "step"),
        ("camera", {"height": 2**15, "width": 2**15}, "size_huge"),
    ],
)
def test_wrong_messages_are_told_once_and_harm_nothing(camera, told, stream, change, reason):
    good, bad = frame()[stream], frame()[stream]
    vars(bad).update(change)
    with pytest.raises(RejectedFrame) as caught:
        pixels(stream, bad, LOOK)
    assert caught.value.reason == reason
    for _ in range(3):
        camera.put(stream, bad)
        assert not camera.paint(stream)
    assert len(told) == 1
    assert f"/perception: {stream}: {reason}" in told[0]
    assert reason in camera.status()["streams"][stream]["problem"]
    camera.put(stream, good)
    assert camera.paint(stream)
    assert camera.status()["streams"][stream]["problem"] == ""


def test_a_message_that_breaks_the_painter_is_told_too(camera, told):
    broken = frame()["depth"]
    broken.data = None
    camera.put("depth", broken)
    assert not camera.paint("depth")
    assert "TypeError" in told[0]


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "data_short"), (b"GIF89a", "encoding"), (b"\xff\xd8\xff", "corrupt")]
)
def test_compressed_camera_images(data, reason):
    good = cv2.imencode(".jpg", np.full((20, 30, 3), 77, np.uint8))[1].tobytes()
    assert pixels("camera", SimpleNamespace(data=good, format="jpeg"), LOOK).shape == (20, 30, 3)
    with pytest.raises(RejectedFrame) as caught:
        pixels("camera", SimpleNamespace(data=data, format=""), LOOK)
    assert caught.value.reason == reason


# Newest frame wins ---------------------------------------------------------------------------------------------------


def test_only_the_newest_message_is_kept_and_painted_once(camera):
    for stamp in range(1, 1001):
        camera.put("edges", frame(stamp)["edges"] if stamp in (1, 1000) else SimpleNamespace())
    assert camera.paint("edges")
    assert not camera.paint("edges")
    number, picture = camera.picture("edges")
    assert picture.facts["stamp"] == 1000.5
    camera.put("edges", frame(1001)["edges"])
    assert camera.paint("edges")
    assert camera.picture("edges")[0] > number


def test_a_new_audience_sees_no_old_pictures(camera):
    camera.put("edges", frame()["edges"])
    assert camera.paint("edges")
    camera.restart()
    assert camera.picture("edges") is None
    assert camera.status()["streams"]["edges"]["age"] is None


def test_a_picture_made_for_an_audience_that_left_is_thrown_away(camera, monkeypatch):
    def slowly(*args):
        camera.restart()
        return encode_jpeg(*args)

    monkeypatch.setattr("densemtl_ros.viewer_streams.encode_jpeg", slowly)
    camera.put("edges", frame()["edges"])
    assert not camera.paint("edges")
    assert camera.picture("edges") is None


def test_ages_are_those_of_the_newest_message():
    now = [100.0]
    camera = StreamBoard(clock=lambda: now[0]).add("/p")
    assert camera.status()["streams"]["depth"]["age"] is None
    now[0] = 103.0
    assert camera.status()["waited"] == 3.0
    camera.put("depth", frame()["depth"])
    now[0] = 107.5
    assert camera.status()["streams"]["depth"]["age"] == 4.5


def test_first_and_last_viewer_of_a_camera_are_announced():
    board, calls = StreamBoard(), []
    board.add("/a")
    board.audience_changed = lambda: calls.append(board.watched())
    for change in (board.watch, board.watch, board.unwatch, board.unwatch, board.watch):
        change("/a")
    assert calls == [{"/a"}, set(), {"/a"}]


def test_cameras_are_limited():
    board = StreamBoard()
    assert all(board.add(f"/c{number}") for number in range(MOST_CAMERAS))
    assert board.add("/one_more") is None
    assert board.add("/c0") is board.camera("/c0")


def test_threads_may_put_and_paint_at_once(camera):
    stop = threading.Event()

    def put():
        while not stop.is_set():
            for stream, message in messages.items():
                camera.put(stream, message)

    messages = frame()
    thread = threading.Thread(target=put)
    thread.start()
    try:
        numbers = [camera.picture(s)[0] for _ in range(20) for s in SHOWN if camera.paint(s)]
    finally:
        stop.set()
        thread.join()
    assert numbers
    assert numbers == sorted(numbers)


# Legend --------------------------------------------------------------------------------------------------------------


def test_legend_has_the_nodes_names_and_the_pictures_own_colours(camera):
    camera.legend.rename({0: "road", 1: "car", 2: "tree"})
    messages = frame()
    messages["mask"].data[0] = 255
    messages["semantic"].data[0:3] = type(messages["semantic"].data)("B", bytes(3))
    for stream in ("mask", "semantic"):
        camera.put(stream, messages[stream])
    assert camera.paint("semantic")
    rows = {row["name"]: row for row in camera.status()["legend"]}
    assert list(rows) == ["road", "car", "tree", "unlabelled"]
    assert rows["road"]["colour"] == (128, 64, 128)
    assert rows["car"] == {"id": 1, "name": "car", "colour": (0, 0, 142), "share": 0.5}
    assert rows["tree"] == {"id": 2, "name": "tree", "colour": None, "share": 0.0}
    assert rows["unlabelled"]["colour"] == (0, 0, 0)
    json.dumps(camera.status(), allow_nan=False)


def test_a_mask_of_another_frame_teaches_nothing(camera):
    camera.put("mask", frame(stamp=1)["mask"])
    camera.put("semantic", frame(stamp=2)["semantic"])
    assert camera.paint("semantic")
    assert camera.status()["legend"] == []


def test_another_bundles_names_forget_the_colours():
    legend = ClassLegend()
    legend.rename({0: "road"})
    legend.learn(np.zeros((2, 2), np.uint8), np.full((2, 2, 3), 9, np.uint8))
    legend.rename({0: "road"})
    assert legend.entries()[0]["colour"] == (9, 9, 9)
    legend.rename({0: "grass"})
    assert legend.entries() == [{"id": 0, "name": "grass", "colour": None, "share": 0.0}]


def test_labels_of_both_types():
    entry = SimpleNamespace(class_id=3, class_name="sky")
    assert read_labels(SimpleNamespace(class_map=[entry])) == {3: "sky"}
    text = json.dumps({"class_map": [{"class_id": 3, "class_name": "sky"}], "threshold": 0.0})
    assert read_labels(SimpleNamespace(data=text)) == {3: "sky"}


@pytest.mark.parametrize(
    "text",
    [
        "", "7", "[]", '{"class_map": 3}', '{"class_map": [1]}',
        '{"class_map": [{"class_id": 999, "class_name": "x"}]}',
        '{"class_map": [{"class_id": true, "class_name": "x"}]}', '{"class_map": [{"class_id": 1, "class_name": 2}]}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_labels_that_are_none(text):
    with pytest.raises(ValueError, match=r"^labels: ") as caught:
        read_labels(SimpleNamespace(data=text))
    assert len(str(caught.value)) < 200


# Diagnostics ---------------------------------------------------------------------------------------------------------


def test_counts_become_frames_since_the_last_status():
    health = NodeHealth()
    for second, dropped in enumerate(("5", "7", "7", "2", "many", "4")):  # 2: the node was started again
        health.add(0, "ok", {"dropped": dropped, "total_ms_p50": "12.5"}, float(second))
    assert [point["dropped"] for point in health.points_after(0)] == [None, 2, 0, 2, None, 2]
    assert [point["total_ms_p50"] for point in health.points_after(4)] == [12.5, 12.5]
    assert health.newest(9.0) == {
        "level": 0, "message": "ok", "values": {"dropped": "4", "total_ms_p50": "12.5"}, "age": 4.0
    }  # fmt: skip


def test_history_is_bounded_and_odd_values_leave_gaps():
    health = NodeHealth()
    for second in range(HISTORY + 50):
        health.add(
            0, "x" * 10_000, {"total_ms_p50": "nan", "input_rate_hz": "inf", **{str(i): "" for i in range(999)}}, second
        )
    points = health.points_after(0)
    assert len(points) == HISTORY
    assert points[-1]["total_ms_p50"] is None
    assert points[-1]["input_rate_hz"] is None
    assert len(json.dumps(health.newest(0.0))) < 10_000
