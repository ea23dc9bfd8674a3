"""The real commands on tiny input: train, compile, predict; and what bad input is answered with.

They are called in this process, for importing them takes longer than most of what they do here; where a process of its
own could make a difference, one is started.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from densemtl_core.runtime import Predictor
from deploy import compile as compiling
from training import train
from training.settings import read_settings

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
TINY = ["run.steps=2", "run.batch=2", "run.workers=0", "data.size=[64,96]", "data.train=4", "data.validation=2"]
STREET = (p for p in ROOT.glob("training/configs/street_*.yaml") if not read_settings(p).adaptation)
CONFIGS = sorted(STREET)  # test_configs.py has those of real data sets
FIRST = ROOT / "training/configs/street_first.yaml"
# One network as street_first.yaml's, and one with twice the tasks, whose export takes minutes: not exported here.
NOT_EXPORTED = ("street_sdne.yaml", "street_many.yaml")


def error_of(capsys, status: int) -> str:
    assert status == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.name)
def test_from_configuration_to_prediction(config, tmp_path, capsys, caplog):
    out = tmp_path / "run"
    assert train.main(["--config", str(config), "--out", str(out), *TINY]) == 0
    assert "RANDOM weights" in caplog.text
    files = {"config.yaml", "history.jsonl", "metrics.json", "model.json", "model.safetensors", "provenance.json"}
    visible = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert visible == {*files, "checkpoints", "panels", "tensorboard"}
    metrics = json.loads((out / "metrics.json").read_text())
    settings = read_settings(config)
    names = [task if isinstance(task, str) else task["kind"] for task in settings.tasks]
    assert list(metrics["scores"]) == names
    options = "".join(f", {name} {value}" for name, value in settings.data.options.items())
    assert metrics["dataset"] == f"street, val, 64x96, 2 frames{options}"
    assert metrics["history"][-1]["step"] == 2

    bundle = tmp_path / "mine.bundle"
    capsys.readouterr()
    # test_compile.py exports for every size, which takes four times as long
    how = ["--backend", "eager"] if config.name in NOT_EXPORTED else ["--judge", "2", "--fixed"]
    assert compiling.main(["--checkpoint", str(out), "--out", str(bundle), *how]) == 0
    printed = capsys.readouterr().out
    assert ("onnxruntime against PyTorch" in printed) == ("eager" not in how)
    assert "of eager" in printed
    assert Predictor(bundle).predict(np.zeros((40, 60, 3), np.uint8))[names[0]].shape == (40, 60)


@pytest.mark.slow
def test_resume_goes_on_and_a_finished_folder_is_not_overwritten(tmp_path, capsys):
    arguments = ["--config", str(FIRST), "--out", str(tmp_path / "run"), *TINY]
    assert train.main(arguments) == 0
    capsys.readouterr()
    assert "holds a run already; go on with --resume last" in error_of(capsys, train.main(arguments))
    command = [sys.executable, "-m", "training.train", *arguments, "--resume", "last", "run.steps=3"]
    longer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # knows only the folder
    assert longer.returncode == 0, longer.stderr
    assert "resumed at step 2" in longer.stderr
    assert json.loads((tmp_path / "run/metrics.json").read_text())["history"][-1]["step"] == 3


def test_dry_run_prints_the_resolved_configuration(tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(["--config", str(FIRST), "--out", str(out), "--dry-run", "run.steps=7"]) == 0
    assert "  steps: 7\n" in capsys.readouterr().out
    assert not out.exists()


def test_missing_configuration():
    """In a process of its own: nothing that is imported may print beside the one line."""
    command = [sys.executable, "-m", "training.train", "--config", "none.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: configuration not found: none.yaml")
    assert done.stderr.count("\n") == 1


def test_unknown_preset(tmp_path, capsys):
    status = train.main(["--config", str(FIRST), "--out", str(tmp_path / "run"), "preset=densemtl_edge_z", *TINY])
    assert "did you mean 'densemtl_edge_s'" in error_of(capsys, status)


def test_missing_encoder_weights(tmp_path, capsys):
    status = train.main(["--config", str(FIRST), "--out", str(tmp_path / "run"), "encoder_weights=none.pth", *TINY])
    assert "encoder weights not found: none.pth" in error_of(capsys, status)


def test_missing_checkpoint(tmp_path, capsys):
    assert "has no model.json" in error_of(capsys, compiling.main(["--checkpoint", str(tmp_path)]))


def test_bad_input_size(capsys):
    assert compiling.main(["--preset", "densemtl_edge_s", "--input", "100x200", "--dry-run"]) == 2
    assert "--input is '100x200'" in capsys.readouterr().err


def test_dry_run_writes_nothing(tmp_path, capsys):
    out = tmp_path / "x.bundle"
    assert compiling.main(["--preset", "densemtl_edge_s", "--out", str(out), "--dry-run"]) == 0
    assert "dry run: not written" in capsys.readouterr().out
    assert not out.exists()
