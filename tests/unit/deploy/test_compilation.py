"""The search for a precision that is accurate enough: what is tried in which order, and what is kept."""

from __future__ import annotations

from itertools import pairwise

import onnx
import pytest

from densemtl_core.errors import InputError
from deploy import compilation
from deploy.calibration import calibration_set
from deploy.compilation import Compilation, some_of

FRAMES = calibration_set(None, (64, 96), count=1)


@pytest.fixture
def tried(monkeypatch, exported):
    """Everything but the search is replaced: the export is made once, quantising only notes what is kept."""
    kept: list[tuple[str, ...]] = []
    monkeypatch.setattr(compilation, "export_onnx", lambda *args, **kwargs: exported)
    monkeypatch.setattr(compilation, "parity", lambda *args: {"edges": 0.0})
    monkeypatch.setattr(compilation, "int8_for_tensorrt", lambda model, frames, keep: model)
    monkeypatch.setattr(compilation, "package", lambda *args, **kwargs: None)

    def int8_for_cpu(model, frames, keep):
        kept.append(tuple(keep))
        return model

    monkeypatch.setattr(compilation, "int8_for_cpu", int8_for_cpu)
    return kept


def scored(monkeypatch, fails_until):
    """Depth is bad until a module with this name is kept."""
    current: list[tuple[str, ...]] = []

    def scores(bundle, backend, tasks, samples, done):
        good = backend == "eager" or any(name == fails_until for name in current[-1])
        values = {"semantic": "mIoU", "depth": "RMSE", "normals": "mErr", "edges": "macroF1"}
        return {task: {metric: 1.0 if good or task != "depth" else 2.0} for task, metric in values.items()}

    monkeypatch.setattr(compilation, "scores", scores)
    return current


@pytest.mark.parametrize(
    ("enough", "attempts"),
    [
        ("encoder.backbone.body.conv_stem", 2),
        ("decoders.depth.final_head", 3),
        ("exchange", 4),
        ("decoders.depth", 5),
        ("nothing", 5),
    ],
)
def test_retreats_step_by_step_and_stops_when_it_is_enough(monkeypatch, tried, model, description, enough, attempts):
    current = scored(monkeypatch, enough)
    original = compilation.int8_for_cpu

    def noted(graph, frames, keep):
        current.append(tuple(keep))
        return original(graph, frames, keep)

    monkeypatch.setattr(compilation, "int8_for_cpu", noted)
    told: list[str] = []
    found = Compilation(model, description, "onnx", "int8", FRAMES, tell=told.append).run([object()])
    assert len(tried) == attempts
    assert tried[0] == ()
    assert all(set(one) < set(two) for one, two in pairwise(tried))
    assert found.kept == tried[-1]
    assert found.passes is (enough != "nothing")
    assert found.contents.told["kept_in_floating_point"] == ", ".join(tried[-1])
    assert sum(line.startswith("too far") for line in told) == attempts - (enough != "nothing")
    if attempts == 5:
        assert "decoders.depth" in tried[-1]
        assert "decoders.semantic" not in tried[-1]


@pytest.mark.parametrize("accurate", [True, False])
def test_tensorrts_file_is_judged_by_itself_and_left_out_where_it_loses_too_much(
    monkeypatch, tried, model, description, exported, accurate
):
    other = onnx.ModelProto()
    other.CopyFrom(exported)
    other.doc_string = "for TensorRT"
    monkeypatch.setattr(compilation, "int8_for_tensorrt", lambda model, frames, keep: other)
    judged: list[str] = []

    def scores(bundle, backend, tasks, samples, done):
        judged.append(packed[-1].engines["onnx"].file)
        bad = judged[-1] == "model.int8-trt.onnx" and not accurate
        values = {"semantic": "mIoU", "depth": "RMSE", "normals": "mErr", "edges": "macroF1"}
        return {task: {metric: 2.0 if bad and task == "depth" else 1.0} for task, metric in values.items()}

    packed: list[compilation.Contents] = []
    monkeypatch.setattr(compilation, "package", lambda *args, contents, **kwargs: packed.append(contents))
    monkeypatch.setattr(compilation, "scores", scores)
    told: list[str] = []
    found = Compilation(model, description, "onnx", "int8", FRAMES, tell=told.append).run([object()])
    assert judged == ["model.int8-cpu.onnx"] * 2 + ["model.int8-trt.onnx"], "eager, onnxruntime's file, TensorRT's"
    assert found.passes
    assert found.contents.engines["onnx"].file == "model.int8-cpu.onnx"
    assert (found.contents.files.get("model.int8-trt.onnx") == other.SerializeToString()) is accurate
    assert any(line.startswith("left out  model.int8-trt.onnx: depth RMSE 1 -> 2") for line in told) is not accurate


def test_slim_keeps_only_the_file_that_the_engine_loads(monkeypatch, tried, model, description):
    scored(monkeypatch, "nothing").append(("nothing",))
    found = Compilation(model, description, "onnx", "int8", FRAMES, slim=True).run([object()])
    assert found.passes
    assert set(found.contents.files) == {"model.int8-cpu.onnx"}
    assert found.contents.engines["onnx"].file == "model.int8-cpu.onnx"
    plain = Compilation(model, description, "onnx", "fp32", slim=True).run([object()])
    assert set(plain.contents.files) == {"model.onnx"}


def test_strict_makes_one_attempt(monkeypatch, tried, model, description):
    scored(monkeypatch, "nothing").append(())
    found = Compilation(model, description, "onnx", "int8", FRAMES).run([object()], retreat=False)
    assert tried == [()]
    assert not found.passes


def test_without_labelled_samples_nothing_is_judged(tried, model, description):
    found = Compilation(model, description, "onnx", "int8", FRAMES).run()
    assert found.drops == ()
    assert found.passes
    assert found.contents.told["calibration_sha256"] == FRAMES.sha256


def test_a_graph_that_differs_from_the_network_is_no_bundle(monkeypatch, tried, model, description):
    monkeypatch.setattr(compilation, "parity", lambda *args: {"edges": 0.0, "depth": 0.5})
    with pytest.raises(InputError, match=r"differs from the network: depth 5.0e-01"):
        Compilation(model, description, "onnx", "fp32").run()


@pytest.mark.parametrize(
    ("backend", "precision", "match"),
    [
        ("onnx", "bf16", "has no bf16, only fp32, int8"),
        ("eager", "int8", "has no int8"),
        ("onnx", "int8", "needs calib"),
    ],
)
def test_combinations_that_do_not_exist(model, description, backend, precision, match):
    with pytest.raises(InputError, match=match):
        Compilation(model, description, backend, precision)


def test_of_many_names_three_are_told():
    assert some_of(["a", "b", "c"]) == "a, b, c"
    assert some_of(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
