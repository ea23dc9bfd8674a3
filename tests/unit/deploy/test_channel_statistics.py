"""Statistics of channels, against NumPy on the tensors themselves."""

from __future__ import annotations

import numpy as np
from onnx import helper
from small_graph import convolution, graph, run

from deploy import channel_statistics
from deploy.channel_statistics import largest_magnitudes, means

RNG = np.random.default_rng(2)
FRAMES = [RNG.integers(0, 256, (16, 16 + 8 * k, 3), dtype=np.uint8) for k in range(3)]


def network():
    values = {"one.weight": RNG.normal(size=(5, 3, 3, 3)), "one.bias": RNG.normal(size=5) - 3}
    return graph([convolution("one", "scaled"), helper.make_node("Relu", ["one"], ["two"])], values, ["one", "two"])


def test_means_and_largest_magnitudes_of_frames_of_any_size():
    model = network()
    outputs = [run(model, frame) for frame in FRAMES]
    found, top = means(model, ["one", "two"], FRAMES), largest_magnitudes(model, ["one", "two"], FRAMES)
    for name in ("one", "two"):
        each = [values[name].astype(np.float64) for values in outputs]
        np.testing.assert_allclose(found[name], np.mean([v.mean((0, 2, 3)) for v in each], axis=0), atol=1e-5)
        np.testing.assert_allclose(top[name], np.max([np.abs(v).max((0, 2, 3)) for v in each], axis=0), rtol=1e-6)
    assert (top["one"] > top["two"]).any(), "a magnitude below zero counts"


def test_the_same_graph_on_the_same_frames_is_measured_once(monkeypatch):
    model, measured = network(), []
    real = channel_statistics._measured
    monkeypatch.setattr(channel_statistics, "_measured", lambda *args: (measured.append(args[1]), real(*args))[1])
    first = largest_magnitudes(model, ["two"], FRAMES)
    first["two"] *= 0  # what a caller does with its own changes nothing
    again = largest_magnitudes(model, ["two"], FRAMES)
    assert len(measured) == 1
    assert again["two"].max() > 0
    means(model, ["two"], FRAMES)
    largest_magnitudes(model, ["two"], FRAMES[:2])
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    largest_magnitudes(model, ["two"], FRAMES)
    assert len(measured) == 4, "another statistic, other frames, other weights"


def test_of_nothing():
    assert means(network(), [], FRAMES) == {}
