"""The arrays that go out for a prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from densemtl_ros.image_codec import ENCODINGS
from densemtl_ros.outputs import OUTPUTS, FrameResult, output_size

PALETTE = ((255, 0, 0), (0, 255, 0))
BY_TOPIC = {output.topic: output for output in OUTPUTS}


def result(**fields) -> FrameResult:
    prediction = {
        "semantic": np.array([[0, 1], [1, 0]], np.uint8),
        "semantic_confidence": np.array([[0.1, 0.5], [0.9, np.nan]], np.float32),
        "depth": np.array([[1.5, np.nan], [np.inf, 2.0]], np.float32),
        "normals": np.array([[[0, 0, -1], [np.nan] * 3], [[1, 0, 0], [0, -1, 0]]], np.float32),
        "edges": np.array([[0.0, 1.0], [0.5, np.nan]], np.float32),
    }
    image = np.full((2, 2, 3), 100, np.uint8)
    return FrameResult(**({"image": image, "prediction": prediction, "palette": PALETTE} | fields))


def make(topic: str, **fields) -> np.ndarray:
    return BY_TOPIC[topic].make(result(**fields))


SHAPES = {"mono8": ("u1", (2, 2)), "rgb8": ("u1", (2, 2, 3)), "32FC1": ("f4", (2, 2)), "32FC3": ("f4", (2, 2, 3))}


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.topic)
def test_dtype_and_shape_are_those_of_the_encoding(output):
    array = output.make(result())
    dtype, shape = SHAPES[output.encoding]
    assert (array.dtype, array.shape) == (np.dtype(dtype), shape)


def test_unsure_pixels_are_unlabelled_and_the_prediction_is_left_alone():
    frame = result(confidence_threshold=0.5)
    np.testing.assert_array_equal(frame.mask, [[255, 1], [1, 255]])
    np.testing.assert_array_equal(frame.prediction["semantic"], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(make("semantic/image"), [[0, 1], [1, 0]])


def test_probabilities_are_rounded_and_nan_is_zero():
    np.testing.assert_array_equal(make("semantic/confidence"), [[26, 128], [230, 0]])
    np.testing.assert_array_equal(make("edges/image"), [[0, 255], [128, 0]])


def test_depth_and_normals_keep_nan_and_inf():
    np.testing.assert_array_equal(make("depth/image"), result().prediction["depth"])
    np.testing.assert_array_equal(make("normals/image"), result().prediction["normals"])


def test_normal_colours_follow_the_usual_map():
    np.testing.assert_array_equal(make("normals/color"), [[[128, 128, 0], [0, 0, 0]], [[255, 128, 128], [128, 0, 128]]])


def test_class_colours_are_black_where_unlabelled():
    colours = make("semantic/color", confidence_threshold=0.5)
    np.testing.assert_array_equal(colours, [[[0, 0, 0], [0, 255, 0]], [[0, 255, 0], [0, 0, 0]]])


def test_overlay_blends_with_its_opacity_and_leaves_unlabelled_pixels():
    overlay = make("overlay/image", confidence_threshold=0.5, overlay_opacity=1.0)
    np.testing.assert_array_equal(overlay, [[[100] * 3, [0, 255, 0]], [[0, 255, 0], [100] * 3]])
    half = make("overlay/image", overlay_opacity=0.5)
    np.testing.assert_array_equal(half[0, 0], [178, 50, 50])


def test_overlay_takes_an_image_of_another_size():
    assert make("overlay/image", image=np.full((8, 8, 3), 100, np.uint8)).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("size", "scale", "want"),
    [((480, 640), 1.0, (480, 640)), ((480, 640), 0.25, (120, 160)), ((481, 3), 0.5, (240, 2)), ((1, 1), 0.25, (1, 1))],
)
def test_output_size(size, scale, want):
    assert output_size(size, scale) == want


def test_documentation_lists_every_topic_with_its_encoding():
    page = (Path(__file__).parents[3] / "docs" / "ros_node.md").read_text()
    for output in OUTPUTS:
        assert f"| `~/{output.topic}` | Image {output.encoding} |" in page
    for name in ENCODINGS:
        assert name in page.replace("bayer_{rggb,bggr,gbrg,grbg}8", "bayer_rggb8 bayer_bggr8 bayer_gbrg8 bayer_grbg8")
