"""Which presets are timed, in which turns, and what the command refuses."""

from __future__ import annotations

import json
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

from densemtl_core.errors import InputError
from densemtl_core.runtime.backends.base import RunResult
from deploy import benchmark, presets
from deploy.loaded_engine import LoadedEngine
from deploy.presets import LEAST_TURNS, Timing, chosen_presets, time_presets
from deploy.presets_cost import Cost, cost

SIZE = (64, 96)
SMALL, LARGE = "densemtl_edge_s", "densemtl_r18"


# which ----------------------------------------------------------------------------------------------------------------


def test_all_are_the_presets_of_our_networks_the_smallest_first(monkeypatch):
    sizes = {SMALL: 2, LARGE: 47, "densemtl_r50": 116, "densemtl_r101": 135}
    monkeypatch.setattr(presets, "cost", lambda preset: Cost(sizes.get(preset, 10), 0, 0))
    chosen = chosen_presets("all")
    assert chosen[0] == SMALL
    assert chosen[-3:] == [LARGE, "densemtl_r50", "densemtl_r101"]
    assert all(name.startswith("densemtl_") for name in chosen)
    assert chosen_presets(f"{LARGE}, {SMALL},{LARGE}") == [LARGE, SMALL]


# what they cost -------------------------------------------------------------------------------------------------------


def test_cost_without_computing():
    """Nothing is allocated: at this size the published network's features would take hundreds of gigabytes."""
    found = cost(LARGE, (8192, 16384))
    assert found.parameters == 46_949_170
    assert 0 < found.exchange_flop < found.flop
    assert found.flop > 256 * 2276e9, "at 512x1024 it is 2276 GFLOP, and attention grows faster than the image"
    assert cost("mtl_edge_s", SIZE).exchange_flop == 0


# in turns -------------------------------------------------------------------------------------------------------------


class Clocked:
    """Stands for a predictor: a clock goes on when it is asked."""

    def __init__(self, name: str, seconds: float, clock: list[float], calls: list[str]):
        self.name, self.seconds, self.clock, self.calls, self.closed = name, seconds, clock, calls, False

    def predict(self, image):
        assert image.shape == (*SIZE, 3)
        assert not self.closed
        self.calls.append(self.name)
        self.clock[0] += self.seconds
        return RunResult({}, {"infer": self.seconds})

    def close(self):
        self.closed = True


