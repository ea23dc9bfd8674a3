"""Several cameras in one node: what belongs to one touches no other, and each has its share."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_rig import RELIABLE, as_array, picture, read_until
from fake_predictor import FakePredictor, expected
from rcl_interfaces.srv import GetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from test_perception_node import label_kind, read_labels

from densemtl_core.errors import InputError

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Cameras:
    """Cameras of a rig by name, and what the node sent for each.

    Args:
        rig: a `PerceptionRig` whose node was given these names.
        names: of the cameras.
        kind: of their messages.
        topics: outputs to listen to, below each camera.
    """

    def __init__(self, rig, names, *topics, kind=Image, qos=RELIABLE):
        self.rig, self.names = rig, names
        suffix = "image/compressed" if kind is CompressedImage else "image"
        self.publishers = {name: rig.tester.create_publisher(kind, f"{name}/{suffix}", qos) for name in names}
        self.topics = topics or ("depth/image",)
        rig.listen(*self.paths)
        assert rig.transition("configure")
        assert rig.transition("activate")
        rig.until(lambda: all(p.get_subscription_count() for p in self.publishers.values()), "the node subscribes")
        wanted = {f"{rig.name}/{path}" for path in self.paths}
        rig.until(
            lambda: wanted <= {p.topic_name for p in list(rig.node.publishers) if p.get_subscription_count()},
            "the node's publishers know their listeners",
        )
        rig.until(lambda: all(map(self._settled, names)), "the subscriptions have the cameras' reliability")

    @property
    def paths(self):
        return [f"{name}/{topic}" for name in self.names for topic in self.topics]

    def _settled(self, name):
        topic = self.publishers[name].topic_name
        offers = self.rig.tester.get_publishers_info_by_topic(topic)
        wishes = self.rig.tester.get_subscriptions_info_by_topic(topic)
        return {o.qos_profile.reliability for o in offers} == {w.qos_profile.reliability for w in wishes}

    def message(self, name, image, stamp=None):
        """A frame of one camera, whose frame_id names it."""
        message = self.rig.message(image, stamp=stamp)
        message.header.frame_id = f"{name}_optical"
        return message

    def send(self, name, image, stamp=None):
        message = self.message(name, image, stamp)
        self.publishers[name].publish(message)
        return message

    def results(self, name, topic="depth/image"):
        return self.rig.received[f"{name}/{topic}"]

    def play(self, periods, seconds, image=None):
        """Publish each camera's frames at its period (seconds); how many each sent."""
        image = picture() if image is None else image
        sent = dict.fromkeys(periods, 0)
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < seconds:
            for name, period in periods.items():
                if now >= sent[name] * period:
                    self.send(name, image)
                    sent[name] += 1
            self.rig._executor.spin_once(timeout_sec=0.002)
        self.rig.until(lambda: all(map(self._through, periods)), "every frame that arrived has its end")
        return sent

    def _through(self, name):
        ends = sum(self.rig.count(key, name) for key in ("processed", "dropped", "rejected"))
        return self.rig.count("received", name) == ends


# What is whose --------------------------------------------------------------------------------------------------------


def test_two_cameras_have_their_own_topics_stamps_and_pixels(start_rig):
    rig = start_rig(cameras=["front", "rear"])
    cameras = Cameras(rig, ["front", "rear"], "semantic/image", "depth/image")
    for seed in range(3):
        for offset, name in enumerate(cameras.names):
            image = picture(seed=10 * seed + offset)
            message = cameras.send(name, image, 1_700_000_000_000_000_000 + seed * 1000 + offset)
            for topic, output in (("depth/image", "depth"), ("semantic/image", "semantic")):
                rig.until(lambda n=name, t=topic, s=seed: len(cameras.results(n, t)) == s + 1, f"{name}/{topic}")
                found = cameras.results(name, topic)[-1]
                assert found.header == message.header
                assert found.header.frame_id == f"{name}_optical"
                np.testing.assert_array_equal(as_array(found), expected(image)[output])
    for name in cameras.names:
        assert (rig.count("received", name), rig.count("processed", name)) == (3, 3)
    topics = {p.topic_name for p in rig.node.publishers}
    assert f"{rig.name}/depth/image" not in topics
    assert rig.camera.get_subscription_count() == 0, "no topic without a name is read"


