"""Simulator to real through the real command on tiny input: what it leaves, that it goes on, what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import native_layouts
import numpy as np
import pytest

from densemtl_core.data import class_list
from densemtl_core.learning.pace import PACE_FIGURES
from training import train

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "training/configs"
TINY = ["data.size=[64,96]", "data.train=8", "adaptation.target.size=null"]
TINY += ["run.steps=2", "run.batch=2", "run.workers=0"]
STREET = [*TINY, "adaptation.source_steps=10", "adaptation.target.train=8", "adaptation.target.validation=2"]
RUN_FILES = {"config.yaml", "history.jsonl", "metrics.json", "model.json", "model.safetensors", "provenance.json"}
BETTER_IF_LARGER = {"mIoU": True, "RMSE": False, "mErr": False, "macroF1": True}


def frame(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Smooth noise in BGR."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


@pytest.fixture
def camera(tmp_path):
    """A folder of six frames."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for n in range(6):
        assert cv2.imwrite(str(folder / f"{n}.jpg"), frame(n))
    return folder


def command(out: Path, *arguments: str) -> list[str]:
    return ["--sim-to-real", "--out", str(out), *arguments]


def adapt(out: Path, *arguments: str) -> None:
    assert train.main(command(out, *arguments)) == 0


def refusal(capsys, *arguments: str) -> str:
    """The one line that stands on standard error, without ``error: ``."""
    assert train.main(list(arguments)) == 2
    told = capsys.readouterr()
    lines = told.err.strip().splitlines()
    assert len(lines) == 1, told.err
    assert lines[0].startswith("error: ")
    assert not told.out
    return lines[0].removeprefix("error: ")


def found(out: Path) -> dict:
    return json.loads((out / "sim_to_real.json").read_text())


def methods(out: Path) -> list[str]:
    return [row["method"] for row in found(out)["rows"]]


