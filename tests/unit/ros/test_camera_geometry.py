"""The republished camera_info projects a point to where the output image shows it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
from densemtl_ros.camera_geometry import image_intrinsics, scale_camera_info
from hypothesis import given, settings
from hypothesis import strategies as st


@dataclass
class Region:
    x_offset: int = 0
    y_offset: int = 0
    height: int = 0
    width: int = 0
    do_rectify: bool = False


@dataclass
class Info:
    height: int = 480
    width: int = 640
    k: list = field(default_factory=lambda: [500.0, 0.0, 321.5, 0.0, 510.0, 238.25, 0.0, 0.0, 1.0])
    d: list = field(default_factory=lambda: [0.1, -0.2, 0.0, 0.0, 0.0])
    r: list = field(default_factory=lambda: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    p: list = field(default_factory=lambda: [490.0, 0.0, 320.0, -49.0, 0.0, 505.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    binning_x: int = 0
    binning_y: int = 0
    roi: Region = field(default_factory=Region)


K = Info().k
POINT = np.array([0.4, -0.3, 2.5, 1.0])


def project(matrix: list) -> np.ndarray:
    m = np.reshape(matrix, (3, -1))
    x = m @ POINT[: m.shape[1]]
    return x[:2] / x[2]


def edges(pixel: np.ndarray) -> np.ndarray:
    """From pixel centres at whole numbers to distances from the image's corner, which scale."""
    return pixel + 0.5


@pytest.mark.parametrize("output", [(480, 640), (240, 320), (120, 160), (121, 333)])
@pytest.mark.parametrize("name", ["k", "p"])
def test_a_point_stays_at_the_same_place_of_the_image(output, name):
    info = Info()
    out = scale_camera_info(info, (480, 640), output)
    scale = np.array([output[1] / 640, output[0] / 480])
    np.testing.assert_allclose(edges(project(getattr(out, name))), edges(project(getattr(info, name))) * scale)
    assert (out.height, out.width) == output
    assert (out.d, out.r) == (info.d, info.r)


def test_full_size_keeps_the_intrinsics():
    out = scale_camera_info(Info(), (480, 640), (480, 640))
    np.testing.assert_allclose(out.k, Info().k)
    np.testing.assert_allclose(out.p, Info().p)


def test_region_of_interest_and_binning_are_applied_and_gone():
    info = Info(binning_x=2, binning_y=2, roi=Region(x_offset=100, y_offset=40, width=400, height=200))
    out = scale_camera_info(info, (100, 200), (50, 100))
    want = (edges(project(info.k)) - (100, 40)) / 2 / 2
    np.testing.assert_allclose(edges(project(out.k)), want)
    assert (out.binning_x, out.binning_y, out.roi) == (0, 0, Region())


def test_the_input_is_left_alone():
    info = Info()
    before = copy.deepcopy(info)
    scale_camera_info(info, (480, 640), (240, 320))
    assert info == before


def test_uncalibrated_stays_all_zero():
    out = scale_camera_info(Info(k=[0.0] * 9, p=[0.0] * 12), (480, 640), (240, 320))
    assert out.k == [0.0] * 9
    assert out.p == [0.0] * 12


def test_another_size_than_the_image_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"camera_info is of a 640 x 480 image, the image is 320 x 240"):
        scale_camera_info(Info(), (240, 320), (240, 320))


def test_intrinsics_of_an_image_are_its_camera_infos():
    assert image_intrinsics(Info(), (480, 640)) == Info().k


def test_intrinsics_of_a_binned_region_are_those_of_its_pixels():
    info = Info(binning_x=2, binning_y=2, roi=Region(x_offset=100, y_offset=40, width=400, height=200))
    want = (edges(project(info.k)) - (100, 40)) / 2
    np.testing.assert_allclose(edges(project(image_intrinsics(info, (100, 200)))), want)
    assert image_intrinsics(info, (100, 200))[0] == 250