def test_each_camera_has_its_own_labels_and_camera_info(start_rig):
    rig = start_rig(cameras=["front", "rear"])
    for name in ("front", "rear"):
        rig.listen(f"{name}/camera_info", kind=CameraInfo)
    cameras = Cameras(rig, ["front", "rear"])
    for name in cameras.names:
        topic = f"{name}/semantic/label_info"
        rig.listen(topic, kind=label_kind(rig, topic), qos=LATCHED)
        message = rig.until(lambda t=topic: rig.received[t], topic)[0]
        assert read_labels(message)[0][0] == "road"
    assert rig.set_parameters(confidence_threshold=0.5) == [""]
    rig.until(lambda: all(len(rig.received[f"{n}/semantic/label_info"]) == 2 for n in cameras.names), "new labels")

    publisher = rig.tester.create_publisher(CameraInfo, "front/camera_info", RELIABLE)
    rig.until(publisher.get_subscription_count, "the node subscribes to front's camera_info")
    publisher.publish(CameraInfo(height=48, width=64, k=[60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]))
    rig.until(lambda: rig.node.cameras[0].input.camera_info, "camera_info arrives")
    messages = {name: cameras.send(name, picture()) for name in cameras.names}
    rig.until(lambda: all(map(cameras.results, cameras.names)), "both results")
    rig.until(lambda: rig.received["front/camera_info"], "front's camera info")
    assert rig.received["front/camera_info"][0].header == messages["front"].header
    assert rig.received["rear/camera_info"] == [], "nobody knows the rear camera"


def test_intrinsics_go_with_their_own_camera_in_one_batch(start_rig):
    predictor = FakePredictor(batch_limit=2)
    predictor.manifest.tasks["depth"].camera = {"focal": 200.0, "limit": 80.0}
    rig = start_rig(predictor, cameras=["front", "rear"])
    cameras = Cameras(rig, ["front", "rear"])
    publisher = rig.tester.create_publisher(CameraInfo, "rear/camera_info", RELIABLE)
    rig.until(publisher.get_subscription_count, "the node subscribes")
    k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    publisher.publish(CameraInfo(height=48, width=64, k=k))
    rig.until(lambda: rig.node.cameras[1].input.camera_info, "camera_info arrives")
    hold_and_send(rig, cameras, {name: picture() for name in cameras.names})
    assert predictor.batches == [1, 2]
    assert predictor.cameras == [None, k, None], "the rear camera had waited longer"


