"""Every value of a manifest is checked when it is read: none of them can break the first frame."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densemtl_core.models import ModelDescription
from densemtl_core.models.inference import prepare_for_inference
from densemtl_core.runtime import Bundle, BundleError, Predictor, default_bundle
from densemtl_core.runtime.backends import BACKENDS
from densemtl_core.runtime.manifest import ENGINE_FILES, ENGINE_PRECISIONS, Manifest
from densemtl_core.runtime.network_check import BUILT_IN, check_network
from densemtl_core.tasks import from_config
from deploy.bundling import task_info
from deploy.compilation import PRECISIONS

JUNK: dict[str, list[Any]] = {
    "numbers": [0, 1, -1, 33, 2**40, 10**30, 0.5, 1e300],
    "no numbers": [float("nan"), float("inf"), float("-inf"), True, None],
    "texts": ["", "junk", "80", "a\nb", "\x00", "\ud800", "x" * 5000, "../../etc/passwd", "probability", "eager"],
    "arrays": [[], [[]], [1], ["junk", "junk"], [[0, 0, 300]], [[1, 2]], [96, 64]],
    "objects": [{}, {"junk": 1}, {"focal": 60, "limit": 80}, {"name": []}],
}


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a manifest; of arrays the first and the last, for the rest are of the same kind."""
    if way:
        yield way
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, each in inner if isinstance(value, dict) else inner[:1] + inner[-1:]:
        yield from places(each, (*way, key))


def replaced(manifest: dict[str, Any], way: tuple[Any, ...], junk: Any) -> dict[str, Any]:
    changed = copy.deepcopy(manifest)
    inner: Any = changed
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = junk
    return changed


def works_or_is_refused(bundle: Path, manifest: dict[str, Any]) -> bool:
    """Load, predict and paint as a robot does; True where it works, False where one line refuses it."""
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    said = ""
    try:
        predictor = Predictor(bundle)
    except BundleError as error:
        said = str(error)
    if said:
        assert "\n" not in said
        assert 40 < len(said) < 600
        return False
    found = predictor.predict(np.full((48, 64, 3), 90, np.uint8), intrinsics=[60, 0, 32, 0, 60, 24, 0, 0, 1])
    for task in predictor.manifest.tasks:
        assert found.paint(task).shape == (48, 64, 3)
    assert all(found.unit(name) is not None for name in found)
    predictor.close()
    return True


@pytest.fixture
def built_once(pristine_bundle, monkeypatch) -> None:
    """Building the network takes most of the time of loading, and no manifest changes what is built."""
    opened = Bundle(pristine_bundle)
    description = ModelDescription.from_json(opened.read("model.json"), "small")
    network = prepare_for_inference(description.build(opened.read("model.safetensors"), "small").eval())
    monkeypatch.setattr(ModelDescription, "build", lambda *args: network)
    monkeypatch.setattr("densemtl_core.runtime.backends.eager.prepare_for_inference", lambda model, **options: model)


