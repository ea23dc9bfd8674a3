from __future__ import annotations

import numpy as np
import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.runtime import Predictor
from densemtl_core.runtime.backends.base import decoding_size, working_size
from densemtl_core.tasks import decode


@pytest.fixture(scope="module")
def predictor(pristine_bundle):
    return Predictor(pristine_bundle)


def photo(height=72, width=100, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_large_images_are_decoded_smaller_and_enlarged(predictor):
    """Every pixel of a large output is one that was decoded: nothing is averaged across an object's border."""
    image = photo(400, 640)
    large, small = predictor.predict(image), predictor.predict(image, size=(128, 192))
    assert large["depth"].shape == (400, 640)
    assert decoding_size((400, 640), (64, 96)) == (128, 192)
    assert decoding_size((100, 640), (64, 96)) == (100, 640)
    for name in ("semantic", "depth"):
        assert np.isin(np.unique(large[name]), np.unique(small[name])).all()
    length = np.linalg.norm(large["normals"], axis=-1)
    np.testing.assert_allclose(length[np.isfinite(length)], 1, atol=1e-4)


@pytest.mark.parametrize("size", [(72, 100), (33, 500), (1, 1), (480, 640), (97, 61)])
def test_predictions_have_the_images_size_and_their_units(predictor, size):
    predictions = predictor.predict(photo(*size))
    height, width = size
    expected = {
        "semantic": ((height, width), np.uint8, "class id"),
        "semantic_confidence": ((height, width), np.float32, "probability"),
        "depth": ((height, width), np.float32, "metres along the optical axis"),
        "normals": ((height, width, 3), np.float32, "unit vector, optical frame, facing the camera"),
        "edges": ((height, width), np.float32, "probability"),
    }
    assert {k: (v.shape, v.dtype, predictions.unit(k)) for k, v in predictions.items()} == expected
    assert predictions["semantic"].max() < 5
    assert ((predictions["edges"] >= 0) & (predictions["edges"] <= 1)).all()
    assert (predictions["depth"] > 0).all()
    length = np.linalg.norm(predictions["normals"], axis=-1)
    np.testing.assert_allclose(length[np.isfinite(length)], 1, atol=1e-4)
    assert set(predictions.seconds) == {"preprocess", "infer", "postprocess"}


def test_equals_the_network_itself(predictor, pristine_bundle):
    """At the working size nothing is resized: the predictor must give the network's own decoded numbers."""
    image = photo(64, 96)
    model, description = load_checkpoint(pristine_bundle)
    with torch.no_grad():
        raw = model.eval()(torch.from_numpy(image).permute(2, 0, 1)[None] / 255.0)
        full = {t.name: t.resize(raw[t.name][0], (64, 96)) for t in description.tasks}
        expected = decode(description.tasks, full)
    predictions = predictor.predict(image)
    assert (predictions["semantic"] == expected["semantic"][0].numpy()).mean() > 0.999
    for name in ("depth", "edges", "semantic_confidence"):
        np.testing.assert_allclose(predictions[name], expected[name][0].numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(predictions["normals"], expected["normals"][0].permute(1, 2, 0).numpy(), atol=1e-3)


def test_memory_layout_does_not_matter(predictor):
    image = photo()
    flipped = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    assert flipped.strides[1] < 0
    assert np.array_equal(predictor.predict(image)["semantic"], predictor.predict(flipped)["semantic"])


def test_a_subset_equals_the_full_set(predictor):
    image = photo()
    full, some = predictor.predict(image), predictor.predict(image, tasks=["normals"])
    assert set(some) == {"normals", "depth"}, "normals need depth, to know where there is no surface"
    np.testing.assert_array_equal(some["normals"], full["normals"])
    assert set(predictor.predict(image, tasks=["edges"])) == {"edges"}


def test_several_images_at_once_are_what_each_is_alone(predictor):
    """Of two working sizes, so that the engine runs twice, in an order that is not the images'."""
    images = [photo(72, 100, 0), photo(100, 72, 1), photo(64, 96, 2), photo(200, 300, 3)[:, ::-1]]
    sizes = [None, None, (36, 50), None]
    together = predictor.predict_batch(images, ["semantic", "normals"], sizes)
    for image, size, found in zip(images, sizes, together, strict=True):
        alone = predictor.predict(image, ["semantic", "normals"], size)
        assert list(found) == list(alone)
        assert (found["semantic"] == alone["semantic"]).mean() > 0.999
        for name in ("semantic_confidence", "depth", "normals"):
            np.testing.assert_allclose(found[name], alone[name], rtol=1e-5, atol=1e-5)
        assert set(found.seconds) == {"preprocess", "infer", "postprocess"}
    assert [p["semantic"].shape for p in together] == [(72, 100), (100, 72), (36, 50), (200, 300)]


def test_images_of_one_working_size_are_one_run(predictor, monkeypatch):
    runs = []
    run = predictor._engine.run
    monkeypatch.setattr(predictor._engine, "run", lambda images, *rest: runs.append(len(images)) or run(images, *rest))
    predictor.predict_batch([photo(64, 96), photo(96, 64), photo(640, 960)])
    assert sorted(runs) == [1, 2]
    runs.clear()
    predictor.warm_up(frames=1, batch=3)
    assert runs == [1, 2, 3]


def test_no_image_is_no_prediction(predictor):
    assert predictor.predict_batch([]) == []


@pytest.mark.parametrize(
    ("images", "options", "text"),
    [
        ([photo(), np.zeros((4, 4), np.uint8)], {}, r"^images\[1\] must be \(H, W, 3\) uint8 RGB"),
        ([photo(), None], {}, r"^images\[1\] must be an array"),
        ([photo(), photo()], {"sizes": [(4, 4)]}, r"^2 images with 1 sizes and 2 intrinsics; give one an image$"),
        ([photo(), photo()], {"sizes": [None, (0, 4)]}, r"^images\[1\] of shape .* no side may be zero"),
        ([photo(), photo()], {"intrinsics": [None]}, "^2 images with 2 sizes and 1 intrinsics"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(predictor, images, options, text):
    with pytest.raises(InputError, match=text):
        predictor.predict_batch(images, **options)


def test_other_output_size(predictor):
    assert predictor.predict(photo(), size=(36, 50))["depth"].shape == (36, 50)


def test_painted(predictor):
    predictions = predictor.predict(photo())
    for task in predictions.tasks:
        picture = predictions.paint(task)
        assert picture.shape == (72, 100, 3)
        assert picture.dtype == np.uint8


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_image_is_refused(predictor, image):
    with pytest.raises(InputError, match="image"):
        predictor.predict(image)


@pytest.mark.parametrize("tasks", [["flow"], []])
def test_unknown_tasks_are_refused(predictor, tasks):
    with pytest.raises(InputError, match="it has: semantic, depth, normals, edges"):
        predictor.predict(photo(), tasks=tasks)


def test_threads_must_be_positive(pristine_bundle):
    with pytest.raises(InputError, match="threads is 0"):
        Predictor(pristine_bundle, threads=0)


def test_closed_predictor_gives_nothing(pristine_bundle):
    predictor = Predictor(pristine_bundle)
    predictor.warm_up(frames=1)
    predictor.close()
    with pytest.raises(AttributeError):
        predictor.predict(photo())


@pytest.mark.parametrize(
    ("image", "rule", "expected"),
    [
        ((360, 640), "stretch", (192, 320)),
        ((360, 640), "aspect", (192, 320)),
        ((375, 1242), "aspect", (128, 448)),
        ((640, 360), "aspect", (320, 192)),
        ((10, 4000), "aspect", (96, 704)),
    ],
)
def test_working_size(image, rule, expected):
    size = working_size(image, (192, 320), rule)
    assert size == expected
    assert all(side % 32 == 0 for side in size)
