"""What the node publishes for the frames it gets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from camera_rig import RELIABLE, as_array, picture
from densemtl_ros.outputs import OUTPUTS
from fake_predictor import CLASS_NAMES, PALETTE, FakePredictor, expected
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String

from densemtl_core import render

RAW = ("semantic/image", "depth/image", "normals/image", "edges/image")
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def exchange(rig, message, *topics):
    """Send one frame; the message that each topic carries for it."""
    before = {topic: len(rig.received[topic]) for topic in topics}
    rig.camera.publish(message)
    rig.until(lambda: all(len(rig.received[t]) > before[t] for t in topics), f"{topics} for one frame")
    return {topic: rig.received[topic][-1] for topic in topics}


def test_each_frame_gives_four_raw_images_with_its_own_stamp_and_frame(start_rig):
    rig = start_rig()
    rig.activate(*RAW)
    for seed in range(5):
        image = picture(seed=seed)
        message = rig.message(image, stamp=1_700_000_000_123_456_789 + seed)
        got = exchange(rig, message, *RAW)
        want = expected(image)
        for topic, encoding in zip(RAW, ("mono8", "32FC1", "32FC3", "mono8"), strict=True):
            assert got[topic].header == message.header
            assert got[topic].encoding == encoding
            assert (got[topic].height, got[topic].width) == (48, 64)
            assert len(got[topic].data) == got[topic].step * 48
        np.testing.assert_array_equal(as_array(got["semantic/image"]), want["semantic"])
        np.testing.assert_array_equal(as_array(got["depth/image"]), want["depth"])  # NaN and inf included
        np.testing.assert_array_equal(as_array(got["normals/image"]), want["normals"])
        np.testing.assert_array_equal(as_array(got["edges/image"]), image[..., 2])
    assert all(len(rig.received[topic]) == 5 for topic in RAW)


def test_pictures_and_confidence(start_rig):
    topics = ("semantic/confidence", "semantic/color", "normals/color", "overlay/image")
    rig = start_rig(overlay_opacity=1.0)
    rig.activate(*topics)
    image = picture()
    got = exchange(rig, rig.message(image), *topics)
    want = expected(image)
    colours = render.classes(want["semantic"], PALETTE)
    assert [got[topic].encoding for topic in topics] == ["mono8", "rgb8", "rgb8", "rgb8"]
    np.testing.assert_array_equal(as_array(got["semantic/confidence"]), image[..., 0])
    np.testing.assert_array_equal(as_array(got["semantic/color"]), colours)
    np.testing.assert_array_equal(as_array(got["normals/color"]), np.broadcast_to((128, 128, 0), (48, 64, 3)))
    np.testing.assert_array_equal(as_array(got["overlay/image"]), colours)


def test_only_what_somebody_subscribes_to_is_computed(start_rig):
    rig = start_rig()
    rig.activate("depth/image")
    exchange(rig, rig.message(picture()), "depth/image")
    rig.listen("semantic/color")
    rig.connect("depth/image", "semantic/color")
    exchange(rig, rig.message(picture()), "depth/image", "semantic/color")
    assert rig.predictor.asked == [("depth",), ("depth", "semantic")]


def test_nothing_is_computed_for_nobody(start_rig):
    rig = start_rig()
    rig.activate()
    rig.camera.publish(rig.message(picture()))
    rig.until(lambda: rig.count("unwanted") == 1, "the frame is counted as unwanted")
    assert rig.predictor.asked == []
    assert rig.node.diagnose().level == 0


def test_size_and_encoding_may_change_in_the_middle_of_the_stream(start_rig):
    rig = start_rig()
    rig.activate("depth/image")
    for height, width, encoding in ((48, 64, "rgb8"), (30, 50, "bgr8"), (720, 1280, "rgb8"), (48, 64, "rgb8")):
        image = picture(height, width)
        sent = image if encoding == "rgb8" else np.ascontiguousarray(image[..., ::-1])
        got = exchange(rig, rig.message(sent, encoding), "depth/image")
        np.testing.assert_array_equal(as_array(got["depth/image"]), expected(image)["depth"])


def test_depth_that_is_nowhere_known_is_published_as_nan(start_rig):
    rig = start_rig()
    rig.activate("depth/image")
    got = exchange(rig, rig.message(np.zeros((48, 64, 3), np.uint8)), "depth/image")
    assert np.isnan(as_array(got["depth/image"])).all()


def test_camera_info_is_scaled_and_stamped_like_the_outputs(start_rig):
    rig = start_rig(output_scale=0.5)
    rig.listen("camera_info", kind=CameraInfo)
    rig.activate("depth/image")
    rig.connect("camera_info")
    info = CameraInfo(height=48, width=64, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0])
    info.k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    info.p = [60.0, 0.0, 31.5, 0.0, 0.0, 60.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    publisher = rig.tester.create_publisher(CameraInfo, "camera_info", RELIABLE)
    rig.until(publisher.get_subscription_count, "the node subscribes to camera_info")
    publisher.publish(info)
    rig.until(lambda: rig.node.cameras[0].input.camera_info is not None, "camera_info arrives")
    message = rig.message(picture(), stamp=42_000_000_007)
    got = exchange(rig, message, "depth/image", "camera_info")
    out = got["camera_info"]
    assert out.header == message.header == got["depth/image"].header
    assert (out.height, out.width) == (got["depth/image"].height, got["depth/image"].width) == (24, 32)
    np.testing.assert_allclose(out.k, [30, 0, 15.5, 0, 30, 11.5, 0, 0, 1])
    np.testing.assert_allclose(out.p, [30, 0, 15.5, 0, 0, 30, 11.5, 0, 0, 0, 1, 0])
    assert list(out.d) == list(info.d)

    exchange(rig, rig.message(picture(20, 20)), "depth/image")
    rig.until(lambda: rig.count("irregular.camera_info_size") == 1, "the mismatch is counted")
    assert len(rig.received["camera_info"]) == 1, "intrinsics of another size must not go out"


def test_depth_of_a_canonical_camera_gets_the_cameras_intrinsics(start_rig, capfd):
    predictor = FakePredictor()
    predictor.manifest.tasks["depth"].camera = {"focal": 200.0, "limit": 80.0}
    rig = start_rig(predictor)
    rig.activate("depth/image")
    for _ in range(2):
        exchange(rig, rig.message(picture()), "depth/image")
    told = capfd.readouterr().err
    why = "because no camera_info has come on /robot/camera_info; publish camera_info for metres"
    assert told.count(f"depth is that of a camera of 200 pixels focal length, {why}") == 1
    report = rig.node.diagnose()
    assert (report.level, report.message) == (1, "odd frames in the last 5 s: uncalibrated 2")

    publisher = rig.tester.create_publisher(CameraInfo, "camera_info", RELIABLE)
    rig.until(publisher.get_subscription_count, "the node subscribes to camera_info")
    k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    publisher.publish(CameraInfo(height=48, width=64, k=k))
    rig.until(lambda: rig.node.cameras[0].input.camera_info is not None, "camera_info arrives")
    exchange(rig, rig.message(picture()), "depth/image")
    exchange(rig, rig.message(picture(20, 20)), "depth/image")
    assert rig.count("irregular.uncalibrated") == 2, "a frame with its camera's intrinsics is not one"
    assert rig.predictor.cameras == [None, None, k, None]
    assert rig.count("irregular.camera_info_size") == 1
    told = capfd.readouterr().err
    assert told.count("camera_info is of a 64 x 48 image, the image is 20 x 20: not used") == 1
    assert "publish camera_info" not in told

    rig.listen("camera_info", kind=CameraInfo)
    rig.connect("depth/image", "camera_info")
    exchange(rig, rig.message(picture(20, 20)), "depth/image")
    exchange(rig, rig.message(picture()), "depth/image", "camera_info")
    assert rig.count("irregular.camera_info_size") == 2, "counted once a frame, whoever needs it"


def test_a_bundle_without_a_canonical_camera_gets_no_intrinsics(start_rig, capfd):
    rig = start_rig()
    rig.activate("depth/image")
    exchange(rig, rig.message(picture()), "depth/image")
    assert rig.predictor.cameras == [None]
    assert "focal length" not in capfd.readouterr().err


def test_labels_are_latched_before_the_first_mask_and_follow_the_threshold(start_rig):
    rig = start_rig()
    assert rig.transition("configure")
    assert rig.transition("activate")
    latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    rig.listen("semantic/label_info", kind=label_kind(rig, "semantic/label_info"), qos=latched)
    first = rig.until(lambda: rig.received["semantic/label_info"], "labels for a late subscriber")[0]
    assert read_labels(first) == (dict(enumerate(CLASS_NAMES)), 0.0)
    assert rig.set_parameters(confidence_threshold=0.25) == [""]
    rig.until(lambda: len(rig.received["semantic/label_info"]) == 2, "labels with the new threshold")
    assert read_labels(rig.received["semantic/label_info"][1]) == (dict(enumerate(CLASS_NAMES)), 0.25)


def label_kind(rig, topic):
    """The message type that the node publishes labels in here."""
    name = f"{rig.name}/{topic}"
    rig.until(lambda: name in dict(rig.tester.get_topic_names_and_types()), name)
    (kind,) = dict(rig.tester.get_topic_names_and_types())[name]
    return pytest.importorskip("vision_msgs.msg").LabelInfo if "vision_msgs" in kind else String


def read_labels(message):
    if isinstance(message, String):
        content = json.loads(message.data)
        return {entry["class_id"]: entry["class_name"] for entry in content["class_map"]}, content["threshold"]
    return {entry.class_id: entry.class_name for entry in message.class_map}, message.threshold


def test_parameters_change_the_next_frame(start_rig):
    rig = start_rig()
    rig.activate("semantic/image", "depth/image")
    image = picture()
    assert rig.set_parameters(confidence_threshold=0.5, publish__depth=False) == ["", ""]
    got = exchange(rig, rig.message(image), "semantic/image")
    want = np.where(image[..., 0] / np.float32(255) >= 0.5, image[..., 0] // 64, 255)
    np.testing.assert_array_equal(as_array(got["semantic/image"]), want)
    assert rig.predictor.asked == [("semantic",)]
    assert rig.set_parameters(publish__depth=True) == [""]
    exchange(rig, rig.message(image), "semantic/image", "depth/image")
    assert len(rig.received["depth/image"]) == 1


@pytest.mark.parametrize("camera_qos", [RELIABLE, BEST_EFFORT], ids=["reliable", "best_effort"])
def test_auto_hears_a_camera_of_either_reliability(start_rig, camera_qos):
    rig = start_rig(camera_qos=camera_qos)
    rig.activate("depth/image")
    exchange(rig, rig.message(picture()), "depth/image")
    rig.until(lambda: rig.node.cameras[0].input._reliability == camera_qos.reliability, "the offer is followed")


def test_auto_follows_a_camera_that_comes_back_with_another_offer(start_rig):
    rig = start_rig()
    rig.activate("depth/image")
    exchange(rig, rig.message(picture()), "depth/image")
    rig.tester.destroy_publisher(rig.camera)
    rig.camera = rig.tester.create_publisher(type(rig.message(picture())), "image", BEST_EFFORT)
    rig.connect("depth/image")
    exchange(rig, rig.message(picture()), "depth/image")


def test_an_offer_that_cannot_match_is_logged_once_by_name(start_rig, capfd):
    rig = start_rig(camera_qos=BEST_EFFORT, input_reliability="reliable")
    assert rig.transition("configure")
    assert rig.transition("activate")
    rig.until(lambda: rig.node.cameras[0].input._warned, "the node notices")
    for _ in range(3):
        rig.node.cameras[0].input.follow_publishers()
    lines = [line for line in capfd.readouterr().err.splitlines() if "nothing will arrive" in line]
    assert len(lines) == 1
    assert "/robot/tester" in lines[0]
    assert "input_reliability:=auto" in lines[0]


def test_an_unknown_parameter_is_named_with_the_nearest(start_rig, capfd):
    start_rig(max_rat=3.0)
    assert "unknown parameter 'max_rat' is ignored; did you mean 'max_rate'?" in capfd.readouterr().err


def test_only_the_tasks_of_the_bundle_have_topics(start_rig):
    predictor = FakePredictor()
    predictor.manifest.tasks = {"depth": predictor.manifest.tasks["depth"]}
    rig = start_rig(predictor)
    rig.activate("depth/image")
    exchange(rig, rig.message(picture()), "depth/image")
    topics = {p.topic_name.removeprefix(f"{rig.name}/") for p in rig.node.publishers}
    assert topics & {output.topic for output in OUTPUTS} == {"depth/image"}
    assert rig.set_parameters(confidence_threshold=0.5) == [""]
