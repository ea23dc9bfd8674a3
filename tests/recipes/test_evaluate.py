"""``python -m training.evaluate`` on tiny data sets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from densemtl_core.data.street import StreetWorld

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.evaluate", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_shipped_bundle_knows_its_own_world(tmp_path):
    result = run("--dataset", "street", "--every", "16", "--out", str(tmp_path / "s.json"))
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["samples"] == 8
    scores = report["scores"]
    # far above what a network that learnt nothing reaches; the card has the figures
    assert scores["semantic"]["pixel_accuracy"] > 0.85
    assert scores["semantic"]["IoU"]["road"] > 0.9
    assert scores["depth"]["delta1"] > 0.6
    assert scores["depth_median_scaled"]["AbsRel"] < 0.3
    assert scores["normals"]["mErr"] < 25
    assert scores["edges"]["macroF1"] > 0.6


def test_classes_are_translated_into_those_of_the_labels(tmp_path):
    """CamVid's native files, made from a street frame that the bundle has never seen."""
    sample = StreetWorld(seed=3, split="val", size=(96, 160), style="sim")[4]
    camvid = {0: 3, 1: 4, 2: 1, 8: 5, 9: 5, 10: 0, 13: 8}  # road, pavement, building, tree, sky, car
    native = np.full((96, 160), 11, np.uint8)
    for train_id, own in camvid.items():
        native[sample.labels["semantic"].numpy() == train_id] = own
    for folder in ("val", "valannot"):
        (tmp_path / folder).mkdir()
    image = (sample.image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "val/a.jpg"), image[..., ::-1])
    cv2.imwrite(str(tmp_path / "valannot/a.png"), native)
    (tmp_path / "val.txt").write_text("a\n")
    out = tmp_path / "s.json"
    result = run("--dataset", "camvid", "--root", str(tmp_path), "--out", str(out))
    assert result.returncode == 0, result.stderr
    report = json.loads(out.read_text())
    assert set(report["scores"]) == {"semantic"}
    assert report["scores"]["semantic"]["IoU"]["road"] > 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "camvid"], "--dataset camvid needs --root"),
        (["--dataset", "camvid", "--root", "nowhere"], "nowhere"),
        (["--dataset", "street", "--every", "0"], "--every is 0"),
        (["--dataset", "street", "--size", "big"], "--size is 'big'"),
        (["--dataset", "street", "--bundle", "nowhere"], "bundle not found: nowhere"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