def test_compressed_cameras_and_best_effort_ones(start_rig):
    names = ["front", "rear"]
    rig = start_rig(cameras=names, image_transport="compressed", output_reliability="best_effort")
    rig.listen("front/edges/image", qos=BEST_EFFORT)
    cameras = Cameras(rig, names[:1], "edges/image", kind=CompressedImage, qos=BEST_EFFORT)
    (offer,) = rig.tester.get_publishers_info_by_topic(f"{rig.name}/front/edges/image")
    assert offer.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    (labels,) = rig.tester.get_publishers_info_by_topic(f"{rig.name}/front/semantic/label_info")
    assert labels.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    image = picture()
    message = CompressedImage(format="png", data=cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    cameras.publishers["front"].publish(message)
    found = rig.until(lambda: rig.received["front/edges/image"], "the result")[0]
    np.testing.assert_array_equal(as_array(found), image[..., 2])


def test_each_camera_has_its_own_status(start_rig):
    rig = start_rig(cameras=["front", "rear"], input_timeout=0.5)
    cameras = Cameras(rig, ["front", "rear"])

    def newest():
        return {status.name.partition(": ")[2]: status for status in rig.statuses}

    rig.tester.create_timer(0.05, lambda: cameras.send("front", picture()))
    rig.until(lambda: "rear" in newest() and newest()["rear"].level == b"\2", "the silent camera is an error")
    rig.until(lambda: newest()["front"].level == b"\0", "and the other one is well")
    assert set(newest()) == {"front", "rear"}
    assert newest()["rear"].message.startswith("no usable frame for")
    assert newest()["front"].name == "robot/perception: front"
    assert newest()["front"].hardware_id == newest()["rear"].hardware_id == "fake"


# One touches no other -------------------------------------------------------------------------------------------------


def test_of_four_one_silent_one_broken_one_fast_and_one_slow_each_gets_what_it_sends(start_rig):
    names = ["silent", "broken", "fast", "slow"]
    rig = start_rig(cameras=names)
    cameras = Cameras(rig, names)
    good, sent = picture(), {"fast": 0, "slow": 0, "broken": 0}
    begin = time.monotonic()
    while time.monotonic() - begin < 2.0:
        now = time.monotonic() - begin
        for name, period in (("fast", 0.01), ("slow", 0.1), ("broken", 0.02)):
            if now >= sent[name] * period:
                message = cameras.message(name, good, stamp=1000 + sent[name])
                if name == "broken":
                    message.step = 1
                cameras.publishers[name].publish(message)
                sent[name] += 1
        rig._executor.spin_once(timeout_sec=0.002)
    rig.until(lambda: all(map(cameras._through, names)), "every frame has its end")
    assert sent["slow"] >= 15
    rig.until(lambda: len(cameras.results("slow")) == sent["slow"], "every frame of the slow one")
    assert [m.header.stamp.nanosec for m in cameras.results("slow")] == [1000 + n for n in range(sent["slow"])]
    assert {m.header.frame_id for m in cameras.results("slow")} == {"slow_optical"}
    assert {m.header.frame_id for m in cameras.results("fast")} == {"fast_optical"}
    assert rig.count("dropped", "slow") == 0
    assert rig.count("processed", "fast") > 3 * sent["slow"]
    assert rig.count("received", "fast") == rig.count("processed", "fast") + rig.count("dropped", "fast")
    assert rig.count("rejected.step", "broken") == rig.count("received", "broken") > 30
    assert rig.count("rejected", "fast") == rig.count("rejected", "slow") == 0
    assert rig.count("received", "silent") == 0
    assert cameras.results("broken") == cameras.results("silent") == []


@pytest.mark.parametrize("batch_limit", [1, 4])
def test_an_overloaded_engine_is_shared_fairly(start_rig, batch_limit):
    names = ["a", "b", "c", "d"]
    rig = start_rig(FakePredictor(delay=0.02, batch_limit=batch_limit), cameras=names)
    cameras = Cameras(rig, names)
    # The first one is ten times as fast as the others, and each of them faster than its share of 12.5 Hz.
    cameras.play({"a": 0.005, "b": 0.05, "c": 0.05, "d": 0.05}, 4.0)
    done = {name: rig.count("processed", name) for name in names}
    assert sum(done.values()) > 100
    assert min(done.values()) >= 0.8 * np.mean(list(done.values())), done
    assert rig.count("dropped", "a") > rig.count("dropped", "b") > 0
    for name in names:
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in cameras.results(name)]
        assert stamps == sorted(set(stamps)), "in order, never repeated"
    if batch_limit == 4:
        assert max(rig.predictor.batches) == 4
    else:
        assert set(rig.predictor.batches) == {1}


def test_max_rate_holds_for_each_camera(start_rig):
    rig = start_rig(cameras=["front", "rear"], max_rate=10.0)
    cameras = Cameras(rig, ["front", "rear"])
    begin = time.monotonic()
    cameras.play({"front": 0.01, "rear": 0.2}, 2.0)
    took = time.monotonic() - begin
    assert 0.6 * 10 * took <= rig.count("processed", "front") <= 10 * took + 1
    assert rig.count("dropped", "rear") == 0, "it is slower than the limit by itself"
    assert rig.count("processed", "rear") == rig.count("received", "rear")


