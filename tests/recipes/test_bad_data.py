"""What the real training command answers to broken data sets: one line that says what, where and what to do."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from native_layouts import write_camvid, write_cityscapes, write_image, write_nyudv2, write_synthia, write_vkitti2

from densemtl_core.data.nyudv2 import Nyudv2
from training import train

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
WRITERS = {
    "camvid": write_camvid,
    "cityscapes": write_cityscapes,
    "nyudv2": write_nyudv2,
    "synthia": write_synthia,
    "vkitti2": write_vkitti2,
}
CONFIGS = {name: f"{name}_sdn" for name in WRITERS} | {"camvid": "camvid_s"}
TINY = ["preset=densemtl_edge_s", "encoder_weights=null", "data.size=[64,96]", "data.crop=null"]
TINY += ["run.steps=2", "run.batch=2"]


@pytest.fixture
def answer(tmp_path, capsys) -> Callable[..., str]:
    """Break a data set, train on it, and give the one line on stderr."""

    def train_on(dataset: str, damage: Callable[[Path], object] = lambda root: None, *settings: str) -> str:
        root = tmp_path / dataset
        root.mkdir()
        damage(WRITERS[dataset](root))
        config = str(ROOT / f"training/configs/{CONFIGS[dataset]}.yaml")
        command = ["--config", config, "--out", str(tmp_path / "run"), f"data.root={root}", *TINY, "run.workers=0"]
        assert train.main([*command, *settings]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return train_on


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:60])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_label_in_the_middle(answer, workers):
    """Also from a loader's process, whose traceback would bury the line."""
    line = answer("camvid", lambda root: cut(root / "trainannot/a_02.png"), f"run.workers={workers}")
    assert "trainannot/a_02.png: not a readable image (the PNG ends early); copy the file again" in line


@pytest.mark.slow
def test_a_class_id_that_does_not_exist(answer):
    wrong = np.full((8, 10), 77, np.uint8)
    line = answer("camvid", lambda root: write_image(root / "trainannot/a_01.png", wrong))
    assert "trainannot/a_01.png: class id 77 at pixel x=0, y=0 is no class of CamVid; mend the label file" in line


@pytest.mark.slow
def test_unknown_depth_is_left_out_and_not_an_error(tmp_path):
    """NaN, 0 and below (unknown) and +inf (no surface) may stand in depth files."""
    (tmp_path / "nyudv2").mkdir()
    root = write_nyudv2(tmp_path / "nyudv2")
    for file in (root / "depth").iterdir():
        depth = np.load(file)
        depth[200], depth[201], depth[202], depth[203], depth[204] = np.nan, 0.0, -1.0, -np.inf, np.inf
        np.save(file, depth)
    read = Nyudv2(root=root, labels=("depth",))[0].labels["depth"][0]
    assert read[200:204].isnan().all()
    assert (read[204] == torch.inf).all()
    config = str(ROOT / "training/configs/nyudv2_sdn.yaml")
    out = tmp_path / "run"
    command = ["--config", config, "--out", str(out), f"data.root={root}", *TINY, "run.workers=0", "data.size=[96,128]"]
    assert train.main(command) == 0
    scores = json.loads((out / "metrics.json").read_text())["scores"]
    assert math.isfinite(scores["depth"]["RMSE"])


def test_an_empty_folder(tmp_path, answer):
    line = answer("vkitti2", lambda root: [shutil.rmtree(p) for p in root.iterdir()])
    assert "VKITTI2: looked for Scene01, Scene02, ... in" in line
    assert "there are none; check root" in line


@pytest.mark.parametrize(
    ("dataset", "gone", "text"),
    [
        ("vkitti2", "Scene01/15-deg-left/frames/depth", "3 of 9 depth files are missing, first "),
        ("synthia", "GT", "semantic files are missing, first "),
        ("cityscapes", "disparity", "2 of 2 depth files are missing, first "),
        ("nyudv2", "segmentation", "2 of 2 semantic files are missing, first "),
        ("camvid", "trainannot", "2 of 2 label files are missing, first "),
    ],
)
def test_a_half_unpacked_data_set(answer, dataset, gone, text):
    assert text in answer(dataset, lambda root: shutil.rmtree(root / gone))