@pytest.mark.parametrize("focal", [0.0, -500.0, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 4])
def test_intrinsics_that_nobody_calibrated_are_unknown(place, focal):
    assert image_intrinsics(Info(k=[focal if i == place else x for i, x in enumerate(K)]), (480, 640)) is None


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_intrinsics_that_are_not_finite_are_unknown(place, value):
    assert image_intrinsics(Info(k=[value if i == place else x for i, x in enumerate(K)]), (480, 640)) is None


def test_no_calibration_at_all_is_unknown():
    assert image_intrinsics(Info(k=[0.0] * 9, p=[0.0] * 12), (480, 640)) is None


@pytest.mark.parametrize("focal", [1e-9, 0.8, 5e6, -1e9])
@pytest.mark.parametrize("place", [0, 4])
def test_focal_lengths_that_are_not_in_pixels_are_refused(focal, place):
    k = [focal if i == place else x for i, x in enumerate(K)]
    with pytest.raises(ValueError, match=r"focal lengths of .* cannot have; they are in pixels: not used"):
        image_intrinsics(Info(k=k), (480, 640))


def test_intrinsics_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"camera_info is of a 640 x 480 image, the image is 320 x 240: not used"):
        image_intrinsics(Info(), (240, 320))


REGION = {"width": 320, "height": 240}
MALFORMED = {
    "size zero": {"width": 0, "height": 0},
    "width and height swapped": {"width": 480, "height": 640},
    "as large as it goes": {"width": 2**32 - 1, "height": 2**32 - 1},
    "binning of another size": {"binning_x": 2, "binning_y": 2},
    "binning as large as it goes": {"binning_x": 2**32 - 1, "binning_y": 2**32 - 1},
    "binning one way": {"binning_x": 2},
    "region of another size": {"roi": Region(**REGION)},
    "region of one pixel": {"roi": Region(width=1, height=1)},
    "region beyond the right": {"width": 700, "roi": Region(x_offset=61, width=640, height=480)},
    "region beyond the bottom": {"height": 500, "roi": Region(y_offset=21, width=640, height=480)},
    "region larger than the sensor": {"width": 600, "roi": Region(width=640, height=480)},
    "region far away": {"roi": Region(x_offset=2**32 - 1, y_offset=2**32 - 1, width=640, height=480)},
    "k of eight numbers": {"k": K[:8]},
    "k of none": {"k": []},
    "p of nine numbers": {"p": K},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_camera_info_that_is_not_of_the_image_is_refused_in_one_line(case):
    info = Info(**MALFORMED[case])
    for refuse in (lambda: scale_camera_info(info, (480, 640), (240, 320)), lambda: image_intrinsics(info, (480, 640))):
        with pytest.raises(ValueError, match=r"camera_info.*: not used") as caught:
            refuse()
        assert str(caught.value).isprintable()


def test_region_that_touches_the_edges_is_inside():
    info = Info(width=700, height=500, roi=Region(x_offset=60, y_offset=20, width=640, height=480))
    assert image_intrinsics(info, (480, 640))[2] == K[2] - 60


uints = st.one_of(st.integers(0, 8), st.integers(470, 650), st.just(2**32 - 1))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    height=uints,
    width=uints,
    k=st.lists(st.floats(), min_size=9, max_size=9),
    p=st.lists(st.floats(), min_size=12, max_size=12),
    binning=st.tuples(uints, uints),
    region=st.tuples(uints, uints, uints, uints),
    matching=st.booleans(),
)
def test_any_camera_info_is_refused_or_gives_a_camera_that_can_be_used(height, width, k, p, binning, region, matching):
    info = Info(height, width, k, p=p, binning_x=binning[0], binning_y=binning[1], roi=Region(*region))
    if matching:
        info = Info(k=k, p=p)
    try:
        used = image_intrinsics(info, (480, 640))
        out = scale_camera_info(info, (480, 640), (240, 320))
    except ValueError:
        assert not matching or not 0.02 * 640 <= abs(k[0]) <= 200 * 640 or not 0.02 * 480 <= abs(k[4]) <= 200 * 480
        return
    assert used is None or (np.isfinite(used).all() and used[0] > 0 and used[4] > 0)
    assert (out.height, out.width, len(out.k), len(out.p)) == (240, 320, 9, 12)
