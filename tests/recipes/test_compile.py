"""``python deploy/compile.py``: a checkpoint becomes a bundle, or nothing happens and one line says why."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest

from densemtl_core.data.street import StreetWorld
from densemtl_core.runtime import Bundle, Predictor
from deploy import compile as command

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--input", "64x96", "--calibration-frames", "2", "--judge", "2")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "deploy/compile.py"), *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)


def error_of(capsys, *arguments: str, status: int = 2) -> str:
    assert command.main(list(arguments)) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def own_footage(tmp_path_factory) -> Path:
    """Ten pictures of somebody's camera."""
    folder = tmp_path_factory.mktemp("footage")
    world = StreetWorld(seed=5, split="val", size=(64, 96), style="real", length=10)
    for k in range(10):
        cv2.imwrite(str(folder / f"{k}.png"), (world[k].image.permute(1, 2, 0).numpy()[..., ::-1] * 255).round())
    return folder


@pytest.fixture(scope="module")
def from_the_command_line(tmp_path_factory, own_footage) -> tuple[Path, str, str]:
    """The shipped network in INT8, made once, by the command itself: the bundle, what was printed, and the warnings."""
    out = tmp_path_factory.mktemp("compiled") / "fast.bundle"
    done = run("--int8", "--calibration", str(own_footage), "--out", str(out), *TINY, "--allow-accuracy-drop")
    assert done.returncode == 0, done.stderr
    return out, done.stdout, done.stderr


@pytest.fixture
def exported_already(from_the_command_line, monkeypatch) -> None:
    """Exporting takes most of the time: the graph that came of it once is taken again."""
    graph = onnx.load(from_the_command_line[0] / "model.onnx")
    monkeypatch.setattr("deploy.compilation.export_onnx", lambda *args, **kwargs: graph)


@pytest.mark.slow
def test_the_shipped_network_in_int8(from_the_command_line):
    out, printed, warned = from_the_command_line
    assert "convolutions in INT8" in printed
    assert re.search(r"^task +metric +eager fp32 +onnx int8 +lost +allowed +verdict$", printed, re.MULTILINE)
    for task in ("semantic", "depth", "normals", "edges"):
        assert f"\n{task}" in printed
    assert re.search(r"^depth +RMSE metres +[\d.]+ +[\d.]+ +-?[\d.]+ +[\d.]+ +(passed|FAILED)", printed, re.MULTILINE)
    stages = re.findall(r"^\[ *\d+ s\] (.*) \.\.\.$", printed, re.MULTILINE)
    assert [stage.split()[0] for stage in stages[:7]] == [
        "read", "make", "export", "condition", "judge", "judge", "condition"
    ]  # fmt: skip
    assert stages[-1] == "time onnx and eager, turn by turn"
    assert "beside    the network that ships" not in printed, "it is that network"
    assert "warning: 2 frames are too few to calibrate INT8 with: give at least 16" in warned.splitlines()
    assert re.search(r"^(put in|left out) +model\.int8-trt\.onnx.* edges macroF1 ", printed, re.MULTILINE)
    assert "warning: --judge 2 is too few for the gate to mean much: give at least 16" in warned.splitlines()
    bundle = Bundle(out)
    bundle.verify()
    manifest = bundle.manifest
    assert manifest.precision == "int8"
    assert manifest.accuracy["dataset"] == "procedural street world, real style, 2 frames of 64x96"
    promised = re.search(r"^bundle .*, about (\d+) MB$", printed, re.MULTILINE)
    size = sum(info.size for info in manifest.files.values()) / 1e6
    assert size < int(promised[1]) < 1.5 * size, "what is promised is enough, and not much too much"
    assert manifest.engines["onnx"].file == "model.int8-cpu.onnx"
    assert {"model.onnx", "model.int8-cpu.onnx", "model.int8-trt.onnx", "model.safetensors"} <= set(manifest.files)
    assert set(manifest.accuracy["scores"]) == set(manifest.accuracy["scores_fp32"]) == set(manifest.tasks)
    found = Predictor(out).predict(np.zeros((120, 160, 3), np.uint8))
    assert found["semantic"].shape == (120, 160)


