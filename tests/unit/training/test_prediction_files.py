"""The parts of predicting: which pictures, which network, which files."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
import torch

from densemtl_core.data.frames import open_frames
from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint, save_checkpoint
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks
from deploy.bundling import package
from training.prediction_files import PredictionFiles, _encoded
from training.trained_network import TrainedNetwork


def write(path, value, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
    return str(path)


def test_names_are_unique_and_colours_exact(tmp_path):
    given = [write(tmp_path / name, 9) for name in ("x/a.png", "y/a.png", "x/a_2.png", "z/a.png")]
    cv2.imwrite(given[0], np.full((20, 30, 3), (1, 2, 3), np.uint8))
    frames = open_frames(given)
    assert len(set(frames.names)) == 4
    assert frames.names[:2] == ["a", "a_2"]
    assert frames.sources == given
    assert frames[0][0][5, 5].tolist() == [3, 2, 1]


def test_stride_limit_and_resizing(tmp_path):
    for n in range(7):
        write(tmp_path / f"{n}.png", 30 * n)
    frames = open_frames([str(tmp_path)], stride=3, limit=2, size=(40, 50))
    assert frames.names == ["0", "3"]
    image, K = frames[1]
    assert image.shape == (40, 50, 3)
    assert (image == 90).all()
    assert K is None


def test_the_street_is_the_same_at_every_limit():
    few, more = (open_frames(["street"], limit=n, stride=2, size=(32, 48)) for n in (2, 3))
    assert few.names == ["street_000000", "street_000002"]
    assert np.array_equal(few[1][0], more[1][0])
    assert len(open_frames(["street"])) == 16


def test_an_unreadable_picture_is_told_when_it_is_asked_for(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    frames = open_frames([str(tmp_path / "a.png"), write(tmp_path / "b.png", 5)])
    assert frames[1][0].max() == 5
    with pytest.raises(InputError, match=r"a\.png: not a readable image"):
        frames[0]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """One untrained network as a run and as a bundle."""
    torch.manual_seed(0)
    kinds = ["semantic", {"kind": "depth", "encoding": "log"}, "normals"]
    tasks = make_tasks(kinds, class_names=("road", "sky"))
    folder = tmp_path_factory.mktemp("networks")
    run = save_checkpoint(
        folder / "mine", build_model("densemtl_edge_s", tasks), ModelDescription("densemtl_edge_s", tasks, (64, 96))
    )
    return run, package(*load_checkpoint(run), folder / "mine.bundle").path


def test_a_run_predicts_what_its_bundle_predicts(networks):
    run, bundle = TrainedNetwork(run=networks[0]), TrainedNetwork(bundle=networks[1])
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    for wanted in (["semantic", "depth", "normals"], ["normals"], ["semantic"]):
        ours, theirs = run.predict(image, wanted), bundle.predict(image, wanted)
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])
    assert run.about == bundle.about | {"name": "mine"}
    assert [t.name for t in run.choose(["normals", "semantic"])] == ["semantic", "normals"]
    with pytest.raises(InputError, match="mine has no task 'edges'; it has semantic, depth, normals"):
        bundle.choose(["edges"])


def test_neither_or_both(networks):
    with pytest.raises(InputError, match="either a bundle or a run"):
        TrainedNetwork()
    with pytest.raises(InputError, match="either a bundle or a run"):
        TrainedNetwork(bundle=networks[1], run=networks[0])


def test_depth_is_stored_in_both_forms():
    depth = np.array([[0.5, 79.0, np.inf, np.nan, 300.0, 0.0]], np.float32)
    files = _encoded(depth, "metres along the optical axis")
    stored = cv2.imdecode(np.frombuffer(files[".16.png"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.tolist() == [[128, 79 * 256, 0, 0, 0, 0]]
    np.testing.assert_array_equal(np.load(io.BytesIO(files[".npy"])), depth)
    assert list(_encoded(depth, "unknown unit along the optical axis")) == [".npy"]


def test_pictures_of_several_sizes_in_one_video(tmp_path):
    tasks = make_tasks(["depth"])
    with PredictionFiles(tmp_path / "out", tasks, {}, panel=False, video=5.0) as files:
        for n, size in enumerate(((30, 40), (60, 40), (30, 90))):
            files.add(str(n), str(n), np.full((*size, 3), 200, np.uint8), {"depth": np.ones(size, np.float32)})
    capture = cv2.VideoCapture(str(tmp_path / "out/panels.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (960, 384)


def test_the_classes_of_a_picture_are_named_in_their_colours(tmp_path):
    tasks = make_tasks(["semantic"], class_names=("road", "sky", "car"), palette=((9, 0, 0), (0, 90, 0), (0, 0, 250)))
    ids = np.zeros((30, 40), np.uint8)
    ids[:20] = 2
    with PredictionFiles(tmp_path, tasks, {}) as files:
        files.add("a", "a.png", np.zeros((30, 40, 3), np.uint8), {"semantic": ids})
    panel = cv2.imread(str(tmp_path / "panels/a.png"))[..., ::-1]
    assert panel.shape == (24 + 360, 3 * 480, 3)
    key = panel[24:, 960:]
    assert key[16, 20].tolist() == [0, 0, 250]  # the largest class first
    assert key[40, 20].tolist() == [9, 0, 0]
    assert not (key == (0, 90, 0)).all(-1).any()  # a class that does not occur


def test_an_error_leaves_a_page_that_says_so_and_no_partial_file(tmp_path):
    def fail():
        with PredictionFiles(tmp_path / "out", make_tasks(["depth"]), {"name": "x"}, video=5.0) as files:
            files.add("a", "a.png", np.zeros((30, 40, 3), np.uint8), {"depth": np.ones((30, 40), np.float32)})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    page = json.loads((tmp_path / "out/predictions.json").read_text())
    assert (page["complete"], page["network"], len(page["frames"])) == (False, {"name": "x"}, 1)
    names = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert names == {"predictions.json", "panels.mp4", "a.png"}


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*file/out cannot be made"):
        PredictionFiles(tmp_path / "file/out", [], {})
