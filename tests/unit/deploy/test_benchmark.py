"""The benchmark: what it compares, in which order, what it computes from the times, and what it writes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from densemtl_core.errors import InputError
from densemtl_core.runtime import default_bundle
from densemtl_core.runtime.backends.base import RunResult
from deploy import benchmark, conditions
from deploy.benchmark_report import table
from deploy.comparison import STAGES, compare, ratio
from deploy.foreign_graph import ForeignGraph, image_shape
from deploy.latency import interleaved
from deploy.lineup import Wanted, distinct, line_up
from deploy.loaded_engine import LoadedEngine, load_engines, with_memory

ROOT = Path(__file__).resolve().parents[3]


class Recorder:
    """Stands for a predictor: writes down when it is asked."""

    manifest = types.SimpleNamespace(resize="aspect")

    def __init__(self, name: str, calls: list[tuple[str, tuple[int, ...]]], error: BaseException | None = None):
        self.name, self.calls, self.error, self.closed = name, calls, error, False

    def predict(self, image):
        if self.error:
            raise self.error
        self.calls.append((self.name, image.shape))
        return RunResult({}, {"preprocess": 0.001, "infer": 0.002, "postprocess": 0.003})

    def close(self):
        self.closed = True


def engine(name: str, predictor=None, **given) -> LoadedEngine:
    facts = {"backend": "onnx", "device": "cpu", "precision": "fp32", "file": "model.onnx", "file_bytes": 1_500_000}
    return LoadedEngine(**{"name": name, "predictor": predictor, "input_size": (64, 128), **facts, **given})


# times ----------------------------------------------------------------------------------------------------------------


def test_a_ratio_is_taken_turn_by_turn():
    """The machine slows down tenfold meanwhile, which changes neither engine against the other."""
    reference = [0.010, 0.100, 0.010, 0.100]
    assert ratio([0.020, 0.200, 0.020, 0.200], reference) == {"p10": 2.0, "p50": 2.0, "p90": 2.0}
    # turns give 1, 2, 3, ..., 11
    assert ratio([0.01 * k for k in range(1, 12)], [0.01] * 11) == {"p10": 2.0, "p50": 6.0, "p90": 10.0}


def test_every_engine_is_compared_with_the_first():
    def stages(infer, extra):
        times = {"preprocess": [extra] * 3, "infer": infer, "postprocess": [extra] * 3}
        return {**times, "total": [value + 2 * extra for value in infer]}

    times = {"a": stages([0.008] * 3, 0.001), "b": stages([0.018, 0.028, 0.038], 0.001)}
    times["foreign"] = {"infer": [0.016] * 3, "total": [0.5] * 3}
    rows = compare([engine("a"), engine("b"), engine("foreign")], times)
    assert rows[0].ratio == {"p10": 1.0, "p50": 1.0, "p90": 1.0}
    assert rows[1].ratio == {"p10": 2.2, "p50": 3.0, "p90": 3.8}
    assert rows[1].stages["total"] == {"p50": 30.0, "p90": 38.0, "p99": 39.8}
    assert rows[1].stages["preprocess"] == {"p50": 1.0, "p90": 1.0, "p99": 1.0}
    assert [row.compared for row in rows] == ["total", "total", "infer"]
    assert rows[2].ratio["p50"] == 2.0, "a graph without pre- and post-processing is compared by inference alone"
    assert list(rows[2].stages) == ["infer", "total"]


def test_a_foreign_graph_may_come_first():
    times = {"foreign": {"infer": [0.01], "total": [0.01]}, "a": {s: [0.03] for s in STAGES}}
    rows = compare([engine("foreign"), engine("a")], times)
    assert [(row.compared, row.ratio["p50"]) for row in rows] == [("total", 1.0), ("infer", 3.0)]


def test_engines_take_turns():
    calls: list[tuple[str, tuple[int, ...]]] = []
    predictors = {name: Recorder(name, calls) for name in "abc"}
    times = interleaved(predictors, np.zeros((4, 6, 3), np.uint8), runs=3, warm_up=2)
    assert [name for name, _ in calls] == list("abc") * 5
    assert {name: len(seconds["total"]) for name, seconds in times.items()} == dict.fromkeys("abc", 3)


def test_the_table_says_at_which_size_each_network_works():
    engines = [engine("a", input_size=(96, 160)), engine("b", input_size=(192, 320))]
    times = {name: {stage: [0.01] for stage in STAGES} for name in "ab"}
    head, _, *rows = table(compare(engines, times)).splitlines()[:4]
    column = [cell.strip() for cell in head.split("|")].index("size")
    assert [row.split("|")[column].strip() for row in rows] == ["96x160", "192x320"]


# the command, with engines that are made up ---------------------------------------------------------------------------


@pytest.fixture
def made_up(monkeypatch):
    """Put these engines in the place of those that would be loaded."""

    def put(*engines):
        def instead(wanted, camera, folder):
            return distinct(engines), ["old.bundle tensorrt: no driver"], camera or (64, 128)

        monkeypatch.setattr(benchmark, "line_up", instead)
        return [one.predictor for one in engines]

    return put


def test_what_is_written(made_up, tmp_path, capsys):
    calls: list[tuple[str, tuple[int, ...]]] = []
    one, two = Recorder("one", calls), Recorder("two", calls)
    made_up(engine("one", one, memory_mib=12.34, memory_of_library=True), engine("two", two, random_weights=True))
    arguments = ["--runs", "2", "--warm-up", "1", "--camera", "48x96", "--threads", "1"]
    files = ["--json", str(tmp_path / "a b.json"), "--markdown", str(tmp_path / "t.md")]
    assert benchmark.main([*arguments, *files]) == 0
    assert calls == [("one", (48, 96, 3)), ("two", (48, 96, 3))] * 3
    assert one.closed
    assert two.closed
    report = json.loads((tmp_path / "a b.json").read_text())
    assert report["schema"] == 1
    assert (report["runs"], report["warm_up"], report["camera"]) == (2, 1, [48, 96])
    assert report["reference"] == "one"
    command = shlex.split(report["command"])
    assert command[command.index("deploy/benchmark.py") + 1 :] == [*arguments, *files]
    assert {"cpu", "cores", "threads", "load_average", "other_processes_cores", "versions"} <= set(report["conditions"])
    assert report["conditions"]["versions"]["numpy"] == np.__version__
    assert any("RANDOM weights" in note for note in report["notes"])
    assert "left out: old.bundle tensorrt: no driver" in report["notes"]
    row = report["rows"][0]
    assert (row["name"], row["memory_mib"], row["file_bytes"]) == ("one", 12.34, 1_500_000)
    assert row["stages"]["infer"] == {"p50": 2.0, "p90": 2.0, "p99": 2.0}
    assert set(row["stages"]) == set(STAGES)
    assert row["ratio"] == {"p10": 1.0, "p50": 1.0, "p90": 1.0, "of": "total"}
    said = capsys.readouterr().out
    assert (tmp_path / "t.md").read_text() == f"# Latency\n\n{said}"
    assert "* with the engine's library" in said
    for part in said.split("\n\n"):
        if part.startswith("|"):
            assert len({len(line) for line in part.splitlines()}) == 1, "columns are aligned"


def test_an_interrupt_writes_nothing(made_up, tmp_path, capsys):
    made_up(engine("one", Recorder("one", [], KeyboardInterrupt())))
    assert benchmark.main(["--json", str(tmp_path / "t.json")]) == 130
    assert not (tmp_path / "t.json").exists()
    assert "interrupted" in capsys.readouterr().err


def test_engines_of_one_name_are_numbered():
    names = [one.name for one in distinct([engine("a"), engine("b"), engine("a"), engine("a")])]
    assert names == ["a", "b", "a (2)", "a (3)"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere.bundle"], "bundle not found: /nowhere.bundle"),
        (["--backends", "onyx"], "'onyx', which is none; did you mean 'onnx'?"),
        (["--backends", ""], "'', which is none"),
        (["--backends", "eager,openvino", "--camera", "64x128"], "has nothing for backend 'openvino'"),
        (["--preset", "densemtl_edge"], "did you mean 'densemtl_edge_s'?"),
        (["--preset", "densemtl_edge_s", "--input", "60x128"], "multiples of 32"),
        (["--preset", "densemtl_edge_s", "--input", "64"], "give HEIGHTxWIDTH"),
        (["--input", "64x128"], "--input is for --preset"),
        (["--int8"], "--int8 is for --preset"),
        (["--camera", "0x10"], "--camera is '0x10'"),
        (["--runs", "0"], "--runs is 0"),
        (["--warm-up", "-1"], "--warm-up is -1"),
        (["--threads", "0"], "--threads is 0"),
        (["--json", "/nowhere/t.json"], "there is no folder /nowhere"),
        (["--against", "/nowhere.onnx", "--camera", "64x128"], "/nowhere.onnx is no file"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, arguments, said):
    assert benchmark.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert not captured.out


def test_run_as_a_file_it_finds_its_packages(tmp_path):
    command = [sys.executable, ROOT / "deploy/benchmark.py", tmp_path / "none.bundle"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: bundle not found")


def test_whoever_times_a_finished_bundle_needs_no_compiler():
    """A robot has onnxruntime and neither PyTorch nor onnx."""
    code = "import sys; import deploy.benchmark; print(sorted({'torch', 'onnx'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# conditions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "others", "said"),
    [(0.1, 0.05, ""), (2.5, 0.0, "load average 2.5"), (0.0, 1.6, "kept 1.6 of"), (0.2, None, ""), (1.0, None, "1.0")],
)
def test_a_machine_that_is_not_idle_is_warned_of(load, others, said):
    warning = conditions.warning(load, others)
    assert said in warning
    assert bool(warning) == bool(said)
    assert "\n" not in warning


def test_only_other_processes_disturb(monkeypatch):
    """In 10 s the machine worked for 16 s, of which this process for 6 s: others kept one core busy."""
    clocks = {"monotonic": iter([100.0, 110.0]), "process_time": iter([1.0, 7.0])}
    busy = iter([50.0, 66.0])
    monkeypatch.setattr(conditions, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(conditions, "time", types.SimpleNamespace(**{n: c.__next__ for n, c in clocks.items()}))
    with conditions.Disturbance() as others:
        assert others.cores is None
    assert others.cores == pytest.approx(1.0)


def test_memory_is_that_at_the_peak():
    def load() -> bytes:
        passing = np.ones(48 * 2**20, np.uint8)
        return passing[:10].tobytes()

    loaded, grown = with_memory(load)
    assert loaded == b"\1" * 10
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert grown is not None
        assert 40 < grown < 80
    kept, grown = with_memory(lambda: np.ones(48 * 2**20, np.uint8))
    assert grown is not None
    assert 40 < grown < 80
    assert kept.size == 48 * 2**20


# foreign graphs -------------------------------------------------------------------------------------------------------


def graph(path: Path, inputs=(("image", TensorProto.FLOAT, ["B", 3, "H", "W"]),), operator: str = "Relu") -> Path:
    values = [helper.make_tensor_value_info(*given) for given in inputs]
    kind = inputs[0][1]
    nodes = [helper.make_node(operator, [given[0] for given in inputs], ["out"])]
    made = helper.make_graph(nodes, "foreign", values, [helper.make_tensor_value_info("out", kind, None)])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("declared", "fed"),
    [
        (["B", 3, "H", "W"], (1, 3, 64, 96)),
        (["B", "H", "W", 3], (1, 64, 96, 3)),
        ([1, 3, 224, 224], (1, 3, 224, 224)),
        ([None, 1, 32, None], (1, 1, 32, 96)),
        ([2, 320, 320, 1], (2, 320, 320, 1)),
    ],
)
def test_what_a_foreign_graph_is_fed(declared, fed):
    assert image_shape(declared, (64, 96), "here") == fed


def test_a_foreign_graph_runs(tmp_path):
    foreign = ForeignGraph(graph(tmp_path / "relu.onnx"), (32, 64), threads=1)
    assert foreign.shape == (1, 3, 32, 64)
    seconds = foreign.predict(None).seconds
    assert list(seconds) == ["infer"]
    assert seconds["infer"] > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inputs": (("a", 1, [1, 3, 4, 4]), ("b", 1, [1, 3, 4, 4])), "operator": "Add"}, "2 inputs (a, b)"),
        ({"inputs": (("ids", TensorProto.INT64, [1, 3, 4, 4]),), "operator": "Neg"}, "tensor(int64)"),
        ({"inputs": (("tokens", TensorProto.FLOAT, [1, 77]),)}, "has shape [1, 77]"),
        ({"inputs": (("many", TensorProto.FLOAT, [1, 64, 8, 8]),)}, "has shape [1, 64, 8, 8]"),
    ],
)
def test_a_graph_that_takes_no_image_is_refused(tmp_path, given, said):
    with pytest.raises(InputError) as refused:
        ForeignGraph(graph(tmp_path / "other.onnx", **given), (32, 64))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(InputError, match="cannot load it"):
        ForeignGraph(tmp_path / "text.onnx", (32, 64))


# with real engines ----------------------------------------------------------------------------------------------------


def test_what_a_bundle_does_not_offer_is_left_out(one_thread):
    (eager,), left_out = load_engines(default_bundle(), ["openvino", "eager"], 1)
    assert (eager.backend, eager.file) == ("eager", f"{default_bundle()}/model.safetensors")
    assert eager.file_bytes == (default_bundle() / "model.safetensors").stat().st_size
    assert len(left_out) == 1
    assert "openvino" in left_out[0]
    eager.predictor.close()


def test_the_same_bundle_twice_is_two_rows(one_thread, tmp_path):
    wanted = Wanted(bundles=[default_bundle()] * 2, backends=["eager"], threads=1)
    engines, left_out, camera = line_up(wanted, None, tmp_path)
    assert [e.name for e in engines] == ["edge_s_street eager fp32", "edge_s_street eager fp32 (2)"]
    assert camera == engines[0].input_size
    assert not left_out


def test_a_preset_end_to_end(one_thread, tmp_path, capsys, monkeypatch, model, description, exported):
    """All but building and exporting the network, which takes most of the time and was done for this folder already."""
    monkeypatch.setattr("deploy.untrained.untrained_network", lambda preset, size: (model, description))
    monkeypatch.setattr("deploy.compilation.export_onnx", lambda *args, **kwargs: exported)
    arguments = ["--preset", "densemtl_edge_s", "--input", "64x96", "--backends", "onnx,eager", "--int8"]
    files = ["--json", str(tmp_path / "t.json"), "--against", str(graph(tmp_path / "relu.onnx"))]
    assert benchmark.main([*arguments, *files, "--runs", "3", "--warm-up", "1", "--threads", "1"]) == 0
    assert "with RANDOM weights" in capsys.readouterr().err
    report = json.loads((tmp_path / "t.json").read_text())
    rows = report["rows"]
    name = "densemtl_edge_s_64x96"
    expected = [f"{name} onnx fp32", f"{name} eager fp32", f"{name} onnx int8", "relu.onnx 1x3x64x96"]
    assert [row["name"] for row in rows] == expected
    assert [row["random_weights"] for row in rows] == [True, True, True, False]
    assert rows[2]["file_bytes"] < rows[0]["file_bytes"] / 2
    for row in rows[:3]:
        assert set(row["stages"]) == set(STAGES)
        parts = sum(row["stages"][stage]["p50"] for stage in STAGES[:3])
        assert 0 < row["stages"]["infer"]["p50"] <= row["stages"]["total"]["p50"]
        assert parts <= 1.5 * row["stages"]["total"]["p99"]
        assert row["ratio"]["p10"] <= row["ratio"]["p50"] <= row["ratio"]["p90"]
    assert rows[3]["ratio"]["of"] == "infer"
    assert rows[3]["ratio"]["p50"] < 1, "one operation takes less time than a network"
