"""The comparison's configuration, folders, table and costs; the real command is in tests/recipes/test_compare.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from densemtl_core.errors import InputError
from densemtl_core.models import build_model
from densemtl_core.tasks import make_tasks
from training.compare import RESULT, _write_json, main
from training.comparison import open_folder, read_comparison
from training.comparison_table import Outcome, Score, cells, markdown, method_row, set_delta
from training.network_cost import Network, count, time_interleaved
from training.run_folder import claimed

CONFIG = Path(__file__).resolve().parents[3] / "training/configs/compare_street.yaml"
JUDGES = {"semantic": Score("mIoU", True), "depth": Score("RMSE", False)}


def outcome(seed: int, miou: float, rmse: float) -> Outcome:
    scores = {"semantic": {"mIoU": miou, "pixel_accuracy": 0.9}, "depth": {"RMSE": rmse}}
    return Outcome(("semantic", "depth"), seed, scores)


def rows_of(**methods: list[Outcome]) -> list[dict]:
    rows = [method_row(name, outcomes, JUDGES) for name, outcomes in methods.items()]
    set_delta(rows, "single")
    return rows


# Table


def test_mean_spread_and_values_of_every_metric():
    (row,) = rows_of(single=[outcome(0, 0.5, 4.0), outcome(1, 0.7, 6.0)])
    assert row["seeds"] == [0, 1]
    semantic = row["tasks"]["semantic"]
    assert semantic["mean"] == pytest.approx(0.6)
    assert semantic["std"] == pytest.approx(math.sqrt(0.02))  # of the sample: 0.1^2 + 0.1^2 over n - 1
    assert semantic["values"] == {"0": 0.5, "1": 0.7}
    assert semantic["others"]["pixel_accuracy"]["mean"] == pytest.approx(0.9)
    assert row["diverged"] == []


def test_delta_by_hand():
    rows = rows_of(
        single=[outcome(0, 0.4, 5.0), outcome(1, 0.6, 3.0)], ours=[outcome(0, 0.6, 3.0), outcome(1, 0.5, 4.4)]
    )
    # against means 0.5 and 4: seed 0 gains 20 % and 25 %, seed 1 gains 0 % and loses 10 %
    assert rows[1]["delta"]["values"] == pytest.approx({"0": 22.5, "1": -5.0})
    assert rows[1]["delta"]["mean"] == pytest.approx(8.75)
    assert rows[0]["delta"]["mean"] == pytest.approx(0.0)
    assert rows[0]["delta"]["std"] > 0, "the baseline's own noise is worth knowing"
    # against the same seed: seed 0 gains 50 % and 40 %, seed 1 loses a sixth and 1.4 of 3
    assert rows[1]["paired_delta"]["values"] == pytest.approx({"0": 45.0, "1": -50 / 6 - 70 / 3})
    assert rows[0]["paired_delta"]["values"] == {"0": 0.0, "1": 0.0}


def test_single_task_runs_of_a_seed_make_one_row():
    one = [
        Outcome(("semantic",), 0, {"semantic": {"mIoU": 0.5}}),
        Outcome(("depth",), 0, {"depth": {"RMSE": 4.0}}),
        Outcome(("semantic",), 1, {"semantic": {"mIoU": 0.7}}),
    ]
    row = rows_of(single=one)[0]
    assert row["tasks"]["semantic"]["values"] == {"0": 0.5, "1": 0.7}
    assert row["tasks"]["depth"]["values"] == {"0": 4.0}
    assert set(row["delta"]["values"]) == set(row["paired_delta"]["values"]) == {"0"}, "seed 1 has no depth yet"


def test_a_diverged_run_is_shown_and_not_dropped():
    broken = Outcome(("semantic", "depth"), 1, {}, "step 7: the loss is nan")
    rows = rows_of(
        single=[outcome(0, 0.5, 4.0)],
        ours=[outcome(0, 0.5, 4.0), broken],
        worse=[outcome(0, math.nan, 4.0), outcome(1, 0.5, 4.0)],
        worst=[broken],
    )
    for row in rows:
        row |= {"ms": None, "parameters": 1.0, "gflop": 1.0}
    table = {line[0]: line for line in cells(rows, JUDGES)[1:]}
    assert rows[1]["diverged"] == [{"seed": 1, "tasks": ["semantic", "depth"], "why": "step 7: the loss is nan"}]
    assert table["worst"][2:5] == ["diverged", "diverged", "diverged"]
    assert table["worse"][2] == "0.5 (1 diverged)"
    assert rows[2]["tasks"]["semantic"]["values"] == {"0": None, "1": 0.5}
    assert set(rows[2]["delta"]["values"]) == {"1"}
    assert rows[2]["paired_delta"]["values"] == {}, "the baseline has no seed 1"
    assert "diverged" not in table["single"][2]


@pytest.mark.parametrize("baseline", [[], [outcome(0, 0.0, 4.0)]])
def test_no_delta_against_nothing_or_zero(baseline):
    rows = rows_of(single=baseline, ours=[outcome(0, 0.5, 4.0)])
    assert rows[1]["delta"] == {"mean": None, "std": None, "values": {}}


def test_markdown_says_what_was_done():
    rows = rows_of(single=[outcome(0, 0.5, 4.0)])
    rows[0] |= {"ms": {"median": 12.0, "low": 11.0, "high": 14.5, "rounds": 9}, "parameters": 7.6, "gflop": 0.3}
    report = {
        "judged_on": {
            "dataset": "street", "options": {"style": "mixed"}, "size": [128, 256], "classes": "cityscapes19",
            "training_samples": 800, "validation_samples": 96,
        },
        "settings": {"run": {"steps": 230, "batch": 8}, "encoder_weights": None},
        "seeds": [0], "baseline": "single", "command": "python -m training.compare", "rows": rows,
        "unfinished": ["ours, depth, seed 0"],
    }  # fmt: skip
    text = markdown(report, cells(rows, JUDGES))
    for part in ("street, style mixed, 128x256", "800 samples", "230 steps of batch 8", "random weights", "seeds 0"):
        assert part in text
    assert "| single | 1 | 0.5 | 4 | +0.00 | 7.60 | 0.30 | 12.0 (11.0 to 14.5) |" in text
    assert "Not finished yet: ours, depth, seed 0" in text


# Configuration and folders


def test_the_shipped_configuration():
    comparison = read_comparison(CONFIG)
    assert len(comparison.methods) == 6
    assert comparison.baseline == "single-task"
    assert comparison.encoder_weights is None, "a path of one machine does not belong here"


def test_trainings_of_a_seed(tmp_path):
    comparison = read_comparison(CONFIG, ["weights.semantic=3", "run.steps=7"])
    single = list(comparison.trainings(tmp_path, "single-task", 2))
    (multi,) = comparison.trainings(tmp_path, "multi-task", 2)
    assert [t.tasks for t in single] == [("semantic",), ("depth",), ("normals",), ("edges",)]
    assert multi.tasks == ("semantic", "depth", "normals", "edges")
    assert single[1].settings.tasks == [{"kind": "depth", "encoding": "log", "criterion": "berhu"}]
    assert (single[0].settings.weights, multi.settings.weights) == ({}, {"semantic": 3.0})
    assert multi.settings.preset == "mtl_edge_s"
    assert {t.settings.run.seed for t in [*single, multi]} == {2}
    assert {t.settings.run.steps for t in [*single, multi]} == {7}
    assert len({t.settings.data.cache for t in [*single, multi]}) == 1
    assert len({t.folder for t in [*single, multi]}) == 5


def test_a_folder_goes_on_with_the_same_settings_and_may_gain_a_method(tmp_path):
    open_folder(read_comparison(CONFIG), tmp_path)
    again = open_folder(read_comparison(CONFIG, ["data.cache=elsewhere", "run.workers=1"]), tmp_path)
    assert again.data.cache == "elsewhere"
    more = open_folder(read_comparison(CONFIG, ["methods.other.preset=densemtl_r18"]), tmp_path)
    assert [*again.methods, "other"] == list(more.methods)
    assert list(open_folder(read_comparison(CONFIG), tmp_path).methods) == list(more.methods)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.steps=9", "was made with run.steps=230, not 9"),
        ("data.size=[64,96]", r"data.size=\[128, 256\], not \[64, 96\]"),
        ("methods.xTAM.preset=padnet_edge_s", "methods.xTAM.preset=xtam_edge_s, not padnet_edge_s"),
        ("data.options.seed=1", "data.options.seed=None, not 1"),
    ],
)
def test_a_folder_of_other_settings_is_refused(tmp_path, override, message):
    open_folder(read_comparison(CONFIG), tmp_path)
    before = (tmp_path / "compare.yaml").read_text()
    with pytest.raises(InputError, match=message) as caught:
        open_folder(read_comparison(CONFIG, [override]), tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "compare.yaml").read_text() == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no comparison"):
        open_folder(read_comparison(CONFIG), tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods.xTAM.preset=xtam_edge", "did you mean 'xtam_edge_s'"),
        ("baseline=nothing", "baseline is 'nothing'; it must be one of single-task"),
        ("tasks=[semantic,flow]", "unknown task kind 'flow'"),
        ("data.size=null", "data.size is null"),
        ("preset=mtl_edge_s", "preset is mtl_edge_s; a comparison takes it from its methods"),
        ("methods.xTAM.presets=x", "methods.xTAM.presets"),
        ("methods.a/b.preset=mtl_edge_s", "method 'a/b'"),
        ("methods.new.single=true", "methods.new.preset"),
        ("run.stepps=1", "stepps"),
    ],
)
def test_bad_configurations_are_refused_in_one_line(override, message):
    with pytest.raises(InputError, match=message) as caught:
        read_comparison(CONFIG, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", str(CONFIG), "--only", "xTAM,ours"], "--only 'ours' is no method; known: single-task"),
        (["--config", str(CONFIG), "--seeds", "0"], "--seeds is 0"),
        (["--config", "nowhere.yaml"], "configuration not found: nowhere.yaml"),
        (["--table"], "holds no comparison"),
        ([], "--config is missing"),
    ],
)
def test_bad_commands_are_refused_in_one_line(tmp_path, capsys, arguments, message):
    assert main([*arguments, "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("new/runs/*"))


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    with (
        claimed(tmp_path / "run", ".claim") as first,
        claimed(tmp_path / "run", ".claim") as second,
        claimed(tmp_path / "other", ".claim") as third,
    ):
        assert (first, second, third) == (True, False, True)
    with claimed(tmp_path / "run", ".claim") as later:
        assert later


def test_the_table_is_made_of_what_is_done(tmp_path):
    comparison = open_folder(read_comparison(CONFIG, ["encoder_weights=/somewhere/private/mobilenet.pth"]), tmp_path)
    (tmp_path / "command.json").write_text('"the command"')
    for method in ("single-task", "xTAM"):
        for training in comparison.trainings(tmp_path, method, 0):
            training.folder.mkdir(parents=True)
            names = {"semantic": "mIoU", "depth": "RMSE", "normals": "mErr", "edges": "macroF1"}
            scores = {task: {names[task]: 0.5 if method == "xTAM" else 0.4} for task in training.tasks}
            _write_json(training.folder / RESULT, {"scores": scores, "diverged": ""})
    assert main(["--table", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "compare.json").read_text()
    report = json.loads(text)
    assert "private" not in text + (tmp_path / "table.md").read_text()
    assert report["settings"]["encoder_weights"] == "mobilenet.pth"
    rows = {row["method"]: row for row in report["rows"]}
    assert rows["xTAM"]["delta"]["mean"] == pytest.approx((25 - 25 - 25 + 25) / 4)
    assert rows["multi-task"]["seeds"] == []
    assert "multi-task, semantic+depth+normals+edges, seed 0" in report["unfinished"]
    assert rows["xTAM"]["ms"] is None
    assert "| multi-task | 0 | - | - | - | - | - |" in (tmp_path / "table.md").read_text()


# Cost


def test_the_cost_of_several_networks_is_their_sum():
    semantic, depth = (Network("mtl_edge_s", make_tasks([kind], num_classes=7)) for kind in ("semantic", "depth"))
    one, other, both = (count(networks, (64, 96)) for networks in ([semantic], [depth], [semantic, depth]))
    for key in ("parameters", "gflop"):
        assert both[key] == pytest.approx(one[key] + other[key])
    real = build_model("mtl_edge_s", ("depth",))
    assert other["parameters"] == sum(p.numel() for p in real.parameters()) / 1e6
    assert count([depth], (128, 192))["gflop"] == pytest.approx(4 * other["gflop"], rel=0.01)


def test_times_are_of_every_group_and_round():
    depth = Network("mtl_edge_s", make_tasks(["depth"]))
    times = time_interleaved({"one": [depth], "three": [depth] * 3}, (64, 64), rounds=5)
    assert [t["rounds"] for t in times.values()] == [5, 5]
    assert 0 < times["one"]["low"] <= times["one"]["median"] <= times["one"]["high"]
    assert times["three"]["median"] > times["one"]["median"]
