"""Depth from one's own footage, with the configuration that stands in docs/datasets.md."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from training import train
from training.datasets import make_dataset
from training.settings import read_settings

DOCS = Path(__file__).resolve().parents[2] / "docs/datasets.md"


@pytest.fixture
def configuration(tmp_path):
    _, _, after = DOCS.read_text().partition("```yaml\n")
    file = tmp_path / "footage.yaml"
    file.write_text(after.partition("```")[0])
    return file


def frames() -> list[np.ndarray]:
    """A pattern that moves sideways."""
    wide = np.random.default_rng(0).integers(0, 256, (60, 140, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(wide, (0, 0), 2)
    return [np.ascontiguousarray(smooth[:, 3 * n : 3 * n + 100]) for n in range(10)]


@pytest.mark.parametrize(
    "intrinsics",
    ["[115.5,115.2,48,27]", "[115.5,0,48,0,115.2,27,0,0,1]", "[[115.5,0,48],[0,115.2,27],[0,0,1]]"],
)
def test_three_ways_to_give_the_camera_on_the_command_line(configuration, tmp_path, intrinsics):
    for n, frame in enumerate(frames()):
        cv2.imwrite(str(tmp_path / f"{n}.png"), frame)
    overrides = ["data.dataset=folder", f"data.root={tmp_path}", f"data.options.intrinsics={intrinsics}"]
    settings = read_settings(configuration, overrides)
    data = make_dataset(settings.data, [], settings.class_list, "train")
    K = data[0].intrinsics
    assert K[0, 0].item() == pytest.approx(115.5 * 160 / 100)  # follows the resize
    assert K[1, 1].item() == pytest.approx(115.2 * 96 / 60)
    assert set(data[0].labels) == {"image-1", "image+1"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["video", "folder"])
def test_the_documented_configuration_trains(configuration, tmp_path, kind):
    root = tmp_path / "drive"
    if kind == "video":
        root = root.with_suffix(".avi")
        writer = cv2.VideoWriter(str(root), cv2.VideoWriter_fourcc(*"MJPG"), 10, (100, 60))
        for frame in frames():
            writer.write(frame)
        writer.release()
    else:
        root.mkdir()
        for n, frame in enumerate(frames()):
            cv2.imwrite(str(root / f"{n}.png"), frame)
        as_told = configuration.read_text().replace("dataset: video", "dataset: folder")
        configuration.write_text(as_told.replace("    stride:", "    # stride:"))
    overrides = [f"data.root={root}", "run.steps=2", "run.batch=2", "data.size=[64,96]"]
    assert train.main(["--config", str(configuration), "--out", str(tmp_path / "run"), *overrides]) == 0
    history = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    assert np.isfinite(history[-1]["loss"])
    assert (tmp_path / "run/model.safetensors").is_file()