@pytest.mark.parametrize("kind", JUNK)
def test_junk_in_any_one_place_works_or_is_refused_in_one_line(bundle, built_once, kind):
    """Each place is given one piece of junk of each kind, another one in every place."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    ways = list(dict.fromkeys(places(manifest)))
    assert len(ways) > 80
    worked = [
        works_or_is_refused(bundle, replaced(manifest, way, JUNK[kind][k % len(JUNK[kind])]))
        for k, way in enumerate(ways)
    ]
    assert not all(worked)
    assert works_or_is_refused(bundle, manifest), "what is not junk is loaded"


def test_the_shipped_manifest_is_read_and_written_as_it_is():
    text = (default_bundle() / "manifest.json").read_text()
    assert json.loads(Manifest.from_json(text, "shipped").to_json()) == json.loads(text)
    Bundle(default_bundle()).check_network()


def refusal(change) -> str:
    """What is said of the shipped manifest after a change."""
    manifest = json.loads((default_bundle() / "manifest.json").read_text())
    change(manifest)
    with pytest.raises(BundleError) as error:
        check_network("here", Manifest.from_json(json.dumps(manifest), "here"), NETWORK)
    assert "\n" not in str(error.value)
    return str(error.value)


NETWORK = (default_bundle() / "model.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(input_size=[192, 321]), "input_size is [192, 321]; it must be height and width in multi"),
        (lambda m: m.update(input_size=[2**20, 320]), "input_size[0] is 1048576; it must be a whole number from 32"),
        (lambda m: m.update(input_size=[192.0, 320]), "input_size[0] is 192.0; it must be a whole number"),
        (lambda m: m.update(input_size=[256, 512]), "says input_size (256, 512), model.json (192, 320)"),
        (lambda m: m.update(preset="densemtl_r50"), "says preset 'densemtl_r50', model.json 'densemtl_edge_s'"),
        (lambda m: m.update(precision="int4"), "precision is 'int4'; it must be one of fp32, fp16, bf16, int8"),
        (lambda m: m.update(backends=["eager", "tpu"]), "backends[1] is 'tpu'; it must be one of tensorrt, onnx"),
        (lambda m: m.update(backends=["eager", "eager"]), "it must be each name once"),
        (lambda m: m.update(schema=True), "schema version True"),
        (lambda m: m.pop("preset"), "preset is missing"),
        (lambda m: m.update(surprise=1), "'surprise' is unknown; known here: name, preset"),
        (lambda m: m.update(made_with={"torch": 2}), "made_with.torch is 2; it must be a text"),
        (lambda m: m.update(accuracy={"scores": [1]}), "accuracy.scores is [1]; it must be an object"),
        (lambda m: m["files"].update({"../x": {}}), "files lists '../x', which is outside the bundle"),
        (lambda m: m["files"]["model.json"].update(size="2291"), "size is '2291'; it must be a whole number"),
        (lambda m: m["files"]["model.json"].update(sha256="D8"), "sha256 is 'D8'; it must be 64 hexadecimal digits"),
        (
            lambda m: m.update(engines={"onnx": {"file": "model.onnx", "precision": "int8"}}),
            "it names 'model.onnx' for backend 'onnx' and does not list it",
        ),
        (
            lambda m: m.update(engines={"onnx": {"file": "model.json", "precision": "int8"}}),
            "engines.onnx.file is 'model.json'; it must be a file that ends in .onnx",
        ),
        (
            lambda m: (
                m["files"].update({"model.onnx": m["files"]["model.json"]}),
                m.update(engines={"onnx": {"file": "model.onnx", "precision": "bf16"}}),
            ),
            "engines.onnx.precision is 'bf16'; it must be one of fp32, int8",
        ),
        (lambda m: m.update(engines={"eager": {"file": "model.json", "precision": "fp32"}}), "engines has 'eager'"),
    ],
)
def test_what_the_whole_may_not_be(change, said):
    assert said in refusal(change)


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        ("depth", {"camera": {"focal": -3, "limit": 80}}, "depth.camera.focal is -3; it must be a number above 0"),
        ("depth", {"camera": {"focal": "180", "limit": 80}}, "depth.camera.focal is '180'"),
        ("depth", {"camera": {"focal": 180}}, "tasks.depth.camera.limit is missing"),
        ("depth", {"camera": {"focal": 90.0, "limit": 80.0}}, "says camera {'focal': 90.0, 'limit': 80.0} for task 'd"),
        ("depth", {"camera": {}}, "says camera {} for task 'depth', model.json {'focal': 180.0, 'limit': 80.0}"),
        ("depth", {"picture_options": {"far": "80"}}, "depth.picture_options.far is '80'; it must be a number above"),
        ("depth", {"picture_options": {"far": 0.5}}, "it must be a range: near is 1, far is 0.5"),
        ("depth", {"picture_options": {"fast": 1}}, "'fast' is unknown; known here: near, far"),
        ("depth", {"picture": "Depth"}, "picture is 'Depth'; it must be one of classes, depth, scalar"),
        ("depth", {"picture": "normals"}, "it must be a picture of 1 channels, as the main output has"),
        ("depth", {"kind": "edges"}, "says kind 'edges' for task 'depth', model.json 'depth'"),
        ("depth", {"name": "distance"}, "tasks.depth.name is 'distance'; it must be 'depth'"),
        ("normals", {"needs": []}, "says needs () for task 'normals', model.json ('depth',)"),
        ("edges", {"needs": ["depth"]}, "says needs ('depth',) for task 'edges', model.json ()"),
        ("edges", {"outputs": []}, "tasks.edges.outputs is []; it must be an array of 1 to"),
        ("semantic", {"picture_options": {}}, "tasks.semantic.picture_options.palette is missing"),
        ("semantic", {"palette": [[0, 0, 0]]}, "tasks.semantic.palette has 1 colours for 19 classes"),
        ("semantic", {"palette": [[0, 0, 256]] * 19}, "palette[0][2] is 256; it must be a whole number from 0 to 255"),
        ("semantic", {"palette": [[0, 0, 0]] * 19}, "says other colours for task 'semantic' (palette)"),
        ("semantic", {"picture_options": {"palette": [[0, 0, 0]]}}, "picture_options.palette has 1 colours for 19"),
        ("semantic", {"class_names": ["road"] * 300}, "must be an array of 0 to 255 values"),
    ],
)
def test_what_a_task_may_not_be(task, change, said):
    assert said in refusal(lambda manifest: manifest["tasks"][task].update(change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "uint4"}, "outputs[0].dtype is 'uint4'; it must be one of uint8"),
        ({"channels": 0}, "outputs[0].channels is 0; it must be a whole number from 1 to 512"),
        ({"resample": "linear"}, "outputs[0].resample is 'linear'; it must be nearest: the mean of two uint8 values"),
        ({"name": "edges"}, "outputs[0].name is 'edges'; it must be the task's, 'semantic'"),
        ({"unit": None}, "outputs[0].unit is None; it must be a text"),
        ({"unit": "a\nb"}, "outputs[0].unit is 'a\\nb'; it must be a text of one line"),
    ],
)
def test_what_an_output_may_not_be(change, said):
    assert said in refusal(lambda manifest: manifest["tasks"]["semantic"]["outputs"][0].update(change))


def test_two_outputs_of_one_name():
    said = refusal(lambda manifest: manifest["tasks"]["semantic"]["outputs"][1].update(name="depth"))
    assert "tasks have two outputs that are called 'depth'" in said


def test_a_name_that_is_said_twice_and_what_is_too_deep():
    with pytest.raises(BundleError, match="'schema' is said twice"):
        Manifest.from_json('{"schema": 1, "schema": 2}', "here")
    with pytest.raises(BundleError, match="not JSON"):
        Manifest.from_json("[" * 100_000, "here")


def test_what_is_known_of_backends_is_what_they_are():
    assert (*ENGINE_FILES, "eager") == (*ENGINE_PRECISIONS, "eager") == BACKENDS
    assert dict(PRECISIONS) == {**ENGINE_PRECISIONS, "eager": ("fp32",)}, "what can be compiled can be loaded"


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_table_of_built_in_kinds_is_what_their_classes_say(kind):
    shipped = {task["kind"]: task for task in json.loads(NETWORK)["tasks"]}
    described = shipped.get(kind, {"kind": kind})
    info = task_info(from_config({**described, "name": "mine"}))
    picture, outputs = BUILT_IN[kind]
    assert info.picture == picture
    assert info.outputs == tuple(dataclasses.replace(output, name="mine" + output.name) for output in outputs)


def test_depth_without_a_scale_has_another_unit():
    network = json.loads(NETWORK)
    (depth,) = (task for task in network["tasks"] if task["kind"] == "depth")
    depth["up_to_scale"] = True
    manifest = json.loads((default_bundle() / "manifest.json").read_text())
    manifest["tasks"]["depth"].update(dataclasses.asdict(task_info(from_config(depth))))
    check_network("here", Manifest.from_json(json.dumps(manifest), "here"), json.dumps(network).encode())


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        (
            "depth",
            {"unit": "feet"},
            "says depth.unit 'feet' for task 'depth', model.json 'metres along the optical axi",
        ),
        ("edges", {"resample": "nearest"}, "says edges.resample 'nearest'"),
        ("normals", {"dtype": "float64"}, "says normals.dtype 'float64' for task 'normals', model.json 'float32'"),
    ],
)
def test_an_output_that_is_not_the_networks_is_refused(task, change, said):
    assert said in refusal(lambda m: m["tasks"][task]["outputs"][0].update(change))


def test_a_camera_rule_and_an_output_more_are_refused():
    assert "says camera {'focal': 60.0" in refusal(
        lambda m: m["tasks"]["edges"].update(camera={"focal": 60, "limit": 9})
    )
    extra = {"name": "more", "channels": 1, "dtype": "uint8", "unit": "?"}
    assert "says outputs ['edges', 'more']" in refusal(lambda m: m["tasks"]["edges"]["outputs"].append(extra))
    assert "says picture" in refusal(lambda m: m["tasks"]["edges"].update(picture="depth", picture_options={"far": 9}))
