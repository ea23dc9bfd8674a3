"""The check finds each kind of wrong image, and nothing in right ones, in whatever order they come."""

from __future__ import annotations

from array import array
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
from densemtl_ros.image_codec import fill_image
from densemtl_ros.stream_check import INPUT, OUTPUTS, PENDING, RAW_TOPICS, StreamCheck

CLASSES = 5
STAMP = 1_700_000_000 * 10**9 + 123_456_789
H, W = 6, 8


def header(stamp, frame_id="camera"):
    return SimpleNamespace(stamp=SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame_id)


def image(values, encoding, stamp=STAMP, frame_id="camera"):
    """The fields of `sensor_msgs/Image`, filled."""
    message = SimpleNamespace(header=header(stamp, frame_id), data=array("B"))
    fill_image(message, values, encoding)
    return message


def right_values():
    normals = np.zeros((H, W, 3), np.float32)
    normals[..., 2] = -1
    normals[0, 0] = np.nan
    depth = np.full((H, W), 7.5, np.float32)
    depth[0, :2] = np.nan, np.inf
    ids = np.full((H, W), CLASSES - 1, np.uint8)
    ids[0, 0] = 255
    grey = np.full((H, W), 128, np.uint8)
    return {
        "semantic/image": ids,
        "depth/image": depth,
        "normals/image": normals,
        "edges/image": grey,
        "semantic/confidence": grey,
        "semantic/color": np.zeros((H, W, 3), np.uint8),
    }


def send(check, topic, stamp=STAMP, now=None, **changes):
    now = stamp + 50_000_000 if now is None else now
    if topic == INPUT:
        check.add_input(image(np.zeros((H, W, 3), np.uint8), "rgb8", stamp, **changes), now)
        return
    values = changes.pop("values", right_values()[topic])
    check.add_output(topic, image(values, changes.pop("encoding", OUTPUTS[topic].encoding), stamp, **changes), now)


def send_all(check, stamp=STAMP):
    for topic in (INPUT, *OUTPUTS):
        send(check, topic, stamp)


@pytest.fixture
def complete():
    return []


@pytest.fixture
def check(complete):
    return StreamCheck(CLASSES, complete.append)


def test_smoke(check, complete):
    send_all(check)
    check.finish()
    assert check.problems == check.incomplete == []
    assert [m.stamp for m in complete] == check.stamps_out == [STAMP]
    assert check.messages == len(OUTPUTS)


def test_any_order_is_right(complete):
    for order in permutations((INPUT, *RAW_TOPICS)):
        check = StreamCheck(CLASSES, complete.append)
        for topic in (*order, "semantic/confidence", "semantic/color"):
            send(check, topic)
        check.finish()
        assert check.problems == [], order
    assert len(complete) == 120


def test_latency_is_that_of_the_last_raw_image(check):
    send(check, INPUT)
    for index, topic in enumerate(RAW_TOPICS):
        send(check, topic, now=STAMP + (index + 1) * 10_000_000)
    send(check, "semantic/color", now=STAMP + 10**9)
    assert check.latencies == pytest.approx([0.04])


def test_dropped_frames_are_no_problem(check, complete):
    for number in range(10):
        send(check, INPUT, STAMP + number)
    for number in (0, 4, 9):
        for topic in OUTPUTS:
            send(check, topic, STAMP + number)
    check.finish()
    assert check.problems == []
    assert len(check.stamps_in) == 10
    assert check.stamps_out == [STAMP, STAMP + 4, STAMP + 9]


def test_input_lost_on_the_way_here_is_known_from_its_camera_info(check, complete):
    check.add_camera_info(SimpleNamespace(header=header(STAMP)))
    for topic in OUTPUTS:
        send(check, topic)
    check.finish()
    assert check.problems == []
    assert check.stamps_out == [STAMP]
    assert complete == []


def test_inputs_may_lag_behind_the_outputs(check):
    send(check, INPUT, STAMP)
    for number in range(1, 9):
        for topic in OUTPUTS:
            send(check, topic, STAMP + number)
    for number in range(1, 9):
        send(check, INPUT, STAMP + number)
    check.finish()
    assert check.problems == []
    assert len(check.stamps_out) == 8


def with_values(topic, change):
    def make():
        values = right_values()[topic].copy()
        change(values)
        return values

    return topic, make


