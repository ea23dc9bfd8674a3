"""Every configuration of a real data set, run through the real command on a tiny tree in the native layout."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import native_layouts
import numpy as np
import pytest

from densemtl_core.data import class_list
from densemtl_core.learning.pace import PACE_FIGURES
from densemtl_core.models import ModelDescription
from training import train
from training.datasets import DATASETS
from training.settings import read_settings

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(p for p in ROOT.glob("training/configs/*.yaml") if not p.name.startswith("compare_"))
ADAPTING = [p for p in CONFIGS if read_settings(p).adaptation]
NATIVE = [p for p in CONFIGS if read_settings(p).data.dataset != "street" and p not in ADAPTING]
ROWS = ["source only", "adapted", "trained on target labels"]
TINY = ["encoder_weights=null", "data.size=[64,96]", "data.crop=null", "data.validation=2"]
TINY += ["run.steps=2", "run.batch=2", "run.workers=0"]


@pytest.fixture(scope="session")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Data set to its folder; ``folder`` is one of images alone, ``video`` a file."""
    writers = {name.removeprefix("write_"): write for name, write in vars(native_layouts).items() if "write_" in name}
    del writers["image"]
    folder = tmp_path_factory.mktemp("native")
    for name in writers:
        (folder / name).mkdir()
    made = {name: write(folder / name) for name, write in writers.items()}
    film = cv2.VideoWriter(str(folder / "drive.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for n in range(4):
        film.write(np.full((64, 96, 3), 60 * n, np.uint8))
    film.release()
    return {**made, "folder": made["kitti"] / "image_02/data", "video": folder / "drive.mp4"}


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


@pytest.mark.parametrize(
    ("source", "size", "crop", "classes"),
    [("vkitti2", [512, 1696], [512, 1024], "vkitti8"), ("synthia", [512, 1024], None, "cityscapes16")],
)
def test_published_values_of_adaptation(source, size, crop, classes):
    """The values of the paper's adversarial experiments."""
    settings = read_settings(ROOT / f"training/configs/{source}_to_cityscapes.yaml")
    assert (settings.preset, settings.encoder_weights, settings.precision) == ("densemtl_r101", "timm", "32-true")
    assert settings.tasks == ["semantic", {"kind": "depth", "paper_compatible": True}]
    assert settings.weights == {"semantic": 50, "depth": 1}
    data, how, run = settings.data, settings.optimisation, settings.run
    assert (data.dataset, data.size, data.crop, data.flip) == (source, size, crop, 0.5)
    assert (how.optimiser, how.betas, how.lr, how.encoder_lr) == ("adam", [0.9, 0.98], 2.5e-4, 1.5e-5)
    assert (how.schedule, how.warmup, how.clip, how.weight_decay) == ("constant", 0, 0, 0)
    assert (run.steps, run.batch, run.seed, run.average) == (90_000, 2, 42, 0)
    adapting = settings.adaptation
    assert (adapting.target.dataset, adapting.target.size, adapting.target.flip) == ("cityscapes", [512, 1024], 0.5)
    assert (settings.class_list, adapting.classes, adapting.source_steps, settings.start) == (classes, classes, 0, None)
    adversarial = adapting.adversarial
    assert (adversarial.weight, adversarial.width, adversarial.downscale, adversarial.lr) == (0.005, 64, 1, 1e-4)
    assert (adapting.self_training, adapting.agreement, adapting.photometric, adapting.restyle) == (None,) * 4


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.name)
def test_it_reads_and_names_its_own_command(config, capsys, out):
    assert train.main(["--config", str(config), "--out", str(out), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(f"preset: {read_settings(config).preset}\n")
    assert not out.exists()
    comment = [line for line in config.read_text().splitlines() if line.startswith("#")]
    default = str(config) in (train.DEFAULT_ADAPTATION, train.TARGET_ADAPTATION)
    command = "training.train --sim-to-real" if default else f"training/configs/{config.name}"
    assert any(command in line for line in comment)


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
@pytest.mark.parametrize("config", ADAPTING, ids=lambda p: p.name)
def test_two_adapted_steps_judged_on_the_source(config, roots, out):
    """``--config`` alone: the adapted run, no rows to compare with; ``data`` has the labels that judge it."""
    settings = read_settings(config)
    tiny = [*TINY, "data.train=4", "adaptation.target.size=[64,96]", f"preset={settings.preset.replace('r101', 'r18')}"]
    for place, dataset in (("data", settings.data.dataset), ("adaptation.target", settings.adaptation.target.dataset)):
        if dataset != "street":
            tiny.append(f"{place}.root={roots[dataset]}")
    assert train.main(["--config", str(config), "--out", str(out), *tiny]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    names = [t if isinstance(t, str) else t["kind"] for t in settings.tasks]
    assert list(metrics["scores"]) == names
    assert metrics["dataset"].startswith(f"{settings.data.dataset}, val, 64x96, 2 frames")
    assert list((out / "panels").iterdir())
    learnt = {"adversarial", "discriminator"} if settings.adaptation.adversarial else set()
    if settings.adaptation.self_training:
        learnt |= {"believed", *(f"student_{name}" for name in names)}
    if settings.adaptation.agreement:
        learnt.add("agreement_normals")
    last = metrics["history"][-1]
    assert last.keys() == {"step", "loss", *PACE_FIGURES, *names, *learnt}
    assert last["step"] == 2
    assert all(math.isfinite(value) for value in last.values())
    assert all(last[name] > 0 for name in names), "a label did not arrive"


@pytest.mark.slow
@pytest.mark.parametrize("config", ADAPTING, ids=lambda p: p.name)
def test_every_row_on_the_native_layouts(config, roots, out, capsys):
    """``--sim-to-real`` with the same configurations: every row that the target's labels allow.

    With the small network, for each row writes its checkpoints; the others have had theirs above.
    """
    settings = read_settings(config)
    target, source = settings.adaptation.target.dataset, settings.data.dataset
    tiny = [*TINY, "run.steps=1", "data.train=4", "adaptation.target.size=[64,96]", "adaptation.target.train=2"]
    tiny += ["adaptation.target.validation=1", "preset=densemtl_edge_s"]
    if settings.adaptation.source_steps:
        tiny.append("adaptation.source_steps=1")
    tiny += [f"{place}.root={roots[d]}" for place, d in (("data", source), ("adaptation.target", target)) if d in roots]
    assert train.main(["--sim-to-real", "--config", str(config), "--out", str(out), *tiny]) == 0
    report = json.loads((out / "sim_to_real.json").read_text())
    begun = ["start"] if settings.start or settings.adaptation.source_steps else []
    rows = [*begun, "adapted"] if target in ("folder", "video") else [*begun, *ROWS]
    assert [row["method"] for row in report["rows"]] == rows
    judged = [t if isinstance(t, str) else t["kind"] for t in settings.tasks]
    judged = [name for name in judged if name in DATASETS[target].labels]
    assert all(list(row["scores"]) == judged for row in report["rows"])
    if judged:
        assert report["classes"] == (settings.adaptation.classes or settings.class_list)
    assert (out / "panel.png").is_file()
    assert ("nothing is judged" in capsys.readouterr().out) == (not judged)


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