@pytest.fixture
def machine(monkeypatch):
    """Engines with known times in the place of those that would be compiled."""
    clock, calls, opened, compiled = [0.0], [], [], []
    eager = {SMALL: 0.1, LARGE: 0.8}
    factor = {"eager fp32": 1.0, "onnx fp32": 0.5, "openvino fp32": 0.4, "onnx int8": 0.25, "openvino int8": 0.2}

    def engine(preset, kind):
        name = f"{preset} {kind}"
        backend, precision = kind.split()
        predictor = Clocked(name, eager[preset] * factor[kind], clock, calls)
        opened.append(predictor)
        return LoadedEngine(name, predictor, backend, "cpu", precision, "model.onnx", 4_000_000, SIZE, 50.0)

    def compile_untrained(preset, size, precisions, folder, tell):
        if preset not in eager:
            raise InputError("the exported graph differs from the network")
        compiled.append(preset)
        (folder / preset).write_text("a large file")
        return [(precision, folder / preset) for precision in precisions]

    def load_untrained(made, backends, threads):
        kinds = [f"{b} {p}" for p, _ in made for b in backends if (b, p) != ("eager", "int8")]
        return [engine(made[0][1].name, kind) for kind in kinds], []

    monkeypatch.setattr(presets, "untrained_bundles", compile_untrained)
    monkeypatch.setattr(presets, "load_untrained", load_untrained)
    monkeypatch.setattr(presets, "load_engines", lambda path, *a, **k: ([engine(path.name, "eager fp32")], []))
    monkeypatch.setattr(presets, "cost", lambda preset: Cost(2_000_000, 12 * 10**9, 10**9))
    monkeypatch.setattr("deploy.latency.time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    return types.SimpleNamespace(calls=calls, opened=opened, compiled=compiled)


def test_the_first_presets_eager_engine_runs_in_everybodys_turns(machine, tmp_path):
    small, large = time_presets([SMALL, LARGE], Timing(SIZE, SIZE, runs=7, warm_up=1), tmp_path)
    assert machine.compiled == [SMALL, LARGE], "each once"
    ofs = {(e.backend, e.precision): (e.of_eager["p50"], e.of_reference["p50"]) for e in large.engines}
    assert ofs["eager", "fp32"] == (1.0, 8.0)
    assert ofs["openvino", "int8"] == (0.2, 1.6)
    assert small.engine("eager", "fp32").ms == {"p10": 100.0, "p50": 100.0, "p90": 100.0}
    assert (small.fastest.backend, small.fastest.precision) == ("openvino", "int8")
    assert small.reference_ms == large.reference_ms == 100.0
    group = [f"{SMALL} eager fp32", *(f"{LARGE} {e.backend} {e.precision}" for e in large.engines)]
    assert machine.calls[-7 * len(group) :] == group * 7, "frame by frame in turns"
    assert all(predictor.closed for predictor in machine.opened)
    assert (tmp_path / SMALL).is_dir()
    assert not (tmp_path / LARGE).exists(), "what is done with takes no disk"


@pytest.mark.parametrize(("seconds", "turns"), [(1000.0, 30), (20.0, 10), (0.1, LEAST_TURNS)])
def test_as_many_turns_as_there_is_time_for(machine, tmp_path, seconds, turns):
    """A turn of the large preset takes 0.1 + 0.8 (1 + 0.5 + 0.4 + 0.25 + 0.2) = 1.98 s."""
    timed = time_presets([SMALL, LARGE], Timing(SIZE, SIZE, runs=30, seconds=seconds), tmp_path)
    assert timed[1].turns == turns


def test_never_more_turns_than_were_asked_for(machine, tmp_path):
    assert time_presets([SMALL], Timing(SIZE, SIZE, runs=2, seconds=0.1), tmp_path)[0].turns == 2


def test_a_preset_that_cannot_be_compiled_is_left_out_and_told(machine, tmp_path):
    small, broken = time_presets([SMALL, "densemtl_r50"], Timing(SIZE, SIZE, runs=2), tmp_path)
    assert small.engines
    assert (broken.engines, broken.fastest) == ((), None)
    assert broken.cost == small.cost, "counting needs no compiler"
    assert broken.left_out == ("densemtl_r50: the exported graph differs from the network",)
    with pytest.raises(InputError, match="exported graph differs"):
        time_presets(["densemtl_r50", SMALL], Timing(SIZE, SIZE, runs=2), tmp_path)


# the command ----------------------------------------------------------------------------------------------------------


def test_the_command_writes_table_figures_and_plot(machine, tmp_path, capsys):
    files = {option: tmp_path / f"t.{option}" for option in ("json", "markdown", "png")}
    arguments = ["--presets", f"{SMALL},{LARGE}", "--input", "64x96", "--runs", "3", "--threads", "1"]
    arguments += ["--json", str(files["json"]), "--markdown", str(files["markdown"]), "--plot", str(files["png"])]
    assert benchmark.main(arguments) == 0
    said = capsys.readouterr().out
    assert files["markdown"].read_text() == f"# Presets\n\n{said}"
    report = json.loads(files["json"].read_text())
    assert [preset["preset"] for preset in report["presets"]] == [SMALL, LARGE]
    assert report["timing"]["size"] == [64, 96]
    assert report["reference"] == f"{SMALL} eager fp32"
    assert report["command"].endswith(f"--plot {files['png']}")
    assert "RANDOM weights" in report["notes"][0]
    picture = cv2.imread(str(files["png"]))
    assert picture is not None
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--presets", "densemtl_edge_x"], "did you mean 'densemtl_edge_"),
        (["--presets", ""], "'', which is none"),
        (["--presets", "all", "some.bundle"], "leave some.bundle out"),
        (["--presets", "all", "--preset", "densemtl_r18"], "--preset does not go with --presets"),
        (["--presets", "all", "--int8"], "--int8 does not go with --presets"),
        (["--presets", "all", "--backends", "onnx"], "--backends does not go with --presets"),
        (["--presets", "all", "--input", "64x96", "96x96"], "--input has 2 sizes (64x96 96x96)"),
        (["--presets", "all", "--input", "60x96"], "multiples of 32"),
        (["--presets", "all", "--plot", "plot.pdf"], "--plot plot.pdf is no PNG file"),
        (["--presets", "all", "--plot", "/nowhere/plot.png"], "there is no folder /nowhere"),
        (["--presets", "all", "--plot", "/"], "--plot / is a folder"),
        (["--presets", "all", "--seconds", "0"], "--seconds is 0"),
        (["--presets", "all", "--seconds", "nan"], "--seconds is nan"),
        (["--presets", "all", "--street", "/nowhere.json"], "--street /nowhere.json is no file"),
        (["--presets", "all", "--runs", "0"], "--runs is 0"),
        (["--presets", "all", "--threads", "99999999999999"], "--threads is 99999999999999; give 1 to 1024"),
        (["--plot", "plot.png"], "--plot is for --presets"),
        (["--camvid", "c.json"], "--camvid is for --presets"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, arguments, said):
    assert benchmark.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert not captured.out


def test_a_place_that_cannot_be_written_is_told_before_the_work(machine, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("deploy.benchmark.os.access", lambda path, mode: Path(path) != tmp_path)
    assert benchmark.main(["--presets", SMALL, "--plot", str(tmp_path / "p.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not machine.compiled
