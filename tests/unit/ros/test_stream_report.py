"""Figures and pictures of a stream, from a stream made here."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from densemtl_ros.frame_statistics import FrameStatistics, Limits
from densemtl_ros.stream_check import INPUT, Moment
from densemtl_ros.stream_pictures import TITLES, Album, cells, legend, panel, strip, write_picture, write_video
from densemtl_ros.stream_report import as_table, stages_from_diagnostics, summary, write_json

from densemtl_core import render

H, W = 90, 160
PALETTE = ((200, 10, 10), (10, 200, 10), (10, 10, 200))
NAMES = ("road", "car", "person")


def task(picture, **options):
    return SimpleNamespace(picture=picture, picture_options=options, class_names=NAMES, palette=PALETTE)


TASKS = {
    "semantic": task("classes", palette=PALETTE),
    "depth": task("depth", near=1.0, far=80.0),
    "normals": task("normals"),
    "edges": task("probability"),
}


def moment(stamp=0, level=100):
    ids = np.zeros((H, W), np.uint8)
    ids[: H // 2] = 1
    normals = np.zeros((H, W, 3), np.float32)
    normals[..., 2] = -1
    return Moment(
        stamp,
        {
            INPUT: np.full((H, W, 3), level, np.uint8),
            "semantic/image": ids,
            "semantic/color": np.asarray(PALETTE, np.uint8)[ids],
            "semantic/confidence": np.full((H, W), 200, np.uint8),
            "depth/image": np.full((H, W), 10, np.float32),
            "normals/image": normals,
            "edges/image": np.full((H, W), 255, np.uint8),
        },
    )


def test_smoke(tmp_path):
    write_picture(tmp_path / "panel.png", panel(moment(), TASKS))
    assert cv2.imread(str(tmp_path / "panel.png")) is not None


def test_summary_is_in_milliseconds():
    assert summary([0.001 * i for i in range(101)]) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    assert summary([]) == {}


def test_stages_are_read_from_what_the_node_reports():
    statistics = FrameStatistics()
    statistics.processed({"infer": 0.02, "infer.postprocess": 0.004, "age_at_publish": 0.03}, 0.025, 200.0)
    stages = stages_from_diagnostics(dict(statistics.report(Limits(200.0, 10, 2.0)).values))
    assert stages["infer"]["p50"] == pytest.approx(20.0)
    assert stages["infer.postprocess"]["p99"] == pytest.approx(4.0)
    assert {"age_at_publish", "total"} <= set(stages)
    assert "received" not in stages


def test_json_is_strict_and_leaves_no_partial_file(tmp_path):
    path = tmp_path / "latency.json"
    write_json(path, {"frames_in": 3})
    assert json.loads(path.read_text()) == {"frames_in": 3}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"frames_in": float("nan")})
    assert json.loads(path.read_text()) == {"frames_in": 3}


def test_table_says_every_figure():
    report = {
        "source": "drive.mp4", "width": 640, "height": 360, "frames_in": 100, "frames_out": 93, "dropped": 7,
        "input_rate_hz": 10.0, "output_rate_hz": 9.3, "messages_checked": 558, "problem_count": 0, "incomplete": 0,
        "bundle": {"name": "b", "preset": "p", "precision": "fp32"}, "backend": "eager", "device": "cpu",
        "stamp_to_publish_ms": {"p50": 41.0, "p90": 52.0, "p99": 63.0},
        "stamp_to_arrival_ms": {"p50": 44.0, "p90": 55.0, "p99": 66.0},
        "stages_ms": {"decode": {"p50": 1.25, "p99": 2.5}},
    }  # fmt: skip
    table = as_table(report)
    for text in ("640 x 360", "100 / 93 / 7", "eager on cpu", "41.00", "63.00", "decode", "1.25", "2.50"):
        assert text in table


def test_album_keeps_moments_evenly_and_a_whole_one_from_the_middle():
    album = Album(seconds=10.0, most=20)
    for number in range(1000):  # 100 Hz
        album.add(moment(number * 10_000_000))
    assert 18 <= len(album.moments) <= 21
    assert album.whole.stamp == pytest.approx(5e9, abs=2e7)
    assert album.whole.images[INPUT].shape == (H, W, 3)


def test_album_scales_down_without_mixing_values():
    album = Album(seconds=1.0)
    big = moment()
    big.images = {topic: np.repeat(np.repeat(v, 5, axis=0), 5, axis=1) for topic, v in big.images.items()}
    album.add(big)
    small = album.moments[0].images
    assert small[INPUT].shape[1] <= 320
    assert set(np.unique(small["semantic/image"])) == {0, 1}
    assert album.whole.images[INPUT].shape == (5 * H, 5 * W, 3)


def test_cells_show_what_their_titles_say():
    shown = dict(cells(moment(), TASKS))
    assert list(shown) == ["input", "semantic", "overlay", "depth", "normals", "edges"]
    assert (shown["input"] == 100).all()
    assert tuple(shown["semantic"][0, 0]) == PALETTE[1]
    assert (shown["edges"] == 255).all()
    assert tuple(shown["normals"][0, 0]) == (128, 128, 0)
    assert tuple(shown["overlay"][-1, 0]) == pytest.approx([(100 + c) / 2 for c in PALETTE[0]], abs=1)


def test_legend_shows_the_colours_of_the_classes_present_only():
    colours = {tuple(c) for c in legend(moment().images["semantic/image"], NAMES, PALETTE, 400).reshape(-1, 3)}
    assert {PALETTE[0], PALETTE[1]} <= colours
    assert PALETTE[2] not in colours


@pytest.mark.parametrize(("pixels", "named"), [(4, False), (5, True)])
def test_legend_names_what_covers_half_a_percent(pixels, named):
    ids = np.zeros((25, 40), np.uint8)
    ids.flat[:pixels] = 2
    colours = {tuple(c) for c in legend(ids, NAMES, PALETTE, 400).reshape(-1, 3)}
    assert (PALETTE[2] in colours) is named


def test_what_is_there_is_never_told_as_nothing(monkeypatch):
    told = []
    monkeypatch.setattr("cv2.putText", lambda canvas, text, *args: told.append(text))
    ids = np.zeros((25, 40), np.uint8)
    ids.flat[:5], ids.flat[5:300] = 2, 255
    legend(ids, ("road", "car", "tree"), PALETTE, 400)
    assert told == ["road 70%", "tree 0.5%", "unlabelled 30%"]


def test_the_depth_panel_says_what_its_colours_are():
    """Near is the brightest of the range, and what is beyond it is white."""
    near, far, beyond = render.depth(np.array([[1.0, 80.0, np.inf]], np.float32))[0].astype(int)
    assert near[0] > 200
    assert near[1] > 200
    assert near[2] < near[0] - 50, "yellow"
    assert far.sum() < 60
    assert (beyond == 255).all()
    assert TITLES["depth"] == "depth (yellow near, dark far, white beyond range)"
    assert cv2.getTextSize(TITLES["depth"], cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] < 480 - 16, "it fits its cell"


def test_legend_of_many_classes_breaks_lines():
    ids = np.arange(64, dtype=np.uint8).reshape(8, 8) % 30
    names, palette = [f"class number {i}" for i in range(30)], [(i * 8, 0, 255 - i * 8) for i in range(30)]
    few, many = legend(ids % 2, names, palette, 500), legend(ids, names, palette, 500)
    assert many.shape[1] == few.shape[1] == 500
    assert many.shape[0] > 3 * few.shape[0]


def test_strip_has_a_column_a_moment():
    moments = [moment(i * 10**8, level=20 * i) for i in range(11)]
    picture = strip(moments, TASKS, width=100, columns=6)
    assert picture.shape[1] == 600
    levels = [int(picture[24 + 20, 100 * i + 50, 0]) for i in range(6)]
    assert levels == [0, 40, 80, 120, 160, 200]


def test_strip_of_fewer_moments_than_columns():
    assert strip([moment()], TASKS, width=100).shape[1] == 100


def test_video_can_be_played_at_the_speed_of_the_stream(tmp_path):
    path = tmp_path / "panel.mp4"
    assert write_video(path, [moment(i * 125_000_000, level=20 * i) for i in range(9)], TASKS)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(8.0, rel=0.01)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 9
    ok, frame = capture.read()
    assert ok
    assert frame.shape[1] == 3 * 320
    assert [p.name for p in tmp_path.iterdir()] == ["panel.mp4"]


def test_no_video_of_one_moment(tmp_path):
    assert not write_video(tmp_path / "panel.mp4", [moment()], TASKS)
    assert list(tmp_path.iterdir()) == []


def test_no_video_where_it_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2.VideoWriter, "fourcc", lambda *letters: 0)
    assert not write_video(tmp_path / "no" / "panel.mp4", [moment(0), moment(10**8)], TASKS)