def history(out: Path, branch: str) -> list[dict[str, float]]:
    """The records of a branch without its speed, the one thing that may differ."""
    records = [json.loads(line) for line in (out / branch / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name not in PACE_FIGURES} for record in records]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The default command, in a process of its own: its folder, and what it printed."""
    out = tmp_path_factory.mktemp("default") / "run"
    done = subprocess.run(
        [sys.executable, "-m", "training.train", *command(out, "--threads", "1", *STREET, "run.log_every=1")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, done.stdout, done.stderr


@pytest.mark.slow
def test_the_default_command_makes_every_row(finished):
    out, printed, log = finished
    visible = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    branches = {"source", "source_only", "adapted", "target_labels"}
    assert visible == {*branches, "panel.png", "sim_to_real.json", "table.md"}
    for branch in branches:
        assert {path.name for path in (out / branch).iterdir()} >= RUN_FILES
        assert history(out, branch)[-1]["step"] == (10 if branch == "source" else 2)
    assert set(history(out, "adapted")[-1]) - set(history(out, "source_only")[-1]) == {
        "student_semantic", "student_depth", "student_normals", "student_edges", "believed",
    }  # fmt: skip
    report = found(out)
    assert (report["source"], report["target"], report["steps"]) == ("street", "street", 2)
    assert report["judged_on"]["options"]["style"] == "real"
    assert methods(out) == ["start", "source only", "adapted", "trained on target labels"]
    table = (out / "table.md").read_text()
    assert printed == table
    lines = table.splitlines()
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1
    assert "[1/4] start: 10 steps" in log
    assert log.count("RANDOM weights") == 1, "only the common start begins at random"
    panel = cv2.imread(str(out / "panel.png"))
    assert panel.shape[1] == 5 * 480  # the image and four tasks
    assert panel.std() > 20


@pytest.mark.slow
def test_deltas_are_mean_relative_gains_over_source_only(finished):
    report = found(finished[0])
    assert report["delta_against"] == "source only"
    primary = {task: name for task, (name, _) in report["primary"].items()}
    assert dict(report["primary"].values()) == BETTER_IF_LARGER
    base = next(row for row in report["rows"] if row["method"] == "source only")["scores"]
    assert all(base[task][name] > 0 for task, name in primary.items())
    for row in report["rows"]:
        gains = [
            (row["scores"][task][name] / base[task][name] - 1) * (1 if BETTER_IF_LARGER[name] else -1)
            for task, name in primary.items()
        ]
        assert row["delta"] == pytest.approx(100 * np.mean(gains), abs=1e-6)
    deltas = [row["delta"] for row in report["rows"]]
    assert deltas[1] == 0
    assert len(set(deltas)) == 4


@pytest.mark.slow
def test_a_branch_trains_exactly_as_a_run_of_its_own(finished, tmp_path):
    """What the comparison calls adapted is what ``--config`` alone makes of the same start."""
    out = tmp_path / "alone"
    plain = ["--config", str(CONFIGS / "sim_to_real.yaml"), "--out", str(out), *STREET, "run.log_every=1"]
    assert train.main([*plain, f"start={finished[0] / 'source'}", "data.validation=2"]) == 0
    assert history(tmp_path, "alone") == history(finished[0], "adapted")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["dataset"] == "street, val, 64x96, 2 frames, style sim"
    assert list(metrics["scores"]) == ["semantic", "depth", "normals", "edges"]


@pytest.mark.slow
def test_a_killed_command_goes_on_and_ends_as_if_it_had_not_been(finished, tmp_path, capsys, caplog):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for out in (whole, broken):  # the start and source only: finished branches of an earlier call
        shutil.copytree(finished[0], out, ignore=shutil.ignore_patterns("adapted", "target_labels"))
    kept = [broken / branch / "model.safetensors" for branch in ("source", "source_only")]
    before = [file.stat().st_mtime_ns for file in kept]
    steps = ["run.log_every=1", "run.checkpoint_every=2", "run.steps=12"]
    further = ["--rows", "adapted", "--resume", "last", *STREET, *steps]
    adapt(whole, *further)
    with subprocess.Popen(
        [sys.executable, "-m", "training.train", *command(broken, "--threads", "1", *further)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        for line in process.stderr:
            if line.startswith("step 5/12"):  # between two checkpoints
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (broken / "adapted/metrics.json").exists()
    caplog.clear()
    caplog.set_level("INFO")
    adapt(broken, *further)
    assert "start: done before" in caplog.text
    assert int(re.search(r"resumed at step (\d+)", caplog.text)[1]) in range(4, 12)
    assert len(history(whole, "adapted")) == 12
    assert history(broken, "adapted") == history(whole, "adapted")
    assert [file.stat().st_mtime_ns for file in kept] == before
    assert (broken / "adapted/model.safetensors").read_bytes() == (whole / "adapted/model.safetensors").read_bytes()
    assert found(broken)["rows"][1]["scores"] == found(whole)["rows"][1]["scores"]


@pytest.mark.slow
def test_a_finished_command_is_not_overwritten_and_resumed_only_judges_again(finished, tmp_path, capsys, caplog):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    assert "holds a run already; go on with --resume last" in refusal(capsys, *command(out, *STREET))
    (out / "sim_to_real.json").unlink()
    times = {file: file.stat().st_mtime_ns for file in out.glob("*/*.*")}
    caplog.set_level("INFO")
    adapt(out, "--resume", "last", *STREET)
    assert caplog.text.count("done before") == 4
    assert {file: file.stat().st_mtime_ns for file in out.glob("*/*.*")} == times
    again, first = found(out), found(finished[0])
    assert [row["scores"] for row in again["rows"]] == [row["scores"] for row in first["rows"]]


@pytest.mark.slow
def test_the_folder_of_a_single_run_is_refused(finished, capsys):
    single = finished[0] / "adapted"
    assert "holds a single run" in refusal(capsys, *command(single, *STREET))
    assert "holds a single run" in refusal(capsys, *command(single, "--resume", "last", *STREET))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "video"])
def test_footage_without_labels_gives_a_network_and_pictures(kind, camera, tmp_path, capsys, caplog):
    """Of the folder, one frame cannot be read."""
    caplog.set_level("INFO")
    target = camera
    broken(camera, 1)
    if kind == "video":
        target = tmp_path / "drive.avi"
        writer = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
        for n in range(6):
            writer.write(frame(n))
        writer.release()
    out = tmp_path / "run"
    adapt(out, "--target", str(target), *TINY)
    assert "nothing is judged" in capsys.readouterr().out
    assert caplog.text.count(f"{camera}/5.jpg: not a readable image") == (kind == "folder")
    assert caplog.text.count("believed: ") == 1
    assert methods(out) == ["start", "adapted"]
    assert all(row["scores"] == {} and row["delta"] is None for row in found(out)["rows"])
    assert found(out)["judged_on"] is None
    assert history(out, "adapted")[-1]["student_depth"] > 0
    panel = cv2.imread(str(out / "panel.png"))
    assert panel.shape[1] == 5 * 480
    # The first cell is a frame as the camera saw it: the second of six, neither mirrored nor changed.
    cell = cv2.resize(panel[24 : 24 + 320, :480], (96, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(cell.astype(int) - frame(1)).mean() < 6 < np.abs(cell.astype(int) - frame(1)[:, ::-1]).mean()


@pytest.mark.slow
def test_labelled_frames_of_another_folder_judge(camera, tmp_path, capsys):
    camvid = native_layouts.write_camvid(tmp_path, 64, 96)
    out = tmp_path / "run"
    adapt(out, "--target", str(camera), "--target-val", str(camvid), *TINY)
    assert methods(out) == ["start", "source only", "adapted"]
    report = found(out)
    assert (report["target"], report["judged_on"]["dataset"]) == ("folder", "camvid")
    assert set(report["primary"]) == {"semantic", "edges"}
    assert report["classes"] == "camvid11"
    assert all(row["scores"]["semantic"]["pixel_accuracy"] >= 0 for row in report["rows"])
    assert "semantic mIoU" in capsys.readouterr().out


@pytest.mark.slow
def test_a_start_of_other_classes_and_fewer_tasks_is_judged_in_the_same_classes(finished, tmp_path):
    """Nineteen classes where it began, eight where it adapts; and edges are new."""
    start = tmp_path / "start"
    tasks = "tasks=[semantic,{kind: depth, encoding: log, criterion: berhu}]"
    plain = ["--config", str(CONFIGS / "street_first.yaml"), "--out", str(start), tasks]
    assert train.main([*plain, "data.size=[64,96]", "data.train=8", "run.steps=1", "data.validation=0"]) == 0
    out = tmp_path / "run"
    tasks = "tasks=[semantic,{kind: depth, encoding: log, criterion: berhu},edges]"
    adapt(out, *STREET, f"start={start}", "class_list=vkitti8", tasks, "run.steps=1", "--rows", "adapted")
    report = found(out)
    first, adapted = report["rows"]
    assert (first["method"], adapted["method"]) == ("start", "adapted")
    assert report["classes"] == "vkitti8"
    assert list(first["scores"]["semantic"]["IoU"]) == list(adapted["scores"]["semantic"]["IoU"])
    assert list(first["scores"]["semantic"]["IoU"]) == list(class_list("vkitti8").classes)
    assert "edges" not in first["scores"]
    heading = (out / "table.md").read_text().splitlines()[0]
    assert "edges macroF1" in heading


@pytest.mark.slow
def test_labels_that_the_network_s_own_list_cannot_tell_are_shown_as_they_are_judged(camera, tmp_path):
    """CamVid's joins signs and lights: there are seven classes to judge a network of eight by."""
    camvid = native_layouts.write_camvid(tmp_path, 64, 96)
    out = tmp_path / "run"
    eight = ["class_list=vkitti8", "adaptation.classes=street7", "run.steps=1", "--rows", "adapted"]
    adapt(out, "--target", str(camera), "--target-val", str(camvid), *TINY, *eight)
    assert found(out)["classes"] == "street7"
    panel = cv2.imread(str(out / "panel.png"))
    assert panel.shape[0] == 3 * (24 + 320)  # one frame: before, adapted, label
    road = panel[2 * 344 + 24 + 160, 480 + 240, ::-1]
    assert tuple(road) == class_list("street7").palette[0]


