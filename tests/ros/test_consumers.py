"""What the programs that read the node's topics demand of them, over real DDS.

Each test names the consumer and what it does with the fields, so that a change which breaks it is seen here and not on
somebody's robot.
"""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
import pytest
from camera_rig import RELIABLE, as_array, picture
from densemtl_ros.outputs import OUTPUTS
from exact_time import ExactTime
from fake_predictor import CLASS_NAMES, FakePredictor, expected
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import String

IMAGES = tuple(output.topic for output in OUTPUTS)
ENCODINGS = {output.topic: output.encoding for output in OUTPUTS}
BYTES = {"mono8": 1, "rgb8": 3, "32FC1": 4, "32FC3": 12}
LATCHED = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
EVERY = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)

FOCAL, CENTRE = (60.0, 62.0), (31.25, 22.5)
R = cv2.Rodrigues(np.array([0.01, -0.02, 0.03]))[0]
DISTORTION = [-0.28, 0.07, 0.0012, -0.0008, 0.01]
BASELINE = 0.12
POINTS = np.array([[-0.4, -0.3, 2.0], [0.0, 0.0, 1.0], [0.7, 0.2, 3.0], [0.3, -0.5, 2.5], [-1.0, 0.6, 4.0]])


def camera_info(height: int = 48, width: int = 64) -> CameraInfo:
    """A calibrated right camera of a stereo pair: distorted, with a rectifying rotation and a baseline."""
    (fx, fy), (cx, cy) = FOCAL, CENTRE
    info = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=DISTORTION)
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.r = R.ravel().tolist()
    info.p = [58.0, 0.0, 30.0, -58.0 * BASELINE, 0.0, 58.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def watch(rig, *topics):
    """Listen to images and to the intrinsics, activate, and wait until all are connected."""
    rig.listen("camera_info", kind=CameraInfo, qos=EVERY)
    rig.activate(*topics)
    rig.connect(*topics, "camera_info")
    rig.infos = rig.tester.create_publisher(CameraInfo, "camera_info", RELIABLE)
    rig.until(rig.infos.get_subscription_count, "the node subscribes to camera_info")


def frame(rig, image, *topics, stamp=1_700_000_000_123_456_789):
    """Send intrinsics and one image; the message of each topic, `camera_info` among them.

    The image may overtake the intrinsics, which are another topic: then the next one has them.
    """
    for attempt in range(20):
        message = rig.message(image, stamp=stamp + attempt)
        rig.infos.publish(camera_info(*image.shape[:2]))
        rig.camera.publish(message)

        def of_this_frame(topic, header=message.header):
            return next((m for m in rig.received[topic] if m.header == header), None)

        rig.until(lambda of=of_this_frame: all(map(of, topics)), f"{topics} of one frame")
        # Sent after the images, so it may still be on its way.
        for _ in range(10):
            rig._executor.spin_once(timeout_sec=0.02)
            if of_this_frame("camera_info") is not None:
                return message, {topic: of_this_frame(topic) for topic in (*topics, "camera_info")}
    raise AssertionError("no camera_info with any of 20 frames")


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_depth_image_proc_gets_depth_and_intrinsics_that_pair(start_rig, scale):
    """depth_image_proc point_cloud_xyz: takes 32FC1 or 16UC1 and drops the rest; pairs with camera_info by stamp.

    It trusts that the intrinsics are those of this very image: nothing in it compares the sizes.
    """
    rig = start_rig(output_scale=scale)
    watch(rig, "depth/image")
    image = picture()
    sent, got = frame(rig, image, "depth/image")
    depth, info = got["depth/image"], got["camera_info"]
    assert depth.encoding == "32FC1"
    assert depth.is_bigendian == (sys.byteorder == "big")
    assert (depth.height, depth.width) == (info.height, info.width) == (48 * scale, 64 * scale)
    assert depth.step == 4 * depth.width
    assert len(depth.data) == depth.step * depth.height
    assert info.header == depth.header == sent.header
    # image_geometry refuses or crops an image for which these are set.
    assert (info.binning_x, info.binning_y) == (0, 0)
    assert (info.roi.width, info.roi.height, info.roi.x_offset, info.roi.y_offset) == (0, 0, 0, 0)
    assert not info.roi.do_rectify


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_depth_image_proc_puts_points_on_the_same_rays_at_any_output_scale(start_rig, scale):
    """depth_image_proc reads fx, fy, cx, cy from P (image_geometry), so P must scale like the image, baseline kept."""
    rig = start_rig(output_scale=scale)
    watch(rig, "depth/image")
    _, got = frame(rig, picture(), "depth/image")
    original, P = np.reshape(camera_info().p, (3, 4)), np.reshape(got["camera_info"].p, (3, 4))
    height, width = got["depth/image"].height, got["depth/image"].width
    for u, v in ((0, 0), (width - 1, height - 1), (width // 2, height // 3)):
        # A pixel of the output covers a square of the camera's: the ray through its middle must stay.
        middle = (np.array([u, v]) + 0.5) / scale - 0.5
        ray = (np.array([u, v]) - P[[0, 1], 2]) / P[[0, 1], [0, 1]]
        np.testing.assert_allclose(ray, (middle - original[[0, 1], 2]) / original[[0, 1], [0, 1]], rtol=1e-9)
    assert -P[0, 3] / P[0, 0] == pytest.approx(BASELINE)
    assert P[2].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_image_proc_undistorts_the_scaled_outputs_as_the_camera_image(start_rig, scale):
    """image_proc rectify: K and D describe the distorted picture, R rectifies; D and R do not depend on the size."""
    rig = start_rig(output_scale=scale)
    watch(rig, "semantic/color")
    _, got = frame(rig, picture(), "semantic/color")
    info = got["camera_info"]
    assert info.distortion_model == "plumb_bob"

    def projected(k, d):
        return cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), np.reshape(k, (3, 3)), np.array(d))[0][:, 0]

    there = projected(camera_info().k, DISTORTION)
    np.testing.assert_allclose(projected(info.k, info.d) + 0.5, (there + 0.5) * scale, atol=1e-6)
    np.testing.assert_array_equal(np.reshape(info.r, (3, 3)), R)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_depth_image_proc_xyzrgb_and_rtabmap_get_colour_of_the_depths_size_and_frame(start_rig, scale):
    """point_cloud_xyzrgb drops a colour image of another size; rtabmap wants one frame for all three."""
    rig = start_rig(output_scale=scale)
    topics = ("depth/image", "overlay/image", "semantic/color")
    watch(rig, *topics)
    _, got = frame(rig, picture(), *topics)
    assert len({(got[topic].height, got[topic].width) for topic in (*topics, "camera_info")}) == 1
    assert {got[topic].header.frame_id for topic in (*topics, "camera_info")} == {"camera_optical"}
    assert {got[topic].encoding for topic in topics[1:]} == {"rgb8"}


def labels_of(message):
    if isinstance(message, String):
        return {entry["class_id"]: entry["class_name"] for entry in json.loads(message.data)["class_map"]}
    return {entry.class_id: entry.class_name for entry in message.class_map}


def label_kind(rig):
    name = f"{rig.name}/semantic/label_info"
    rig.until(lambda: name in dict(rig.tester.get_topic_names_and_types()), name)
    kinds = dict(rig.tester.get_topic_names_and_types())[name]
    return String if kinds == ["std_msgs/msg/String"] else pytest.importorskip("vision_msgs.msg").LabelInfo


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_nav2_semantic_segmentation_layer_reads_mask_and_confidence_by_index(start_rig, threshold):
    """Nav2 semantic_segmentation_layer: best effort, depth 50; reads data[v * width + u] of both, whatever step says.

    It takes the confidence as 0 to 255, pairs by exact stamp, and skips ids that have no name.
    """
    rig = start_rig(confidence_threshold=threshold)
    sensor_data = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
    topics = ("semantic/image", "semantic/confidence")
    rig.listen(*topics, qos=sensor_data)
    assert rig.transition("configure")
    rig.listen("semantic/label_info", kind=label_kind(rig), qos=LATCHED)
    assert rig.transition("activate")
    rig.connect(*topics)
    image = picture(48, 65)  # an odd width: padding would show
    sent = rig.message(image)
    rig.camera.publish(sent)
    rig.until(lambda: all(rig.received[topic] for topic in topics), "mask and confidence")
    mask, confidence = (rig.received[topic][0] for topic in topics)
    for message in (mask, confidence):
        assert message.header == sent.header
        assert message.encoding == "mono8"
        assert message.step == message.width == 65
        assert len(message.data) == 48 * 65
    for v, u in ((0, 0), (17, 3), (47, 64)):
        red = int(image[v, u, 0])
        assert confidence.data[v * mask.width + u] == red
        assert mask.data[v * mask.width + u] == (red // 64 if red / 255 >= threshold else 255)
    names = labels_of(rig.until(lambda: rig.received["semantic/label_info"], "labels")[0])
    assert set(np.unique(as_array(mask)).tolist()) - {255} <= set(names)
    assert (255 in as_array(mask)) is (threshold > 0)


def test_nav2_layer_that_starts_late_gets_the_names_without_any_frame(start_rig):
    """Nav2 semantic_segmentation_layer is configured in class names, so they must be there before the first mask.

    Also for a layer that starts late, beside the mask (vision_msgs: the same namespace level), and the same ones after
    the node was deactivated and activated.
    """
    rig = start_rig()
    assert rig.transition("configure")
    assert rig.transition("activate")
    kind = label_kind(rig)
    rig.listen("semantic/label_info", kind=kind, qos=LATCHED)
    first = rig.until(lambda: rig.received["semantic/label_info"], "labels for a late subscriber")[0]
    assert labels_of(first) == dict(enumerate(CLASS_NAMES))
    topics = dict(rig.tester.get_topic_names_and_types())
    assert f"{rig.name}/semantic/image" in topics
    (offer,) = rig.tester.get_publishers_info_by_topic(f"{rig.name}/semantic/label_info")
    assert offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert offer.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL

    assert rig.transition("deactivate")
    assert rig.transition("activate")
    again = rig.until(lambda: rig.received["semantic/label_info"][1:], "labels after another activation")[0]
    assert labels_of(again) == labels_of(first)
    rig.received.clear()
    rig.tester.create_subscription(
        kind, f"{rig.name}/semantic/label_info", lambda message: rig.received["later"].append(message), LATCHED
    )
    latest = rig.until(lambda: rig.received["later"], "labels for an even later subscriber")[0]
    assert labels_of(latest) == labels_of(first)


def test_nvblox_gets_mask_and_colour_of_one_stamp_with_the_masks_own_intrinsics(start_rig):
    """nvblox: mono8 mask with its camera_info, paired with the colour image by exact stamp.

    It looks transforms up at that stamp too: a mask stamped when it was ready would pair with nothing.
    """
    rig = start_rig(output_scale=0.5)
    watch(rig, "semantic/image", "depth/image")
    long_ago = 5_000_000_003
    sent, got = frame(rig, picture(), "semantic/image", "depth/image", stamp=long_ago)
    mask, info = got["semantic/image"], got["camera_info"]
    assert mask.encoding == "mono8"
    assert mask.header.stamp == sent.header.stamp == info.header.stamp == got["depth/image"].header.stamp
    assert mask.header.stamp.sec == 5
    assert (info.height, info.width) == (mask.height, mask.width) == (24, 32)


def test_message_filters_pairs_all_outputs_of_every_frame_by_exact_time(start_rig):
    """message_filters ExactTime: one stamp off by a nanosecond, or one output missing, and a set is never complete."""
    topics = (*IMAGES, "camera_info")
    rig = start_rig()
    watch(rig, *IMAGES)
    pairs = ExactTime(*topics)
    sent = []
    for number in range(6):
        message, got = frame(rig, picture(seed=number), *IMAGES, stamp=1_700_000_000_999_999_000 + 100 * number)
        sent.append(message.header)
        for topic in topics:
            pairs.add(topic, got[topic])
    assert [complete["depth/image"].header for complete in pairs.sets] == sent
    assert pairs.waiting == pairs.given_up == []
    for complete in pairs.sets:
        assert len({(message.height, message.width) for message in complete.values()}) == 1


def test_message_filters_finds_no_incomplete_set_when_frames_are_overtaken(start_rig):
    """A camera that is faster than the network: frames are left out as a whole, never one of their outputs."""
    rig = start_rig(FakePredictor(delay=0.05))
    rig.listen(*IMAGES, qos=EVERY)
    assert rig.transition("configure")
    assert rig.transition("activate")
    rig.connect(*IMAGES)
    image = picture()
    for number in range(12):
        rig.camera.publish(rig.message(image, stamp=1_000_000_000 + number))
        rig._executor.spin_once(timeout_sec=0.01)
    rig.until(lambda: rig.count("processed") + rig.count("dropped") == rig.count("received") > 2, "all are dealt with")
    processed = rig.count("processed")
    rig.until(lambda: all(len(rig.received[t]) >= processed for t in IMAGES), "every output of every processed frame")
    pairs = ExactTime(*IMAGES, queue_size=20)
    for topic in IMAGES:
        for message in rig.received[topic]:
            pairs.add(topic, message)
    assert len(pairs.sets) == processed
    assert pairs.waiting == pairs.given_up == []
    stamps = [complete["depth/image"].header.stamp.nanosec for complete in pairs.sets]
    assert stamps == sorted(set(stamps)), "an old result was sent again, or frames changed places"


@pytest.mark.parametrize("topic", IMAGES)
def test_rviz_image_transport_and_cv_bridge_can_read_every_image(start_rig, topic):
    """rviz, rqt, Foxglove, image_transport's plugins: known encoding, native byte order, rows without padding."""
    rig = start_rig()
    rig.activate(topic)
    rig.camera.publish(rig.message(picture(48, 63)))
    (message,) = rig.until(lambda: rig.received[topic], topic)
    assert message.encoding == ENCODINGS[topic]
    assert message.is_bigendian == (sys.byteorder == "big" and message.encoding.startswith("32F"))
    assert (message.height, message.width) == (48, 63)
    assert message.step == 63 * BYTES[message.encoding]
    assert len(message.data) == 48 * message.step


def test_rviz_and_sensor_data_subscribers_both_match_every_image(start_rig):
    """Reliable is what rviz and rosbag2 ask for, best effort Nav2 and Foxglove: a reliable offer serves both."""
    rig = start_rig()
    rig.listen(*IMAGES)
    rig.listen(*IMAGES, qos=qos_profile_sensor_data)
    rig.activate(*IMAGES)
    for topic in IMAGES:
        (offer,) = rig.tester.get_publishers_info_by_topic(f"{rig.name}/{topic}")
        assert offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        rig.until(lambda t=topic: len(listeners(rig, t)) == 3, f"three listeners of {topic}")
    rig.received.clear()
    rig.camera.publish(rig.message(picture()))
    rig.until(lambda: all(len(rig.received[topic]) == 3 for topic in IMAGES), "each listener gets each image")


def listeners(rig, topic):
    return rig.tester.get_subscriptions_info_by_topic(f"{rig.name}/{topic}")


def test_frames_units_and_invalid_values_follow_the_reps(start_rig):
    """REP 105: the camera's frame, unchanged. REP 117 and 118: metres, NaN = unknown, +Inf = beyond range.

    REP 103: normals in the optical frame (z forward), so what faces the camera has a negative z.
    """
    rig = start_rig()
    rig.activate("depth/image", "normals/image")
    image = picture()
    image[0, 0, 1], image[0, 1, 1], image[0, 2, 1] = 0, 255, 40
    sent = rig.message(image)
    sent.header.frame_id = "robot/front_camera_optical_frame"
    rig.camera.publish(sent)
    rig.until(lambda: rig.received["depth/image"] and rig.received["normals/image"], "depth and normals")
    depth, normals = rig.received["depth/image"][0], rig.received["normals/image"][0]
    assert depth.header == normals.header == sent.header
    metres = as_array(depth)
    assert np.isnan(metres[0, 0])
    assert np.isposinf(metres[0, 1])
    assert metres[0, 2] == pytest.approx(5.0)
    np.testing.assert_array_equal(metres, expected(image)["depth"])
    vectors = as_array(normals)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1.0, atol=1e-6)
    assert (vectors[..., 2] < 0).all()


def test_without_calibration_no_points_come_and_it_is_said_once(start_rig, capfd):
    """A cloud of a guessed lens would put obstacles where there are none."""
    rig = start_rig(publish__points=True)
    rig.listen("points", kind=PointCloud2)
    rig.activate("depth/image")
    rig.connect("points")
    for number in (1, 2):
        rig.camera.publish(rig.message(picture()))
        rig.until(lambda n=number: len(rig.received["depth/image"]) == n, "depth")
    assert not rig.received["points"]
    told = "points need a calibrated camera_info of the image's size, and no camera_info has come on /robot/camera_info"
    assert capfd.readouterr().err.count(told) == 1


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_nav2_layer_gets_a_cloud_in_the_masks_order(start_rig, scale):
    """Nav2 semantic_segmentation_layer walks through cloud and mask with one counter, so order and size must agree.

    It tests only z for being finite. rviz, PCL and Foxglove read the fields by name, offset and type.
    """
    rig = start_rig(output_scale=scale, publish__points=True)
    rig.listen("points", kind=PointCloud2)
    watch(rig, "semantic/image", "semantic/confidence", "depth/image")
    rig.connect("points")
    _, got = frame(rig, picture(), "points", "semantic/image", "semantic/confidence", "depth/image")
    cloud, mask, info = got["points"], got["semantic/image"], got["camera_info"]
    assert cloud.header == mask.header
    assert (cloud.height, cloud.width) == (mask.height, mask.width)
    assert len(cloud.data) == cloud.row_step * cloud.height
    assert cloud.row_step == cloud.point_step * cloud.width
    assert not cloud.is_bigendian
    assert not cloud.is_dense
    formats = {2: "u1", 7: "<f4"}
    layout = np.dtype(
        {
            "names": [field.name for field in cloud.fields],
            "offsets": [field.offset for field in cloud.fields],
            "formats": [formats[field.datatype] for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    points = np.frombuffer(cloud.data, layout).reshape(cloud.height, cloud.width)
    assert layout["x"] == layout["y"] == layout["z"] == layout["rgb"] == np.float32
    np.testing.assert_array_equal(points["class_id"], as_array(mask))
    np.testing.assert_array_equal(points["confidence"], as_array(got["semantic/confidence"]))
    depth = as_array(got["depth/image"])
    z = np.where(np.isfinite(depth), depth, np.nan)
    np.testing.assert_array_equal(points["z"], z)
    K = np.reshape(info.k, (3, 3))
    rows, columns = np.mgrid[: cloud.height, : cloud.width]
    np.testing.assert_allclose(points["x"], (columns - K[0, 2]) / K[0, 0] * z, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(points["y"], (rows - K[1, 2]) / K[1, 1] * z, rtol=1e-5, atol=1e-5)
