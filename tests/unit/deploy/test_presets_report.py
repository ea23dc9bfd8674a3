"""The presets' table: accuracy read from files, the Pareto front, the plot."""

from __future__ import annotations

import json

import numpy as np
import pytest

from densemtl_core.errors import InputError
from deploy.presets import EngineTimes, PresetTimes, Timing
from deploy.presets_accuracy import STREET, Accuracies, Accuracy, Score, accuracies
from deploy.presets_cost import Cost
from deploy.presets_pareto import beaten_by
from deploy.presets_plot import COLOURS, SIZE, Panel, Point, draw
from deploy.presets_report import PresetsReport

S, M, L, R = "densemtl_edge_s", "densemtl_r18", "densemtl_r50", "densemtl_r101"


# accuracy -------------------------------------------------------------------------------------------------------------


def street_row(preset, mean, seeds=(0, 1), **given):
    score = {"metric": "mIoU", "higher_is_better": True, "mean": mean, "std": 0.01 if len(seeds) > 1 else None}
    return {"preset": preset, "single": False, "seeds": list(seeds), "tasks": {"semantic": score}, **given}


def street_file(tmp_path, *rows):
    judged = {"dataset": "street", "split": "val", "size": [128, 256]}
    judged |= {"training_samples": 800, "validation_samples": 96}
    file = tmp_path / "street.json"
    file.write_text(json.dumps({"command": "python -m training.compare", "judged_on": judged, "rows": list(rows)}))
    return file


def test_accuracy_is_that_of_one_network_for_all_tasks(tmp_path):
    rows = [street_row(S, 0.9, single=True), street_row(S, 0.25), street_row(M, 0.28, seeds=(0,))]
    rows += [street_row(L, None), street_row(R, 0.3, seeds=()), street_row("mtl_r18", 0.5)]
    read = accuracies(street_file(tmp_path, *rows), "the street world", [S, M, L, R])
    assert read.found[S] == Accuracy({"semantic": Score("mIoU", 0.25, 0.01)}, (0, 1), "random weights")
    assert read.found[M].scores["semantic"].std is None, "one seed has no spread"
    assert read.found[L].scores == {}, "a training that diverged has no score"
    assert set(read.found) == {S, M, L}
    assert read.source.startswith("the street world: val, 128x256, 96 frames, 800 trained on, from random weights")
    assert "`python -m training.compare`" in read.source
    assert any(R in note for note in read.notes)


def test_what_training_compare_wrote_is_read():
    scores = accuracies(STREET.with_name("compare.json"), "the street world", [S]).found[S].scores
    assert list(scores) == ["semantic", "depth", "normals", "edges"]
    assert 0.2 < scores["semantic"].mean < 0.3