def test_a_root_that_is_a_file(answer):
    def replace(root: Path) -> None:
        shutil.rmtree(root)
        root.write_text("a file")

    line = answer("vkitti2", replace)
    assert "vkitti2 is a file; give the folder of vkitti2" in line


def test_a_missing_root_is_told_with_its_setting(answer):
    assert "data.root is missing: the folder of vkitti2" in answer("vkitti2", lambda root: None, "data.root=null")


def test_no_intrinsics_for_normals(answer):
    line = answer(
        "nyudv2", lambda root: [write_image(f, np.zeros((64, 64, 3), np.uint8)) for f in (root / "images").iterdir()]
    )
    assert "images/0001.png: its camera is unknown" in line


SELF_SUPERVISED = """
preset: densemtl_edge_s
tasks: [{kind: depth, encoding: disparity, up_to_scale: true}]
self_supervised: {task: depth}
data: {dataset: folder, frames: [-1, 1]}
"""


@pytest.mark.slow
def test_no_intrinsics_for_depth_from_video(tmp_path, capsys):
    config = tmp_path / "video.yaml"
    config.write_text(SELF_SUPERVISED)
    for n in range(4):
        write_image(tmp_path / f"drive/{n}.png", np.full((64, 96, 3), 40 * n, np.uint8))
    command = ["--config", str(config), "--out", str(tmp_path / "run"), f"data.root={tmp_path / 'drive'}", *TINY[1:]]
    assert train.main([*command, "run.workers=0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "drive/1.png" in line
    assert "has no camera intrinsics, without which self-supervised depth cannot project" in line


def test_labels_from_a_folder_without_any(tmp_path, capsys):
    write_image(tmp_path / "drive/0.png", np.zeros((64, 96, 3), np.uint8))
    config = str(ROOT / "training/configs/camvid_s.yaml")
    command = ["--config", config, "--out", str(tmp_path / "run"), f"data.root={tmp_path / 'drive'}", *TINY[1:]]
    assert train.main([*command, "data.dataset=folder"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "error: tasks has semantic, but folder has labels of nothing: leave it out, or begin from a run that knows it "
        "(start=RUN)"
    )


@pytest.mark.parametrize(
    ("dataset", "setting", "text"),
    [
        ("camvid", "run.batch=4", "has 2 samples, fewer than one batch of 4; lower run.batch"),
        ("camvid", "data.train=1", "has 1 samples, fewer than one batch of 2; lower run.batch"),
        ("camvid", "data.train=0", "data.train is 0; give at least 1, or null"),
        ("camvid", "data.dataset=kamvid", "data.dataset is 'kamvid'; did you mean 'camvid'? known: "),
        ("camvid", "data.options={variaton: fog}", "data.options.variaton is no option of camvid; known: strict"),
        (
            "vkitti2",
            "data.options={variation: fogg}",
            "has no variation fogg, it has 15-deg-left; give data.options",
        ),
        ("camvid", "data.size=[16,16]", "data.size is [16, 16]; give [height, width] of at least 32 pixels each"),
        ("camvid", "data.size=[64]", "data.size is [64]; give [height, width]"),
        ("camvid", "data.crop=[128,128]", "data.crop is [128, 128], larger than data.size [64, 96]"),
        ("camvid", "data.flip=2", "data.flip is 2.0; it must be in 0..1"),
        ("camvid", "data.colour=-1", "data.colour is -1.0; it must be in 0..1"),
        ("camvid", "data.frames=[-1,1]", "data.frames is [-1, 1], but camvid has no sequences"),
        ("camvid", "tasks=[depth]", "tasks has depth, but camvid has labels of semantic, edges"),
        ("camvid", "class_list=nyud40", "CamVid has no labels in class list 'nyud40'; use one of camvid11"),
        ("camvid", "class_list=camvid12", "unknown class list 'camvid12'"),
        ("camvid", "tasks=[semantik]", "semantik"),
        ("camvid", "weights.depth=2", "task weight depth=2"),
    ],
)
def test_settings_that_do_not_fit(answer, dataset, setting, text):
    assert text in answer(dataset, lambda root: None, setting)