def test_an_image_that_cannot_be_decoded_leaves_the_others_of_its_batch(start_rig):
    held = threading.Event()
    predictor = FakePredictor(before=lambda image: held.wait(20), batch_limit=3)
    names = ["a", "b", "c"]
    rig = start_rig(predictor, cameras=names, image_transport="compressed")
    cameras = Cameras(rig, names, kind=CompressedImage)
    good = CompressedImage(format="png", data=cv2.imencode(".png", picture())[1].tobytes())
    torn = CompressedImage(format="png", data=good.data[:200].tobytes() + bytes(len(good.data) - 200))
    cameras.publishers["a"].publish(good)  # keeps the worker until one frame of each waits
    rig.until(predictor.in_progress.is_set, "the first frame is in work")
    for name, message in (("a", good), ("b", torn), ("c", good)):
        cameras.publishers[name].publish(message)
    rig.until(lambda: [rig.count("received", name) for name in names] == [2, 1, 1], "all arrive")
    held.set()
    rig.until(lambda: all(map(cameras._through, names)), "every frame has its end")
    assert predictor.batches == [1, 2]
    assert [rig.count("processed", name) for name in names] == [2, 0, 1]
    assert rig.count("rejected.corrupt", "b") == 1


def test_a_failed_batch_counts_for_its_cameras_alone(start_rig, capfd):
    def fail(image):
        if image[0, 0, 0] == 13:
            raise RuntimeError("the engine stumbles")

    rig = start_rig(FakePredictor(before=fail), cameras=["front", "rear"], max_inference_failures=3)
    cameras = Cameras(rig, ["front", "rear"])
    bad = picture()
    bad[0, 0, 0] = 13
    good = picture()
    good[0, 0, 0] = 14
    for number in range(1, 6):  # more often than max_inference_failures: but between them the other camera succeeds
        cameras.send("front", bad)
        rig.until(lambda n=number: rig.count("inference_failures", "front") == n, "the failure is counted")
        cameras.send("rear", good)
        rig.until(lambda n=number: rig.count("processed", "rear") == n, "the other camera's frame")
    assert rig.count("inference_failures", "rear") == 0
    front, rear = rig.node.cameras
    assert rig.node.diagnose(front).message == "inference failed 5 times in a row: RuntimeError: the engine stumbles"
    assert rig.node.diagnose(rear).level == 0
    assert "inference failed (front): Traceback" in capfd.readouterr().err
    assert rig.state() == "active"
    for _ in range(3):  # nobody succeeds any more: the engine is what is broken
        before = rig.count("inference_failures", "rear")
        cameras.send("rear", bad)
        rig.until(lambda b=before: rig.count("inference_failures", "rear") == b + 1, "the failure is counted")
    rig.until(lambda: rig.node.exit_code == 1, "the node leaves")


def test_a_camera_whose_pictures_cannot_be_made_leaves_the_others(start_rig, monkeypatch):
    rig = start_rig(FakePredictor(batch_limit=2), cameras=["front", "rear"])
    cameras = Cameras(rig, ["front", "rear"])

    def broken(*arguments):
        raise ValueError("no such picture")

    monkeypatch.setattr(rig.node.cameras[0].outputs, "encode", broken)
    for name in cameras.names:
        cameras.send(name, picture())
    rig.until(lambda: cameras.results("rear"), "the other camera's result")
    rig.until(lambda: rig.count("inference_failures", "front") == 1, "it is counted")
    assert rig.count("inference_failures", "rear") == 0


# Batches --------------------------------------------------------------------------------------------------------------


def hold_and_send(rig, cameras, images):
    """Keep the engine with one frame until one of each camera waits; the results of those."""
    release = threading.Event()
    rig.predictor.before = lambda image: release.wait(20)
    rig.predictor.in_progress.clear()
    first = cameras.names[0]
    cameras.send(first, picture())
    rig.until(rig.predictor.in_progress.is_set, "a frame is in work")
    for name, image in images.items():
        cameras.send(name, image)
    rig.until(lambda: sum(rig.count("received", n) for n in cameras.names) == len(images) + 1, "all arrive")
    release.set()
    rig.until(lambda: all(map(cameras._through, cameras.names)), "every frame has its end")
    rig.until(lambda: all(cameras.results(n) for n in images), "the results")
    return {name: cameras.results(name)[-1] for name in images}


