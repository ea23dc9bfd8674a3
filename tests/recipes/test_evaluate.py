"""``python -m training.evaluate`` on tiny data sets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from native_layouts import write_camvid, write_vkitti2

from densemtl_core.data import Sample, camvid, class_list
from densemtl_core.data.street import StreetWorld
from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import save_checkpoint
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import SemanticTask, make_tasks
from training import evaluate

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.evaluate", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_shipped_bundle_knows_its_own_world(tmp_path):
    result = run("--dataset", "street", "--every", "16", "--out", str(tmp_path / "s.json"))
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "s.json").read_text())
    assert (report["samples"], report["split"], report["resolution"]) == (8, "val", "192x320")
    assert (report["classes"], report["network"]["name"]) == ("cityscapes19", "edge_s_street")
    assert "depth, median-scaled" in result.stdout
    assert "8 samples of street val, resolution 192x320, classes cityscapes19; edge_s_street" in result.stdout
    scores = report["scores"]
    # far above what a network that learnt nothing reaches; the card has the figures
    assert scores["semantic"]["pixel_accuracy"] > 0.85
    assert scores["semantic"]["IoU"]["road"] > 0.9
    assert scores["depth"]["delta1"] > 0.6
    assert scores["depth"]["AbsRel_median_scaled"] < 0.3
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
    assert set(report["scores"]) == {"semantic", "edges"}
    assert report["scores"]["semantic"]["IoU"]["road"] > 0.7
    assert (report["classes"], report["resolution"]) == ("camvid11", "the images' own")


def saved_run(folder: Path, classes: str, depth: dict[str, object]) -> Path:
    """What a run leaves, of an untrained network."""
    torch.manual_seed(0)
    known = class_list(classes)
    tasks = make_tasks(["semantic", {"kind": "depth", **depth}], class_names=known.classes, palette=known.palette)
    description = ModelDescription("densemtl_edge_s", tasks, (64, 96))
    return save_checkpoint(folder, build_model("densemtl_edge_s", tasks), description)


def test_a_run_is_judged_in_its_own_classes_and_at_a_size(tmp_path, capsys):
    """VKITTI2's 14 classes on VKITTI2: no translation; resized as in training."""
    run_folder, out = saved_run(tmp_path / "run", "vkitti14", {}), tmp_path / "scores/s.json"
    (tmp_path / "data").mkdir()
    root = write_vkitti2(tmp_path / "data")
    command = ["--run", str(run_folder), "--dataset", "vkitti2", "--root", str(root), "--size", "64x96"]
    assert evaluate.main([*command, "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert (report["classes"], report["split"], report["samples"]) == ("vkitti14", "val", 6)
    assert (report["resolution"], report["network"]["name"]) == ("64x96", "run")
    assert list(report["scores"]["semantic"]["IoU"]) == list(class_list("vkitti14").classes)
    assert {"RMSE", "RMSE_median_scaled"} <= set(report["scores"]["depth"])
    assert evaluate.main([*command, "--split", "train", "--tasks", "depth"]) == 0
    told = capsys.readouterr().out
    assert "9 samples of vkitti2 train, resolution 64x96, classes none; run" in told


def test_options_of_the_data_set(tmp_path, capsys):
    """One drive in one variation that is not the default, as ``training.street --layout vkitti2`` writes."""
    run_folder, out = saved_run(tmp_path / "run", "vkitti14", {}), tmp_path / "s.json"
    (tmp_path / "data").mkdir()
    root = write_vkitti2(tmp_path / "data")
    for drive in root.glob("Scene*/15-deg-left"):
        drive.rename(drive.parent / "clone")
    command = ["--run", str(run_folder), "--dataset", "vkitti2", "--root", str(root), "--size", "64x96"]
    command += ["--tasks", "semantic"]
    assert "it has clone; give data.options.variation=clone" in error_of(command, capsys)
    command += ["--option", "variation=clone", "--option", "val_scenes=[Scene20]"]
    assert evaluate.main([*command, "--option", "strict=false", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["samples"] == 3
    assert report["options"] == {"variation": "clone", "val_scenes": ["Scene20"], "strict": False}
    told = error_of([*command, "--option", "variaton=fog"], capsys)
    assert "variaton" in told
    assert "variation" in told


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "TrainedNetwork", lambda **_: pytest.fail("the work began"))
    (tmp_path / "file").write_text("")
    places = [(tmp_path, "is a folder; give a file"), (tmp_path / "file/deeper/s.json", "file is no folder")]
    for out, expected in places:
        assert expected in error_of(["--dataset", "street", "--out", str(out)], capsys)
    monkeypatch.setattr(evaluate.os, "access", lambda place, mode: Path(place) != tmp_path)
    told = error_of(["--dataset", "street", "--out", str(tmp_path / "new/s.json")], capsys)
    assert f"{tmp_path} cannot be written; give another file" in told
    assert not (tmp_path / "new").exists()


def test_depth_without_a_unit_has_only_scaled_scores(tmp_path, capsys):
    run_folder = saved_run(tmp_path / "run", "nyud40", {"encoding": "disparity", "up_to_scale": True})
    command = ["--run", str(run_folder), "--dataset", "street", "--every", "64", "--tasks", "depth"]
    assert evaluate.main([*command, "--size", "64x96", "--out", str(tmp_path / "s.json")]) == 0
    depth = json.loads((tmp_path / "s.json").read_text())["scores"]["depth"]
    assert set(depth) == {f"{n}_median_scaled" for n in ("RMSE", "AbsRel", "delta1", "delta2", "delta3")}
    assert "cannot be compared with cityscapes19" in error_of(command[:-2], capsys)


def error_of(arguments: list[str], capsys) -> str:
    assert evaluate.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("network", "dataset", "asked", "expected"),
    [
        ("cityscapes19", "cityscapes", None, ("cityscapes19", False)),
        ("cityscapes19", "camvid", None, ("camvid11", True)),
        ("cityscapes19", "synthia", None, ("cityscapes16", True)),
        ("cityscapes19", "vkitti2", None, ("vkitti8", True)),
        ("cityscapes19", "cityscapes", "cityscapes7", ("cityscapes7", True)),
        ("cityscapes16", "cityscapes", None, ("cityscapes16", False)),
        ("cityscapes16", "synthia", "cityscapes16", ("cityscapes16", False)),
        ("nyud40", "nyudv2", None, ("nyud40", False)),
        ("vkitti8", "cityscapes", None, ("vkitti8", False)),
        ("cityscapes19", "camvid", "street7", ("street7", True)),
        ("camvid11", "camvid", "street7", ("street7", True)),
        ("camvid11", "street", "street7", ("street7", True)),
        ("vkitti8", "camvid", "street7", ("street7", True)),
        ("vkitti14", "camvid", "street7", ("street7", True)),
        ("vkitti14", "cityscapes", "vkitti8", ("vkitti8", True)),
        ("street7", "camvid", None, ("street7", False)),
        ("street7", "camvid", "street7", ("street7", False)),
    ],
)
def test_label_protocols(network, dataset, asked, expected):
    task = SemanticTask(class_names=class_list(network).classes)
    protocol = evaluate.label_protocol([task], dataset, asked)
    assert (protocol.classes, protocol.translation is not None) == expected


@pytest.mark.parametrize(
    ("classes", "dataset", "asked"),
    [
        (("a", "b"), "cityscapes", None),
        (class_list("camvid11").classes, "cityscapes", "cityscapes19"),
        (class_list("street7").classes, "cityscapes", "cityscapes19"),
        (class_list("cityscapes16").classes, "street", "cityscapes19"),
    ],
)
def test_classes_that_cannot_be_compared(classes, dataset, asked):
    with pytest.raises(InputError, match="cannot be compared with cityscapes19"):
        evaluate.label_protocol([SemanticTask(class_names=classes)], dataset, asked)


def test_an_unknown_list_is_named():
    task = SemanticTask(class_names=class_list("cityscapes19").classes)
    with pytest.raises(InputError, match=r"unknown class list 'street8'; known: .*street7"):
        evaluate.label_protocol([task], "camvid", "street8")


class Answers:
    """A network that says what it is told to."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids

    def predict(self, image: np.ndarray, tasks: list[str], intrinsics: np.ndarray | None) -> dict[str, np.ndarray]:
        assert image.shape[:2] == self.ids.shape
        assert tasks == ["semantic"]
        return {"semantic": self.ids}


# CamVid's native labels: road road road sky | building building car car | sign tree pole pedestrian
CAMVID_LABELS = [[3, 3, 3, 0], [1, 1, 8, 8], [6, 5, 2, 9]]
STREET7_ANSWERS = {
    # road road sidewalk sky | building wall car truck | light terrain pole person
    "cityscapes19": [[0, 0, 1, 10], [2, 3, 13, 14], [6, 9, 5, 11]],
    # road road pavement sky | building fence car bicyclist | sign pedestrian pole pedestrian
    "camvid11": [[3, 3, 4, 0], [1, 7, 8, 10], [6, 9, 2, 9]],
}


@pytest.mark.parametrize("network", STREET7_ANSWERS)
def test_a_class_outside_the_list_is_a_miss_and_no_false_alarm(network):
    """By hand: 11 pixels have a class of street7 (the pedestrian has none); 4 are answered with a class outside it."""
    task = SemanticTask(class_names=class_list(network).classes)
    protocol = evaluate.label_protocol([task], "camvid", "street7")
    label = camvid.CLASSES.to("street7")(np.array(CAMVID_LABELS), "here")
    assert label[2, 3] == 255
    sample = Sample(torch.zeros(3, 3, 4), {"semantic": label})
    answers = Answers(np.array(STREET7_ANSWERS[network], np.uint8))
    scores = evaluate.evaluate_network(answers, [task], [sample], protocol)["semantic"]
    assert scores["pixel_accuracy"] == pytest.approx(7 / 11)
    iou = {
        "road": 2 / 3,
        "building": 1 / 2,
        "pole": 1.0,
        "traffic sign": 1.0,
        "vegetation": 0.0,
        "sky": 1.0,
        "vehicle": 1 / 2,
    }
    assert scores["IoU"] == pytest.approx(iou)
    assert scores["mIoU"] == pytest.approx(sum(iou.values()) / 7)


def test_a_confused_class_is_both_a_miss_and_a_false_alarm():
    """Against the above: a sidewalk answered as sky costs the road a hit and the sky its purity."""
    task = SemanticTask(class_names=class_list("cityscapes19").classes)
    protocol = evaluate.label_protocol([task], "camvid", "street7")
    label = camvid.CLASSES.to("street7")(np.array(CAMVID_LABELS), "here")
    ids = np.array(STREET7_ANSWERS["cityscapes19"], np.uint8)
    ids[0, 2] = 10
    scores = evaluate.evaluate_network(
        Answers(ids), [task], [Sample(torch.zeros(3, 3, 4), {"semantic": label})], protocol
    )["semantic"]
    assert scores["pixel_accuracy"] == pytest.approx(7 / 11)
    assert (scores["IoU"]["road"], scores["IoU"]["sky"]) == pytest.approx((2 / 3, 1 / 2))


@pytest.mark.parametrize("network", ["cityscapes19", "camvid11"])
def test_street7_on_camvid_from_the_command_line(tmp_path, network):
    run_folder, out = saved_run(tmp_path / "run", network, {}), tmp_path / "s.json"
    (tmp_path / "data").mkdir()
    root = write_camvid(tmp_path / "data")
    command = ["--run", str(run_folder), "--dataset", "camvid", "--root", str(root), "--size", "64x96"]
    assert evaluate.main([*command, "--classes", "street7", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["classes"] == "street7"
    assert list(report["scores"]["semantic"]["IoU"]) == list(class_list("street7").classes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "camvid"], "--dataset camvid needs --root"),
        (["--dataset", "camvid", "--root", "nowhere"], "nowhere"),
        (["--dataset", "street", "--every", "0"], "--every is 0"),
        (["--dataset", "street", "--option", "seed"], "--option is 'seed'; give NAME=VALUE"),
        (["--dataset", "street", "--option", "=3"], "--option is '=3'; give NAME=VALUE"),
        (["--dataset", "street", "--option", "seed=[1"], "--option seed=[1: not a value"),
        (["--dataset", "street", "--option", "sed=1"], "sed"),
        (["--dataset", "street", "--style", "sim", "--option", "style=real"], "give one of them"),
        (["--dataset", "street", "--size", "big"], "--size is 'big'"),
        (["--dataset", "street", "--bundle", "nowhere"], "bundle not found: nowhere"),
        (["--dataset", "street", "--run", "nowhere"], "nowhere has no model.json"),
        (["--dataset", "street", "--tasks", "dept"], "has no task 'dept'"),
        (["--dataset", "street", "--classes", "mine"], "mine"),
        (["--dataset", "camvid", "--root", "nowhere", "--style", "sim"], "--style sim is of the street world"),
        (["--dataset", "nyudv2", "--root", "nowhere"], "cannot be compared with nyud40, those of nyudv2; leave that"),
        (["--dataset", "camvid", "--root", "nowhere", "--tasks", "depth"], "camvid has no label of depth"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    line = error_of(arguments, capsys)
    assert line.startswith("error: ")
    assert message in line