@pytest.mark.slow
def test_one_row_alone(tmp_path):
    """The published recipe begins at the backbone's weights: there is nothing before to show."""
    out = tmp_path / "run"
    adapt(out, "--rows", "adapted", *STREET, "adaptation.source_steps=0", "run.steps=1")
    assert methods(out) == ["adapted"]
    assert found(out)["delta_against"] == "adapted"
    assert (out / "panel.png").is_file()
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"adapted"}


@pytest.mark.slow
def test_rows_are_judged_at_the_size_of_the_target(tmp_path):
    """A source of wider frames must not have the networks see the target enlarged."""
    out = tmp_path / "run"
    sizes = ["data.size=[64,160]", "data.crop=[64,96]", "adaptation.source_steps=0", "run.steps=1"]
    adapt(out, "--rows", "source_only,adapted", *STREET, *sizes)
    for branch in ("source_only", "adapted"):
        assert json.loads((out / branch / "model.json").read_text())["input_size"] == [64, 96]


@pytest.mark.parametrize("arguments", [[], ["--target", "CAMERA"], ["--rows", "source_only"]], ids=" ".join)
def test_a_dry_run_prints_and_writes_nothing(arguments, camera, tmp_path, capsys):
    out = tmp_path / "run"
    given = [str(camera) if argument == "CAMERA" else argument for argument in arguments]
    adapt(out, *given, "--dry-run", "run.steps=7")
    printed = capsys.readouterr().out
    assert "  steps: 7\n" in printed
    assert f"    dataset: {'folder' if '--target' in given else 'street'}\n" in printed
    assert not out.exists()


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def one_frame(folder: Path) -> None:
    for n in range(1, 6):
        (folder / f"{n}.jpg").unlink()