def test_frames_that_wait_go_together_with_their_own_results(start_rig):
    names = ["a", "b", "c", "d"]
    rig = start_rig(FakePredictor(batch_limit=3), cameras=names)
    cameras = Cameras(rig, names)
    assert rig.predictor.warm == 3
    images = {name: picture(seed=seed) for seed, name in enumerate(names)}
    found = hold_and_send(rig, cameras, images)
    for name, image in images.items():
        np.testing.assert_array_equal(as_array(found[name]), expected(image)["depth"])
    # The first camera was served last, so the three others go first.
    assert rig.predictor.batches == [1, 3, 1]


def test_frames_of_other_sizes_go_in_other_batches(start_rig):
    names = ["a", "b", "c", "d"]
    rig = start_rig(FakePredictor(batch_limit=4), cameras=names)
    cameras = Cameras(rig, names)
    images = {"b": picture(48, 64), "c": picture(20, 30), "d": picture(48, 64)}
    found = hold_and_send(rig, cameras, images)
    assert rig.predictor.batches == [1, 2, 1]
    assert (found["c"].height, found["c"].width) == (20, 30)


@pytest.mark.parametrize(("max_batch", "warm"), [(0, 1), (2, 2), (16, 3)])
def test_the_user_may_decide_how_many_go_together(start_rig, max_batch, warm):
    rig = start_rig(cameras=["a", "b", "c"], max_batch=max_batch)
    assert rig.transition("configure")
    assert rig.predictor.warm == warm


# The parameter --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["front", "front"], ["2nd"], ["a/b"], [f"c{n}" for n in range(17)]])
def test_names_that_cannot_be_used_are_refused_in_one_line(start_rig, names):
    with pytest.raises(
        InputError, match=r"parameter cameras: .* is not allowed, must be at most 16 different"
    ) as error:
        start_rig(cameras=names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", [["front", "rear"], ["only"]])
def test_the_parameter_is_a_fixed_array_of_strings(start_rig, names):
    rig = start_rig(cameras=names)
    (value,) = rig.call(GetParameters, "get_parameters", GetParameters.Request(names=["cameras"])).values
    assert (value.type, list(value.string_array_value)) == (9, names)
    (reason,) = rig.set_parameters(cameras=["other"])
    assert "read-only" in reason
    assert [camera.name for camera in rig.node.cameras] == names


def test_without_names_the_parameter_is_an_empty_array_of_strings(start_rig):
    rig = start_rig()
    (value,) = rig.call(GetParameters, "get_parameters", GetParameters.Request(names=["cameras"])).values
    assert (value.type, list(value.string_array_value)) == (9, [])


@pytest.mark.parametrize(
    ("arguments", "subscribed"),
    [
        (["-p", "cameras:=[front, rear]", "-r", "front/image:=/f/raw"], "/f/raw (best_effort), /rear/image"),
        (["-p", "cameras:=[]"], "/image"),
        (["--params-file", "{folder}/one.yaml"], "/image"),
        (["--params-file", "{folder}/two.yaml"], "/left/image (best_effort), /right/image"),
    ],
)  # fmt: skip
def test_names_from_the_command_line_and_from_files(start_node, tmp_path, arguments, subscribed):
    head = "/**:\n  ros__parameters:\n    cameras: "
    (tmp_path / "one.yaml").write_text(head + "[]\n")
    (tmp_path / "two.yaml").write_text(head + '["left", right]\n')
    given = [argument.format(folder=tmp_path) if "{" in argument else argument for argument in arguments]
    fake = str(Path(__file__).parent / "fake_node.py")
    process = start_node(fake, "--ros-args", "-p", "autostart:=true", *given)
    read_until(process, f"active: subscribed to {subscribed} (best_effort)")


def test_text_instead_of_a_list_is_refused_in_one_line(start_node):
    process = start_node("-m", "densemtl_ros.perception_node", "--ros-args", "-p", "cameras:=front,rear")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert output == "error: parameter cameras: 'front,rear' is a str, must be a list of names\n"