@pytest.mark.slow
def test_ones_own_frames_are_compared_on_and_the_gate_is_told_apart(from_the_command_line, own_footage):
    out, printed, _ = from_the_command_line
    manifest = Bundle(out).manifest
    assert manifest.made_with["calibration"] == f"2 of 10 frames of {own_footage.name}"
    assert "The gate is judged on the street world, whose frames have labels, not on your footage" in printed
    assert f"On 8 frames of {own_footage.name} that were not calibrated on, onnx int8 beside eager fp32" in printed
    told = manifest.accuracy["agreement"]
    assert (told["source"], told["frames"], told["with"]) == (own_footage.name, 8, "eager fp32")
    assert set(told["scores"]) == set(manifest.tasks)
    assert 0.5 < told["scores"]["semantic"]["same_class"] < 1
    assert 0 < told["scores"]["depth"]["median_deviation"] < 0.5
    assert 0 < told["scores"]["normals"]["mean_angle"] < 30
    assert f"same class {100 * told['scores']['semantic']['same_class']:.2f} %" in printed


@pytest.mark.slow
def test_a_loss_beyond_the_gate_writes_nothing_and_the_old_bundle_stays(
    exported_already, tmp_path, monkeypatch, capsys
):
    """Of the network that ships, with nothing else given."""
    out = tmp_path / "mine.bundle"
    assert command.main(["--backend", "eager", "--out", str(out)]) == 0
    before = (out / "manifest.json").read_bytes()
    capsys.readouterr()
    monkeypatch.setattr("deploy.accuracy.GATES", {"mIoU": ("points", -1.0)})
    assert command.main(["--int8", "--strict", "--out", str(out), *TINY]) == 1
    said = capsys.readouterr()
    (message,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert "semantic" in message
    assert "--allow-accuracy-drop" in message
    advice = "calibrated on 2 frames of the procedural street world; your own camera's frames are better"
    assert advice in said.out
    assert "not on your footage" not in said.out
    assert (out / "manifest.json").read_bytes() == before
    assert Bundle(out).manifest.precision == "fp32"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.bundle"]


@pytest.mark.slow
def test_interrupted_it_leaves_what_was_there(exported_already, tmp_path, monkeypatch, capsys):
    out = tmp_path / "mine.bundle"

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "package", interrupted)
    assert command.main(["--out", str(out), *TINY[:2], "--judge", "0"]) == 130
    assert "is as it was before" in capsys.readouterr().err
    assert not out.exists()


