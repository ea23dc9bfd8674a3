"""The real commands on tiny input: train, compile, predict; and what bad input is answered with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from densemtl_core.runtime import Predictor
from training.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
TINY = ["run.steps=2", "run.batch=2", "run.workers=0", "data.size=[64,96]", "data.train=4", "data.validation=2"]
STREET = (p for p in ROOT.glob("training/configs/street_*.yaml") if not read_settings(p).adaptation)
CONFIGS = sorted(STREET)  # test_configs.py has those of real data sets
FIRST = ROOT / "training/configs/street_first.yaml"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.name)
def test_from_configuration_to_prediction(config, tmp_path):
    out = tmp_path / "run"
    trained = run("-m", "training.train", "--config", str(config), "--out", str(out), *TINY)
    assert trained.returncode == 0, trained.stderr
    assert "RANDOM weights" in trained.stderr
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
    compiled = run("deploy/compile.py", "--checkpoint", str(out), "--out", str(bundle))
    assert compiled.returncode == 0, compiled.stderr
    assert "onnxruntime against PyTorch" in compiled.stdout
    assert "of eager" in compiled.stdout
    assert Predictor(bundle).predict(np.zeros((40, 60, 3), np.uint8))[names[0]].shape == (40, 60)


@pytest.mark.slow
def test_resume_goes_on_and_a_finished_folder_is_not_overwritten(tmp_path):
    command = ["-m", "training.train", "--config", str(FIRST), "--out", str(tmp_path / "run"), *TINY]
    assert run(*command).returncode == 0
    assert "holds a run already; go on with --resume last" in error_of(run(*command))
    longer = run(*command, "--resume", "last", "run.steps=3")
    assert longer.returncode == 0, longer.stderr
    assert "resumed at step 2" in longer.stderr
    assert json.loads((tmp_path / "run/metrics.json").read_text())["history"][-1]["step"] == 3


def test_dry_run_prints_the_resolved_configuration(tmp_path):
    out = tmp_path / "run"
    result = run("-m", "training.train", "--config", str(FIRST), "--out", str(out), "--dry-run", "run.steps=7")
    assert result.returncode == 0
    assert "  steps: 7\n" in result.stdout
    assert not out.exists()


def error_of(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def test_missing_configuration():
    assert "configuration not found: none.yaml" in error_of(run("-m", "training.train", "--config", "none.yaml"))


def test_unknown_preset():
    config = str(FIRST)
    result = run("-m", "training.train", "--config", config, "preset=densemtl_edge_z", *TINY)
    assert "did you mean 'densemtl_edge_s'" in error_of(result)


def test_missing_encoder_weights():
    result = run("-m", "training.train", "--config", str(FIRST), "encoder_weights=none.pth", *TINY)
    assert "encoder weights not found: none.pth" in error_of(result)


def test_missing_checkpoint(tmp_path):
    assert "has no model.json" in error_of(run("deploy/compile.py", "--checkpoint", str(tmp_path)))


def test_bad_input_size():
    result = run("deploy/compile.py", "--preset", "densemtl_edge_s", "--input", "100x200", "--dry-run")
    assert "--input is '100x200'" in result.stderr
    assert result.returncode == 2


def test_dry_run_writes_nothing(tmp_path):
    out = tmp_path / "x.bundle"
    result = run("deploy/compile.py", "--preset", "densemtl_edge_s", "--out", str(out), "--dry-run")
    assert result.returncode == 0
    assert "dry run: not written" in result.stdout
    assert not out.exists()