def broken(folder: Path, count: int = 2) -> None:
    """The last ones end early, as when a card was pulled out."""
    for n in range(6 - count, 6):
        whole = (folder / f"{n}.jpg").read_bytes()
        (folder / f"{n}.jpg").write_bytes(whole[: len(whole) // 2])


def other_sizes(folder: Path) -> None:
    for n in range(6):
        assert cv2.imwrite(str(folder / f"{n}.jpg"), frame(n, height=64 + 16 * n))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (empty, "is an empty folder"),
        (one_frame, "the target has 1 samples, fewer than one batch of 2; lower run.batch or give more"),
        (broken, "at least 2 of 6 frames cannot be read"),
        (lambda folder: broken(folder, 6), "not a readable image (the JPEG ends early)"),
        (other_sizes, "images of one batch must be of one size; set data.size"),
    ],
)
def test_frames_that_cannot_be_used_are_told_in_one_line(spoil, told, camera, tmp_path, capsys):
    spoil(camera)
    size = [] if spoil is not other_sizes else ["data.dataset=camvid", f"data.root={tmp_path}", "data.size=null"]
    size += ["adaptation.keep_aspect=false"] if size else []
    native_layouts.write_camvid(tmp_path, 64, 96)
    line = refusal(capsys, *command(tmp_path / "run", "--target", str(camera), *TINY, *size))
    assert told in line
    assert str(camera) in line or "the target" in line


@pytest.mark.slow
def test_frames_of_several_sizes_take_the_size_of_the_source(camera, tmp_path):
    other_sizes(camera)
    adapt(tmp_path / "run", "--target", str(camera), *TINY)
    assert json.loads((tmp_path / "run/adapted/model.json").read_text())["input_size"] == [64, 96]


def test_what_the_last_branch_lacks_is_told_before_the_first_is_run(tmp_path, capsys):
    out = tmp_path / "run"
    line = refusal(capsys, *command(out, *STREET, "adaptation.target.train=1"))
    assert line == "the target has 1 samples, fewer than one batch of 2; lower run.batch or give more samples"
    line = refusal(capsys, *command(out, *STREET, "adaptation.target.dataset=cityscapes"))
    assert line.startswith("adaptation.target.root is missing")
    line = refusal(capsys, *command(out, *STREET, "adaptation.validation.dataset=camvd"))
    assert line.startswith("adaptation.validation.dataset is 'camvd'; did you mean 'camvid'")
    line = refusal(capsys, *command(out, *STREET, "adaptation.classes=nyud40"))
    assert "cannot be compared with nyud40" in line
    line = refusal(capsys, *command(out, *STREET, "run.average=0"))
    assert line.startswith("adaptation.self_training needs a teacher")
    assert not out.exists()


def test_options_that_do_not_go_together(camera, tmp_path, capsys):
    out, first = tmp_path / "run", str(CONFIGS / "street_first.yaml")
    for option, value in (("--target", str(camera)), ("--target-val", str(camera)), ("--rows", "adapted")):
        line = refusal(capsys, "--config", first, "--out", str(out), option, value)
        assert line == f"{option} belongs to --sim-to-real; add that"
    line = refusal(capsys, *command(out, "--config", first))
    assert line.startswith("--sim-to-real needs settings with an adaptation")
    line = refusal(capsys, *command(out, "--config", first, "--target", str(camera)))
    assert line.startswith("adaptation learns nothing: give at least one of adaptation.")
    assert "only --resume last" in refusal(capsys, *command(out, "--resume", str(camera)))
    assert not out.exists()


def test_several_devices_are_refused(tmp_path, capsys):
    line = refusal(capsys, *command(tmp_path / "run", "nodes=2"))
    assert line.startswith("devices=1, nodes=2: --sim-to-real runs on one device")


@pytest.mark.parametrize("further", [[], ["--dry-run"]])
def test_unknown_rows(further, camera, tmp_path, capsys):
    line = refusal(capsys, *command(tmp_path / "run", "--rows", "nonsense", *further))
    assert line == "--rows has 'nonsense'; known: source_only, adapted, target_labels"
    line = refusal(capsys, *command(tmp_path / "run", "--target", str(camera), "--rows", "target_labels", *further))
    assert line == "--rows target_labels: folder has no labels to train on; leave it out"
    assert not (tmp_path / "run").exists()


def test_an_out_that_is_a_file(tmp_path, capsys):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert "is a file, or lies below one" in refusal(capsys, *command(file, *STREET))
    assert file.read_text() == "mine"