def test_a_full_disk_is_told_and_the_old_bundle_stays(tmp_path, monkeypatch, capsys):
    out = tmp_path / "mine.bundle"
    assert command.main(["--backend", "eager", "--out", str(out)]) == 0
    before = (out / "manifest.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    message = error_of(capsys, "--backend", "eager", "--out", str(out))
    assert "No space left on device (" in message
    assert "; the old one is intact" in message
    assert (out / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine.bundle"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "mine.bundle"
    assert command.main(["--int8", "--dry-run", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "engine    onnx, int8" in printed
    assert "dry run: not written" in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--input", "100x200"), "multiples of 32"),
        (("--checkpoint", "/nowhere"), "/nowhere"),
        (("--calibration", "/somewhere"), "is for --int8"),
        (("--input", "8192x64"), "--input is '8192x64'; a network works at no more than 4096 pixels a side"),
        (("--input", "4096x4096"), "and 8.4 million in all"),
        (("--num-classes", "5"), "--num-classes is for --preset"),
        (("--fixed", "--backend", "eager"), "--fixed is for a compiled engine"),
        (("--card", "/nowhere"), "--card /nowhere cannot be read (No such file or directory)"),
        *(((f"--{name}", ""), f"--{name} is empty") for name in ("checkpoint", "input", "calibration", "card", "sign")),
        (("--judge", "-1"), "--judge is -1"),
        (("--int8", "--calibration", "/nowhere"), "no such file or folder"),
        (
            ("--int8", "--calibration", "/nowhere", "--dry-run"),
            "--calibration /nowhere: /nowhere: no such file or folder",
        ),
        (("--int8", "--calibration-frames", "0"), "--calibration-frames is 0"),
        (("--int8", "--calibration", str(ROOT / "deploy"), "--dry-run"), "deploy"),
        (("--checkpoint", "/nowhere", "--dry-run"), "/nowhere"),
        (("--card", "/nowhere.md", "--dry-run"), "/nowhere.md"),
        (("--sign", "/nowhere.pem", "--dry-run"), "/nowhere.pem"),
        (("--backend", "eager", "--int8"), "backend eager has no int8, only fp32"),
        (("--backend", "onnx", "--bf16", "--judge", "0"), "backend onnx has no bf16"),
        (("--preset", "densemtl_x"), "densemtl_x"),
        (("--sign", "/nowhere.pem"), "/nowhere.pem"),
        (("--card", "/nowhere.md"), "/nowhere.md"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, match):
    out = tmp_path / "mine.bundle"
    assert match in error_of(capsys, *arguments, "--out", str(out))
    assert not out.exists()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_too_little_room_is_told_before_the_work(tmp_path, monkeypatch, capsys, more):
    full = shutil.disk_usage(tmp_path)._replace(free=3_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda place: full)
    monkeypatch.setattr(command, "_compile", lambda *args: pytest.fail("the work has begun"))
    message = error_of(capsys, "--int8", "--out", str(tmp_path / "new/mine.bundle"), *more)
    assert re.search(rf"mine\.bundle needs about \d\d MB in {tmp_path}, and 3 MB are free; make room there", message)


def test_a_place_below_a_file_is_told_in_a_dry_run(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in error_of(
        capsys, "--dry-run", "--backend", "eager", "--out", str(tmp_path / "file/mine.bundle")
    )


def test_something_else_in_the_way_is_left_alone(tmp_path, capsys):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/notes.txt").write_text("mine")
    message = error_of(capsys, "--backend", "eager", "--out", str(tmp_path / "precious"))
    assert "exists and is no bundle" in message
    assert (tmp_path / "precious/notes.txt").read_text() == "mine"


def test_scores_of_training_travel_with_the_weights(tmp_path):
    from densemtl_core.models import ModelDescription, build_model
    from densemtl_core.tasks import make_tasks

    tasks = tuple(make_tasks(("edges",), num_classes=3))
    description = ModelDescription("densemtl_edge_s", tasks, (64, 96))
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    for name, data in description.files(build_model("densemtl_edge_s", tasks)).items():
        (run_folder / name).write_bytes(data)
    scores = {"dataset": "a set", "scores": {"edges": {"macroF1": 0.5}}}
    (run_folder / "metrics.json").write_text(json.dumps(scores))
    out = tmp_path / "mine.bundle"
    assert command.main(["--checkpoint", str(run_folder), "--backend", "eager", "--out", str(out)]) == 0
    assert Bundle(out).manifest.accuracy == scores


def test_interrupted_while_timing_it_says_that_the_bundle_is_written(tmp_path, monkeypatch, capsys):
    out = tmp_path / "mine.bundle"

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_print_latency", interrupted)
    assert command.main(["--backend", "eager", "--out", str(out)]) == 130
    assert "is written, only its times are missing" in capsys.readouterr().err
    Bundle(out).verify()


def test_a_card_that_is_no_text_is_one_line(tmp_path, capsys):
    (tmp_path / "card.bin").write_bytes(b"\xc4\x00\xff")
    message = error_of(capsys, "--backend", "eager", "--card", str(tmp_path / "card.bin"), "--out", str(tmp_path / "b"))
    assert "is not text in UTF-8" in message


def test_an_empty_place_is_refused(capsys):
    assert "--out is empty" in error_of(capsys, "--dry-run", "--out", "")


def test_a_folder_without_pictures_is_told_without_a_word_of_data_sets(tmp_path, capsys):
    message = error_of(capsys, "--int8", "--calibration", str(tmp_path), "--out", str(tmp_path / "b"))
    assert "there are none" in message
    assert "root" not in message.replace(str(tmp_path), "")


def test_a_link_is_written_through(tmp_path, capsys):
    (tmp_path / "current").symlink_to("v1")
    arguments = ["--backend", "eager", "--input", "64x96", "--judge", "0", "--out", str(tmp_path / "current")]
    assert command.main(arguments) == 0
    assert command.main(arguments) == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["current", "v1"]
    assert Bundle(tmp_path / "current").manifest.name == "v1"
    printed = capsys.readouterr().out
    assert f"{tmp_path}/current -> {tmp_path}/v1" in printed
    assert re.search(r"^eager +[\d.]+ +[\d.]+ +[\d.]+ +1\.00 +1\.00-1\.00   cpu$", printed, re.MULTILINE)
    assert re.search(r"^camera 64x96; 30 frames each.* cores for this process; threads: ", printed, re.MULTILINE)
    assert "of the same turn of this run" in printed


@pytest.mark.parametrize(
    ("calibrate", "there", "said", "not_said"),
    [
        (0, 0, "help, to judge on", "calibrat"),
        (64, 0, "to calibrate with (--calibration-frames) and to judge on", "there are"),
        (64, 500, "of the 500 there are to calibrate with", "recorded"),
        (8, 10, "recorded first as all that there are were taken", "--calibration-frames"),
    ],
)
def test_the_advice_asks_for_no_more_frames_than_there_are(calibrate, there, said, not_said):
    advice = command._advice(SimpleNamespace(calibrate=calibrate, footage_frames=there))
    assert said in advice
    assert not_said not in advice
