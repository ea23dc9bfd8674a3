"""Every configuration of a real data set, run through the real command on a tiny tree in the native layout."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import native_layouts
import pytest

from densemtl_core.data import class_list
from densemtl_core.models import ModelDescription
from training import train
from training.settings import read_settings

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(p for p in ROOT.glob("training/configs/*.yaml") if not p.name.startswith("compare_"))
NATIVE = [p for p in CONFIGS if read_settings(p).data.dataset != "street"]
TINY = ["encoder_weights=null", "data.size=[64,96]", "data.crop=null", "data.validation=2"]
TINY += ["run.steps=2", "run.batch=2", "run.workers=0"]


@pytest.fixture(scope="session")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Data set to its folder."""
    writers = {name.removeprefix("write_"): write for name, write in vars(native_layouts).items() if "write_" in name}
    del writers["image"]
    folder = tmp_path_factory.mktemp("native")
    for name in writers:
        (folder / name).mkdir()
    return {name: write(folder / name) for name, write in writers.items()}


@pytest.fixture
def out(tmp_path):
    """A run folder that goes when the test ends: with its optimiser a run weighs a gigabyte."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


PUBLISHED = {  # size, class list, learning rates of encoder and of the rest, sets of tasks
    "vkitti2": ([320, 1024], "vkitti14", 2e-4, 3e-4, ("sd", "sdn")),
    "synthia": ([512, 1024], "cityscapes16", 2e-4, 3e-4, ("sd", "sdn")),
    "cityscapes": ([512, 1024], "cityscapes16", 1e-5, 1e-4, ("sd", "sdn")),
    "nyudv2": ([448, 576], "nyud40", 2e-4, 3e-4, ("sd", "sdn", "sdne")),
}
WEIGHTS = {
    "sd": {"semantic": 50, "depth": 1},
    "sdn": {"semantic": 100, "depth": 1, "normals": 100},
    "sdne": {"semantic": 100, "depth": 1, "normals": 100, "edges": 50},
}


@pytest.mark.parametrize(("dataset", "tasks"), [(d, t) for d, row in PUBLISHED.items() for t in row[-1]])
def test_published_values(dataset, tasks):
    """The values of the paper's supervised experiments: nobody changes one without meaning to."""
    settings = read_settings(ROOT / f"training/configs/{dataset}_{tasks}.yaml")
    size, classes, encoder_lr, lr, _ = PUBLISHED[dataset]
    assert (settings.data.dataset, settings.data.size, settings.class_list) == (dataset, size, classes)
    how, run = settings.optimisation, settings.run
    assert (how.optimiser, how.betas, how.encoder_lr, how.lr) == ("adam", [0.9, 0.98], encoder_lr, lr)
    assert (how.schedule, how.step_at * run.steps, how.warmup, how.clip) == ("step", 30_000, 0, 10)
    assert (how.weight_decay, run.steps, run.batch, run.seed, settings.precision) == (0, 40_000, 2, 42, "32-true")
    assert (settings.preset, settings.encoder_weights, settings.data.flip) == ("densemtl_r101", "timm", 0.5)
    assert settings.weights == WEIGHTS[tasks]
    assert settings.tasks[1] == {"kind": "depth", "paper_compatible": True}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.name)
def test_it_reads_and_names_its_own_command(config, capsys, out):
    assert train.main(["--config", str(config), "--out", str(out), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(f"preset: {read_settings(config).preset}\n")
    assert not out.exists()
    comment = [line for line in config.read_text().splitlines() if line.startswith("#")]
    assert any(f"training/configs/{config.name}" in line for line in comment)


@pytest.mark.slow
@pytest.mark.parametrize("config", NATIVE, ids=lambda p: p.name)
def test_two_steps_on_the_native_layout(config, roots, out):
    settings = read_settings(config)
    root = roots[settings.data.dataset]
    # resnet101 takes half a minute where resnet18 takes a second; around them the networks are the same
    tiny = [*TINY, f"data.root={root}", f"preset={settings.preset.replace('r101', 'r18')}"]
    if settings.self_supervised:
        tiny.append("self_supervised.pose_weights=null")
    assert train.main(["--config", str(config), "--out", str(out), *tiny]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    names = [t if isinstance(t, str) else t["kind"] for t in settings.tasks]
    assert list(metrics["scores"]) == names
    assert metrics["dataset"].startswith(f"{settings.data.dataset}, val, 64x96, ")
    last = metrics["history"][-1]
    assert last["step"] == 2
    if settings.self_supervised:
        names = [*(name for name in names if name != settings.self_supervised.task), "photometric"]
    assert all(math.isfinite(last[name]) for name in ("loss", *names))
    assert all(last[name] > 0 for name in names), "a label did not arrive"
    for task in ModelDescription.from_json((out / "model.json").read_text(), "run").tasks:
        if task.name == "semantic":
            assert task.class_names == class_list(settings.class_list).classes


@pytest.mark.slow
def test_a_drive_without_lidar_teaches_depth_and_is_not_judged(roots, out, tmp_path):
    drive = tmp_path / "drive"
    shutil.copytree(roots["kitti"], drive)
    shutil.rmtree(drive / "sparse_depth")
    config = str(ROOT / "training/configs/kitti_video.yaml")
    tiny = [*TINY, f"data.root={drive}", "data.validation=0"]
    assert train.main(["--config", config, "--out", str(out), *tiny]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["scores"] == {}
    assert metrics["dataset"] == "kitti: not judged"
    assert metrics["history"][-1]["photometric"] > 0


@pytest.mark.slow
def test_the_published_network_itself_trains(roots, out):
    """With its own encoder, in a process of its own, the data set's folder taken from the environment."""
    command = [sys.executable, "-m", "training.train", "--config", "training/configs/vkitti2_sd.yaml"]
    command += ["--out", str(out), *TINY, "run.steps=1"]
    environment = {**os.environ, "VKITTI2_DIR": str(roots["vkitti2"]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "model.json").read_text())["preset"] == "densemtl_r101"
