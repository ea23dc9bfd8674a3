"""The point cloud: each point lies where its pixel's depth says, in the bytes where consumers look for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from densemtl_ros.point_cloud import FIELDS, POINT_STEP, as_message, pack_points, pixel_rays

K = [50.0, 0.0, 15.25, 0.0, 60.0, 10.5, 0.0, 0.0, 1.0]
SKEWED = [50.0, 3.0, 15.25, 0.0, 60.0, 10.5, 0.0, 0.0, 1.0]
HEIGHT, WIDTH = 24, 32
NUMPY = {2: "u1", 7: "<f4"}  # datatypes of sensor_msgs/PointField


def frame(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "depth": random.uniform(0.5, 80.0, (height, width)).astype(np.float32),
        "rgb": random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "mask": random.integers(0, 19, (height, width), dtype=np.uint8),
        "confidence": random.integers(0, 256, (height, width), dtype=np.uint8),
    }


def read(data: bytes, fields: list[tuple[str, int, int]], step: int, shape: tuple[int, int]) -> np.ndarray:
    """Read a cloud as a consumer does: by the names, offsets and types that it declares."""
    layout = np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "offsets": [offset for _, offset, _ in fields],
            "formats": [NUMPY[kind] for _, _, kind in fields],
            "itemsize": step,
        }
    )
    return np.frombuffer(data, layout).reshape(shape)


def points(words: np.ndarray) -> np.ndarray:
    return read(words.tobytes(), list(FIELDS), POINT_STEP, words.shape[:2])


def xyz(cloud: np.ndarray) -> np.ndarray:
    return np.stack([cloud[name] for name in "xyz"], axis=-1)


def unprojected(depth: np.ndarray, k: list[float]) -> np.ndarray:
    """``(H, W, 3)`` points by inverting the whole matrix in double precision."""
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(np.float64)
    return pixels @ np.linalg.inv(np.reshape(k, (3, 3))).T * depth[..., None].astype(np.float64)


@pytest.mark.parametrize("k", [K, SKEWED], ids=["plain", "skew"])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_points_lie_where_the_whole_matrix_puts_them(k, stride):
    given = frame()
    cloud = points(pack_points(k=k, stride=stride, **given))
    want = unprojected(given["depth"], k)[::stride, ::stride]
    np.testing.assert_allclose(xyz(cloud), want, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(cloud["z"], given["depth"][::stride, ::stride])


def test_points_project_back_to_their_pixels():
    given = frame()
    cloud = xyz(points(pack_points(k=K, **given))).astype(np.float64)
    pixels, _ = cv2.projectPoints(cloud.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), np.reshape(K, (3, 3)), None)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    np.testing.assert_allclose(pixels.reshape(HEIGHT, WIDTH, 2), np.stack([columns, rows], axis=-1), atol=1e-4)


def test_the_frame_is_optical():
    """REP 103: x to the right, y down, z forward."""
    given = frame() | {"depth": np.full((HEIGHT, WIDTH), 4.0, np.float32)}
    cloud = points(pack_points(k=K, **given))
    assert (np.diff(cloud["x"], axis=1) > 0).all()
    assert (np.diff(cloud["y"], axis=0) > 0).all()
    assert (cloud["z"] == 4.0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_a_pixel_without_a_surface_has_no_point_and_keeps_its_place(bad):
    """A consumer may test one coordinate only, so all three are NaN; x at the principal point too."""
    given = frame()
    k = [50.0, 0.0, 7.0, 0.0, 60.0, 5.0, 0.0, 0.0, 1.0]
    given["depth"][5, 7] = given["depth"][0, 0] = bad
    cloud = points(pack_points(k=k, **given))
    gone = np.zeros((HEIGHT, WIDTH), bool)
    gone[5, 7] = gone[0, 0] = True
    for name in "xyz":
        np.testing.assert_array_equal(np.isnan(cloud[name]), gone)
    assert cloud["class_id"][5, 7] == given["mask"][5, 7]


@pytest.mark.parametrize("stride", [1, 3])
def test_colour_class_and_confidence_are_the_pixels(stride):
    given = frame()
    cloud = points(pack_points(k=K, stride=stride, **given))
    np.testing.assert_array_equal(cloud["class_id"], given["mask"][::stride, ::stride])
    np.testing.assert_array_equal(cloud["confidence"], given["confidence"][::stride, ::stride])
    packed = np.ascontiguousarray(cloud["rgb"]).view("<u4")
    channels = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)
    np.testing.assert_array_equal(channels, given["rgb"][::stride, ::stride])
    assert not (packed >> 24).any()
    # Else a reader that leaves out points with a NaN would leave out the red ones.
    assert not np.isnan(cloud["rgb"]).any()


def test_camera_image_of_another_size_is_scaled():
    given = frame()
    flat = np.full((HEIGHT, WIDTH, 3), (10, 120, 240), np.uint8)
    large = cv2.resize(flat, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_NEAREST)
    small = pack_points(k=K, **(given | {"rgb": flat}))
    np.testing.assert_array_equal(pack_points(k=K, **(given | {"rgb": large})), small)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 7)])
@pytest.mark.parametrize("stride", [1, 2, 10])
def test_any_size_and_any_memory_layout(size, stride):
    large = frame(2 * size[0], 3 * size[1])
    views = {name: array[::2, ::3] for name, array in large.items()}
    assert views["depth"].shape == size
    copies = {name: np.ascontiguousarray(array) for name, array in views.items()}
    cloud = pack_points(k=SKEWED, stride=stride, **views)
    np.testing.assert_array_equal(cloud, pack_points(k=SKEWED, stride=stride, **copies))
    want = unprojected(copies["depth"], SKEWED)[::stride, ::stride]
    np.testing.assert_allclose(xyz(points(cloud)), want, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(points(cloud)["class_id"], copies["mask"][::stride, ::stride])


def test_fields_are_aligned_and_fit_the_step():
    sizes = {2: 1, 7: 4}
    taken: set[int] = set()
    for name, offset, kind in FIELDS:
        assert offset % sizes[kind] == 0, name
        mine = set(range(offset, offset + sizes[kind]))
        assert not taken & mine, name
        taken |= mine
    assert max(taken) < POINT_STEP
    assert POINT_STEP % 4 == 0, "the next point's floats would not be aligned"


def test_rays_are_computed_once_a_camera():
    first = pixel_rays(K, (HEIGHT, WIDTH))
    assert pixel_rays(tuple(K), (HEIGHT, WIDTH))[0] is first[0]
    assert pixel_rays(K, (HEIGHT, WIDTH + 1))[0] is not first[0]
    assert pixel_rays(SKEWED, (HEIGHT, WIDTH))[0] is not first[0]
    with pytest.raises(ValueError, match="read-only"):
        first[0][0, 0] = 1.0


def test_input_is_left_alone():
    given = frame()
    before = {name: array.copy() for name, array in given.items()}
    pack_points(k=K, **given)
    for name, array in given.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"k": []}, "0 numbers instead of 9; points need the camera's intrinsics"),
        ({"k": [0.0] * 9}, "fx = 0, fy = 0 of an uncalibrated camera; publish a calibrated camera_info"),
        ({"k": [float("nan"), *K[1:]]}, "fx = nan"),
        ({"k": [*K[:4], -60.0, *K[5:]]}, "fy = -60"),
        ({"stride": 0}, "stride: 0 is less than 1"),
        ({"mask": np.zeros((2, 2), np.uint8)}, r"mask: shape \(2, 2\) is not the depth's, \(24, 32\)"),
        ({"confidence": np.zeros((2, 2), np.uint8)}, r"confidence: shape \(2, 2\)"),
    ],
)
def test_what_cannot_be_a_cloud_is_refused(change, text):
    with pytest.raises(ValueError, match=text):
        pack_points(**({"k": K} | frame() | change))


@pytest.mark.parametrize("with_confidence", [True, False])
@pytest.mark.parametrize("stride", [1, 3])
def test_the_message_tells_how_to_read_it(with_confidence, stride):
    pytest.importorskip("sensor_msgs.msg")
    from std_msgs.msg import Header

    given = frame()
    if not with_confidence:
        del given["confidence"]
    given["depth"][3, 3] = np.nan
    header = Header(frame_id="camera_optical")
    header.stamp.sec = 7
    message = as_message(header, pack_points(k=K, stride=stride, **given), FIELDS if with_confidence else FIELDS[:-1])
    assert message.header == header
    assert (message.height, message.width) == given["mask"][::stride, ::stride].shape
    assert message.point_step == POINT_STEP
    assert message.row_step == POINT_STEP * message.width
    assert len(message.data) == message.row_step * message.height
    assert not message.is_bigendian
    assert not message.is_dense
    assert [field.count for field in message.fields] == [1] * (5 + with_confidence)
    fields = [(field.name, field.offset, field.datatype) for field in message.fields]
    cloud = read(bytes(message.data), fields, message.point_step, (message.height, message.width))
    sent = points(pack_points(k=K, stride=stride, **given))
    for name, _, _ in fields:
        np.testing.assert_array_equal(cloud[name], sent[name])
    assert ("confidence" in cloud.dtype.names) is with_confidence


def test_the_datatypes_are_those_of_sensor_msgs():
    PointField = pytest.importorskip("sensor_msgs.msg").PointField
    kinds = {name: kind for name, _, kind in FIELDS}
    assert {kinds[name] for name in ("x", "y", "z", "rgb")} == {PointField.FLOAT32}
    assert {kinds[name] for name in ("class_id", "confidence")} == {PointField.UINT8}


def test_sensor_msgs_py_reads_the_points():
    reader = pytest.importorskip("sensor_msgs_py.point_cloud2")
    from std_msgs.msg import Header

    given = frame()
    given["depth"][0, :5] = np.nan
    message = as_message(Header(), pack_points(k=K, **given))
    cloud = reader.read_points(message, field_names=("x", "y", "z", "rgb", "class_id"), skip_nans=True)
    kept = np.isfinite(given["depth"])
    assert len(cloud) == kept.sum()
    np.testing.assert_array_equal(cloud["class_id"], given["mask"][kept])
