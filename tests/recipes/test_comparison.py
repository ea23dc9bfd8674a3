"""The real comparison on tiny input: trained, resumed after a kill, tabled, measured."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training import compare

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "training/configs/compare_street.yaml"
TINY = ["run.batch=2", "run.workers=0", "data.size=[64,96]", "data.train=4", "data.validation=2", "run.log_every=1"]
TINY += ["run.steps=2", "run.checkpoint_every=1", "tasks=[{kind: depth, encoding: log}, normals]"]


def arguments(out: Path, *more: str) -> list[str]:
    return ["--config", str(CONFIG), "--out", str(out), *TINY, *more]


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "training.compare", *arguments(out, *more)]


def run(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def results(out: Path) -> dict[str, dict]:
    return {str(f.parent.relative_to(out)): json.loads(f.read_text()) for f in out.glob("runs/*/*/*/result.json")}


@pytest.mark.slow
def test_every_method_trains_and_the_table_has_them_all(tmp_path, capsys, caplog):
    out = tmp_path / "compare"
    first = run(command(out, "--seeds", "1", "--time", "2"))
    assert first.returncode == 0, first.stderr
    report = json.loads((out / "compare.json").read_text())
    rows = {row["method"]: row for row in report["rows"]}
    assert list(rows) == ["single-task", "multi-task", "PAD-Net", "3-ways PAD-Net", "xTAM", "edge exchange"]
    for row in rows.values():
        assert row["seeds"] == [0]
        assert row["ms"]["rounds"] == 2
        assert row["tasks"]["depth"]["mean"] > 0
        assert row["delta"]["mean"] is not None
    assert rows["single-task"]["parameters"] > 1.5 * rows["multi-task"]["parameters"]
    assert report["unfinished"] == []
    assert "xTAM" in first.stdout

    # again, with one seed more: what is done stays as it is
    stamps = {f: f.stat().st_mtime_ns for f in out.glob("runs/*/*/seed_0/*.json")}
    caplog.set_level("INFO")
    assert compare.main(arguments(out, "--seeds", "2", "--only", "multi-task")) == 0
    assert "2 runs, 1 of them done" in caplog.text
    assert {f: f.stat().st_mtime_ns for f in stamps} == stamps
    rows = {row["method"]: row for row in json.loads((out / "compare.json").read_text())["rows"]}
    assert rows["multi-task"]["seeds"] == [0, 1]
    assert rows["multi-task"]["tasks"]["depth"]["std"] is not None

    capsys.readouterr()
    assert compare.main(arguments(out, "run.steps=3")) == 2
    refused = capsys.readouterr().err
    assert "was made with run.steps=2, not 3" in refused
    assert refused.count("\n") == 1


@pytest.mark.slow
def test_how_fine_attention_has_to_be(tmp_path):
    config = ROOT / "training/configs/compare_attention.yaml"
    assert compare.main(["--config", str(config), "--out", str(tmp_path), *TINY]) == 0
    rows = json.loads((tmp_path / "compare.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["xTAM (32)", "xTAM (8)"]
    assert rows[0]["parameters"] == rows[1]["parameters"]  # the same network, attending at another scale
    assert rows[0]["gflop"] < rows[1]["gflop"]


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_ends_as_if_nothing_had_happened(tmp_path):
    methods = ["--seeds", "1", "--only", "single-task,multi-task", "run.steps=12", "run.checkpoint_every=2"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finished = run(command(whole, *methods))
    assert finished.returncode == 0, finished.stderr

    process = subprocess.Popen(command(cut, *methods), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    second = False
    for line in process.stderr:
        second = second or line.startswith("[2/")
        if second and line.startswith("step 3/"):
            os.kill(process.pid, signal.SIGKILL)  # in the second run, after a checkpoint
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(results(cut)) == 1

    resumed = run(command(cut, *methods))
    assert resumed.returncode == 0, resumed.stderr
    assert "3 runs, 1 of them done" in resumed.stderr
    # On a busy machine the run gets a little further before the signal arrives.
    assert re.search(r"resumed at step (2|4|6|8|10)\b", resumed.stderr)
    assert results(cut) == results(whole)
