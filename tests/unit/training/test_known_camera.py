"""A camera's intrinsics on their way from where pictures are read to depth in metres."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from bag_writing import camera_info, image, write

from densemtl_core.data.frames import open_frames
from densemtl_core.data.street import StreetWorld
from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint, save_checkpoint
from densemtl_core.learning.evaluation import judge
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks
from deploy.bundling import package
from training.data_settings import DataSettings
from training.evaluate import Protocol, evaluate_network
from training.sim_to_real_report import before_after
from training.trained_network import TrainedNetwork

SIZE, FOCAL = (64, 96), 60.0
GIVEN = [50, 51, 30.5, 20.5]
K = np.array([[50, 0, 30.5], [0, 51, 20.5], [0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained network that sees through a canonical camera."""
    torch.manual_seed(0)
    tasks = make_tasks([{"kind": "depth", "encoding": "log", "canonical_focal": FOCAL}, "normals"])
    description = ModelDescription("densemtl_edge_s", tasks, SIZE)
    return save_checkpoint(tmp_path_factory.mktemp("runs") / "mine", build_model("densemtl_edge_s", tasks), description)


@pytest.fixture(scope="module")
def networks(run):
    bundle = package(*load_checkpoint(run), run.parent / "mine.bundle").path
    return TrainedNetwork(run=run), TrainedNetwork(bundle=bundle)


def test_a_run_sees_through_a_camera_as_its_bundle_does(networks):
    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    for wanted in (["depth", "normals"], ["depth"]):
        ours, theirs = (network.predict(picture, wanted, 8 * K) for network in networks)
        assert ours.keys() == theirs.keys() == set(wanted)
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])
    canonical, known = (networks[0].predict(picture, ["depth"], given)["depth"] for given in (None, K))
    # the network sees 70 columns as 96
    np.testing.assert_allclose(known, canonical * (50 * 96 / 70 / FOCAL), rtol=1e-5)
    with pytest.raises(InputError, match="fx above 0"):
        networks[0].predict(picture, ["depth"], -K)


def test_scores_of_run_and_bundle_are_those_of_training(networks, run, caplog):
    world = StreetWorld(split="val", size=SIZE, length=2)
    samples = [replace(s, image=(s.image * 255).round() / 255) for s in (world[0], world[1])]
    wide = [replace(s, intrinsics=None) for s in samples]

    def scores(network, given):
        return evaluate_network(network, [network.tasks["depth"]], given, Protocol(None))["depth"]

    ours, theirs = (scores(network, samples) for network in networks)
    assert ours == theirs
    model, description = load_checkpoint(run)
    depth = description.tasks[:1]
    batches = [replace(s, image=s.image[None], labels={"depth": s.labels["depth"][None]}) for s in samples]
    batches = [replace(b, intrinsics=s.intrinsics[None]) for b, s in zip(batches, samples, strict=True)]
    trained = judge(model, depth, batches)["depth"].compute()
    assert {name: ours[name] for name in trained} == pytest.approx(trained, rel=1e-3)
    assert not caplog.records
    assert scores(networks[0], wide)["AbsRel"] != pytest.approx(ours["AbsRel"], rel=0.05)
    assert "2 samples have no intrinsics" in caplog.text


def test_pictures_of_a_report_are_seen_through_their_camera(run, monkeypatch):
    """The same frames with and without the camera: another depth in the picture."""
    frames = DataSettings(dataset="street", size=list(SIZE), train=2, validation=2, options={"style": "real"})

    def panel():
        return before_after({"mine": run}, frames, "street7", None, labelled=False, count=1)

    known, plain = panel(), TrainedNetwork.predict
    monkeypatch.setattr(TrainedNetwork, "predict", lambda self, image, wanted, K: plain(self, image, wanted, 3 * K))
    other = panel()
    assert known.shape == other.shape
    assert (known != other).any()
    monkeypatch.setattr(TrainedNetwork, "predict", lambda self, image, wanted, K: plain(self, image, wanted))
    assert (known != panel()).any()


def test_files_and_videos_have_the_camera_that_is_given(tmp_path):
    picture, film = tmp_path / "a.png", tmp_path / "film.avi"
    assert cv2.imwrite(str(picture), np.zeros((40, 60, 3), np.uint8))
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (60, 40))
    for _ in range(3):
        writer.write(np.zeros((40, 60, 3), np.uint8))
    writer.release()
    for inputs in ([str(picture)], [str(tmp_path / "film.avi")]):
        _, plain = open_frames(inputs, intrinsics=GIVEN)[0]
        np.testing.assert_array_equal(plain, K)
        shown, scaled = open_frames(inputs, intrinsics=GIVEN, size=(80, 180))[0]
        assert shown.shape == (80, 180, 3)
        # the principal point is half a pixel from the middle of the border, before and after
        np.testing.assert_allclose(scaled, [[150, 0, 92.5], [0, 102, 41.5], [0, 0, 1]])
        assert open_frames(inputs)[0][1] is None


def test_a_bag_and_the_street_know_their_camera(tmp_path):
    pictures = [image(np.zeros((40, 60, 3)), size=(40, 60))]
    infos = [camera_info(k=K.ravel(), size=(40, 60))]
    bag = str(write(tmp_path / "bag", {"/camera/image_raw": pictures, "/camera/camera_info": infos}))
    np.testing.assert_array_equal(open_frames([bag])[0][1], K)
    np.testing.assert_allclose(open_frames([bag], size=(80, 120))[0][1][0, 0], 100)
    np.testing.assert_array_equal(open_frames([bag], intrinsics=[70, 70, 1, 2])[0][1][0], [70, 0, 1])
    frames = open_frames(["street"], size=SIZE, limit=1)
    expected = StreetWorld(split="val", size=SIZE, length=1)[0].intrinsics
    np.testing.assert_array_equal(frames[0][1], expected)


@pytest.mark.parametrize("given", [[50, 51], [], [0, 51, 1, 1], [50, 51, np.nan, 1]])
def test_what_is_no_camera(given, tmp_path):
    with pytest.raises(InputError, match="give fx,fy,cx,cy"):
        open_frames([str(tmp_path)], intrinsics=given)


def test_nobody_else_tells_the_street_its_camera():
    with pytest.raises(InputError, match="the street world knows its camera"):
        open_frames(["street"], intrinsics=GIVEN)