def test_a_missing_file_is_noted_and_a_damaged_one_refused(tmp_path):
    nothing = accuracies(tmp_path / "none.json", "CamVid", [S])
    assert not nothing.found
    assert "no accuracy on CamVid: there is no file" in nothing.notes[0]
    for text in ("no json", "[]", '{"rows": [{"preset": "densemtl_edge_s"}]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"bad\.json is not") as refused:
            accuracies(tmp_path / "bad.json", "CamVid", [S])
        assert "\n" not in str(refused.value)


# the front ------------------------------------------------------------------------------------------------------------


def test_the_front():
    points = {"a": (1.0, 0.2), "b": (2.0, 0.3), "slower": (3.0, 0.3), "worse": (2.0, 0.1), "far": (9.0, 0.31)}
    assert beaten_by(points) == {"a": None, "b": None, "slower": "b", "worse": "b", "far": None}
    assert beaten_by({"one": (1.0, 1.0), "same": (1.0, 1.0)}) == {"one": None, "same": "one"}
    assert beaten_by({}) == {}


# the table ------------------------------------------------------------------------------------------------------------


def preset(name, ms, millions, left_out=()):
    def engine(backend, precision, factor):
        times = {key: ms * factor * part for key, part in (("p10", 0.9), ("p50", 1.0), ("p90", 1.2))}
        ratio = {"p10": factor, "p50": factor, "p90": factor}
        return EngineTimes(backend, precision, "cpu", times, ratio, ratio, 8_000_000, 40.0)

    engines = (engine("eager", "fp32", 2.0), engine("onnx", "fp32", 1.5), engine("onnx", "int8", 1.0)) if ms else ()
    return PresetTimes(name, Cost(int(millions * 1e6), int(ms * 1e9), 10**8), engines, 9, 20.0, 0.0, tuple(left_out))


def report(scores):
    found = {name: Accuracy({"semantic": Score("mIoU", mean, 0.004)}, (0, 1)) for name, mean in scores.items()}
    told = {"date": "today", "system": "Linux", "cpu": "x", "cores": 2, "threads": 2, "environment": {}}
    told |= {"load_average": 0.0, "versions": {}}
    presets = [preset(S, 20, 2), preset(M, 90, 47), preset(L, 100, 116), preset(R, 0, 135, ["densemtl_r101: no room"])]
    camvid = Accuracies({}, "", ("no accuracy on CamVid: there is no file camvid.json",))
    return PresetsReport(presets, Accuracies(found, "street", ()), camvid, Timing((64, 96), (64, 96)), told, (), "run")


def cells(markdown, name):
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_tells_who_is_on_the_front():
    made = report({S: 0.25, M: 0.30, L: 0.29})
    text = made.markdown()
    heading = cells(text, "preset")
    rows = {name: dict(zip(heading, cells(text, name), strict=True)) for name in (S, M, L, R)}
    assert [rows[name]["front"] for name in (S, M, L, R)] == ["yes", "yes", "no: r18", "-"]
    assert rows[S]["onnx int8 ms"] == "20.0 (18.0-24.0)"
    assert rows[S]["openvino int8 ms"] == "-"
    assert rows[S]["street mIoU %"] == "25.0 ±0.4"
    assert rows[S]["CamVid mIoU %"] == "-"
    assert f"The smallest on it is **`{S}`**" in text
    assert f"`{S}` (20.0 ms, 25.0 ±0.4 %), `{M}` (90.0 ms, 30.0 ±0.4 %)" in text
    assert "- not timed: densemtl_r101: no room" in text
    assert "- no accuracy on CamVid: there is no file camvid.json" in text
    data = json.loads(json.dumps(made.data(), allow_nan=False))["presets"]
    assert [row["on_front"] for row in data] == [True, True, False, None]
    assert data[2]["beaten_by"] == M
    assert data[0]["fastest"] == "onnx int8"


def test_without_accuracy_nobody_is_on_the_front():
    made = report({})
    assert not made.beaten
    assert "it takes accuracy on the street world" in made.markdown()
    assert made.picture().shape[1] == SIZE[1], "one panel: time against arithmetic"


def test_with_accuracy_there_are_two_panels():
    assert report({S: 0.25, M: 0.30}).picture().shape[1] == 2 * SIZE[1]


# the plot -------------------------------------------------------------------------------------------------------------


def centre(picture, colour):
    """Mean row and column of the pixels of a colour."""
    rows, columns = np.nonzero((picture == np.array(colour, np.uint8)).all(axis=-1))
    return rows.mean(), columns.mean()


@pytest.mark.parametrize("log_y", [False, True])
def test_points_lie_where_their_values_say(log_y):
    points = [Point("edge", 10.0, 20.0, family=0), Point("published", 1000.0, 40.0, family=1)]
    picture = draw([Panel("t", "x", "y", points, log_y)], ["caption"])
    (low, left), (high, right) = (centre(picture, colour) for colour in COLOURS)
    assert left < right
    assert low > high, "more is higher up"
    middle = draw([Panel("t", "x", "y", [*points, Point("m", 100.0, 800**0.5, family=1)], True)], [])
    # of the two squares' centre, three quarters of the way: the axis is logarithmic
    assert centre(middle, COLOURS[1])[1] == pytest.approx(left + 0.75 * (right - left), abs=1.5)


def test_one_point_is_drawn_too():
    picture = draw([Panel("t", "x", "y", [Point("alone", 12.0, 25.0, spread=0.5, front=True)])], [])
    assert picture.shape == (SIZE[0] + 14, SIZE[1], 3)
    row, column = centre(picture, COLOURS[0])
    assert row == pytest.approx((60 + SIZE[0] - 66) / 2, abs=2)
    assert column == pytest.approx((84 + SIZE[1] - 20) / 2, abs=2)