def put(index, value):
    return lambda values: values.__setitem__(index, value)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (with_values("semantic/image", put((2, 3), CLASSES)), "class id 5"),
        (with_values("semantic/image", put((2, 3), 254)), "class id 254"),
        (with_values("depth/image", put((2, 3), 0)), "depth of 0 m"),
        (with_values("depth/image", put((2, 3), -4)), "depth of -4 m"),
        (with_values("depth/image", put((2, 3), -np.inf)), "depth of -inf m"),
        (with_values("normals/image", put((2, 3), (0, 0, -0.9))), "normal of length 0.9"),
        (with_values("normals/image", put((2, 3), (0, 0, np.inf))), "normal of length inf"),
        (with_values("normals/image", put((2, 3, 1), np.nan)), "only some components"),
    ],
    ids=["class 5", "class 254", "zero depth", "negative depth", "-inf depth", "short", "infinite", "half NaN"],
)
def test_wrong_values_are_found(check, wrong, text):
    topic, make = wrong
    send(check, topic, values=make())
    assert check.problem_count == 1
    assert topic in check.problems[0]
    assert text in check.problems[0]


def test_wrong_encoding_is_found(check):
    send(check, "semantic/image", encoding="8UC1")
    assert "encoding '8UC1', expected 'mono8'" in check.problems[0]


def test_short_data_is_found(check):
    message = image(right_values()["depth/image"], "32FC1")
    message.data.pop()
    check.add_output("depth/image", message, STAMP)
    assert "191 bytes" in check.problems[0]


def test_other_size_is_found(check):
    send(check, INPUT)
    for topic in OUTPUTS:
        values = right_values()[topic]
        send(check, topic, values=values[:, :-2] if topic == "edges/image" else values)
    assert check.problem_count == 1
    assert "edges/image: (6, 6) pixels" in check.problems[0]


def test_other_frame_id_is_found(check):
    for topic in (INPUT, *OUTPUTS):
        send(check, topic, frame_id="elsewhere" if topic == "depth/image" else "camera")
    assert check.problems == ["depth/image: frame_id 'elsewhere', its input has 'camera'"]


def test_stamp_that_no_input_has_is_found(check):
    send(check, INPUT)
    send(check, "depth/image", STAMP + 1)
    send(check, INPUT, STAMP + 2)
    check.finish()
    assert any("which no input has" in problem for problem in check.problems)


def test_an_output_of_the_last_moment_is_ignored(check):
    """The camera ends before its last message has reached this process, though the node had it."""
    send(check, INPUT)
    send(check, "depth/image", STAMP + 1)
    check.finish()
    assert check.problems == []


def test_outputs_older_than_the_first_input_heard_are_ignored(check):
    for topic in OUTPUTS:
        send(check, topic, STAMP - 1)
    send_all(check)
    check.finish()
    assert check.problems == []
    assert check.stamps_out == [STAMP]
    assert len(check.latencies) == 1


def test_frame_with_a_topic_missing_is_found(check):
    for topic in (INPUT, *OUTPUTS):
        if topic != "normals/image":
            send(check, topic)
    assert check.incomplete == []
    check.finish()
    assert check.incomplete == [f"stamp {STAMP}: normals/image never came, other topics did"]
    assert check.problems == []
    assert check.stamps_out == []


@pytest.mark.parametrize("when", ["before the rest", "after the rest"])
def test_second_image_of_one_stamp_is_found(check, when):
    if when == "before the rest":
        send(check, "depth/image")
    send_all(check)
    if when == "after the rest":
        send(check, "depth/image")
    check.finish()
    assert check.problem_count == 1


def test_memory_is_bounded_when_nothing_comes_back(check):
    for number in range(5 * PENDING):
        send(check, INPUT, STAMP + number)
    assert len(check._pending) <= PENDING
    assert len(check.stamps_in) == 5 * PENDING


def test_overtaken_inputs_are_freed(check):
    for number in range(0, 300, 3):
        for step in range(3):
            send(check, INPUT, STAMP + number + step)
        for topic in OUTPUTS:
            send(check, topic, STAMP + number)
    assert len(check._pending) < 10
    assert check.problems == []


def test_only_the_first_problems_are_kept_in_words(check):
    for number in range(200):
        send(check, "edges/image", STAMP + number, encoding="mono16")
    assert check.problem_count == 200
    assert len(check.problems) == 50


def test_an_input_in_another_encoding_is_shown_in_its_colours(check, complete):
    bgr = np.zeros((H, W, 3), np.uint8)
    bgr[..., 0] = 200
    check.add_input(image(bgr, "bgr8", STAMP), STAMP)
    for topic in OUTPUTS:
        send(check, topic)
    assert check.problems == []
    assert (complete[0].images[INPUT] == (0, 0, 200)).all()


def test_nothing_is_expected_of_an_input_that_cannot_be_decoded(check):
    check.add_input(image(np.zeros((H, W, 3), np.uint8), "no encoding", STAMP), STAMP)
    check.finish()
    assert not check.stamps_in
    assert check.problems == []
