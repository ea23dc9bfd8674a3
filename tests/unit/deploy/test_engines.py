"""Bundles with engines: every backend gives what eager gives, and files that do not fit are refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from densemtl_core.errors import InputError
from densemtl_core.runtime import Bundle, BundleError, EngineInfo, Predictor, write_bundle
from densemtl_core.runtime import backends as backends_package
from densemtl_core.runtime.backends import open_backend
from deploy.bundling import Contents, package

ENGINES = (
    "onnx",
    pytest.param("openvino", marks=pytest.mark.skipif("not __import__('importlib').util.find_spec('openvino')")),
)


@pytest.fixture(scope="module")
def compiled(model, description, exported, tmp_path_factory) -> Path:
    engines = {name: EngineInfo("model.onnx", "fp32") for name in ("onnx", "openvino")}
    contents = Contents({"model.onnx": exported.SerializeToString()}, engines)
    path = tmp_path_factory.mktemp("compiled") / "small.bundle"
    return package(model, description, path, contents=contents).path


def rewritten(bundle: Path, into: Path, file: bytes | None = None, **changes) -> Path:
    """The bundle with another graph or manifest, all hashes right."""
    opened = Bundle(bundle)
    files = {name: opened.read(name) for name in opened.manifest.files}
    if file is not None:
        files["model.onnx"] = file
    return write_bundle(into, replace(opened.manifest, **changes), files).path


def picture(height: int, width: int) -> np.ndarray:
    values = np.random.default_rng(height).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(values.repeat(8, 0).repeat(8, 1)[:height, :width])


class TestEngines:
    @pytest.mark.parametrize("backend", ENGINES)
    def test_gives_what_eager_gives(self, compiled, backend):
        image = picture(64, 96)
        expected, found = (Predictor(compiled, backend=name).predict(image) for name in ("eager", backend))
        assert (found["semantic"] == expected["semantic"]).mean() > 0.999
        for name in ("semantic_confidence", "depth", "normals", "edges"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("backend", ENGINES)
    @pytest.mark.parametrize("size", [(48, 200), (300, 100), (97, 131)])
    def test_predictions_have_the_cameras_size_whatever_its_aspect(self, compiled, backend, size):
        predictor = Predictor(compiled, backend=backend)
        found = predictor.predict(picture(*size))
        shapes = {name: value.shape for name, value in found.items()}
        assert shapes == {
            "semantic": size,
            "semantic_confidence": size,
            "depth": size,
            "normals": (*size, 3),
            "edges": size,
        }
        assert (predictor.backend, predictor.device, predictor.precision) == (backend, "cpu", "fp32")
        assert set(found.seconds) >= {"preprocess", "infer", "postprocess"}

    @pytest.mark.parametrize("backend", ENGINES)
    def test_frames_do_not_share_memory(self, compiled, backend):
        predictor = Predictor(compiled, backend=backend)
        first = predictor.predict(picture(64, 96))
        kept = first["edges"].copy()
        predictor.predict(255 - picture(64, 96))
        np.testing.assert_array_equal(first["edges"], kept)

    @pytest.mark.parametrize("backend", ENGINES)
    def test_several_images_at_once_are_what_each_is_alone(self, compiled, backend):
        predictor = Predictor(compiled, backend=backend)
        images = [picture(64, 96), 255 - picture(96, 64), 255 - picture(64, 96), picture(64, 96)[:, ::-1]]
        sizes = [None, None, (32, 48), (128, 192)]
        together = predictor.predict_batch(images, sizes=sizes)
        for image, size, found in zip(images, sizes, together, strict=True):
            alone = predictor.predict(image, size=size)
            assert found["semantic"].shape == (size or image.shape[:2])
            assert (found["semantic"] == alone["semantic"]).mean() > 0.999
            for name in ("semantic_confidence", "depth", "normals", "edges"):
                np.testing.assert_allclose(found[name], alone[name], rtol=1e-5, atol=1e-5)
        assert predictor.batch_limit == 1, "a CPU gains little by several, and the first would wait"

    def test_only_the_tasks_asked_for_come_back(self, compiled):
        found = Predictor(compiled, backend="onnx").predict(picture(64, 96), tasks=["edges"])
        assert list(found) == ["edges"]

    def test_a_closed_one_says_so(self, compiled):
        backend = open_backend("onnx", Bundle(compiled))
        backend.close()
        with pytest.raises(RuntimeError, match="onnx is closed"):
            backend.run([picture(64, 96)], ["edges"], [(64, 96)])

    def test_a_robot_with_onnxruntime_needs_no_torch(self, compiled):
        code = (
            "import sys, numpy; from densemtl_core.runtime import Predictor;"
            f"p = Predictor({str(compiled)!r}, backend='onnx'); p.predict(numpy.zeros((64, 96, 3), numpy.uint8));"
            "print([m for m in ('torch', 'timm', 'onnx', 'lightning') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout.strip() == "[]"


class TestRefusals:
    def test_a_manifest_with_another_number_of_classes(self, compiled, tmp_path):
        tasks = dict(Bundle(compiled).manifest.tasks)
        two = ((0, 0, 0), (9, 9, 9))
        tasks["semantic"] = replace(
            tasks["semantic"], class_names=("road", "sky"), palette=two, picture_options={"palette": two}
        )
        bundle = rewritten(compiled, tmp_path / "two.bundle", tasks=tasks)
        with pytest.raises(BundleError, match=r"names 2 classes for task 'semantic', model.json 19"):
            Predictor(bundle, backend="onnx")

    def test_an_output_of_another_type(self, compiled, exported, tmp_path):
        graph = onnx.ModelProto()
        graph.CopyFrom(exported)
        for node in graph.graph.node:
            for names in (node.input, node.output):
                names[:] = ["whole" if name == "edges" else name for name in names]
        half = onnx.TensorProto.FLOAT16
        graph.graph.node.append(onnx.helper.make_node("Cast", ["whole"], ["edges"], to=half))
        (output,) = (output for output in graph.graph.output if output.name == "edges")
        output.type.tensor_type.elem_type = half
        bundle = rewritten(compiled, tmp_path / "other.bundle", graph.SerializeToString())
        with pytest.raises(BundleError, match=r"gives 'edges' as float16 .*; float32 with 1 channels was promised"):
            Predictor(bundle, backend="onnx")

    def test_a_graph_without_a_promised_output(self, compiled, exported, tmp_path):
        other = onnx.ModelProto()
        other.CopyFrom(exported)
        del other.graph.output[-1]
        bundle = rewritten(compiled, tmp_path / "less.bundle", other.SerializeToString())
        with pytest.raises(BundleError, match="has no output 'edges', only semantic"):
            Predictor(bundle, backend="onnx")

    def test_a_graph_that_takes_something_else(self, compiled, tmp_path):
        info = onnx.helper.make_tensor_value_info
        node = onnx.helper.make_node("Identity", ["x"], ["edges"])
        graph = onnx.helper.make_graph([node], "g", [info("x", 1, [1, 3, 8, 8])], [info("edges", 1, [1, 3, 8, 8])])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
        bundle = rewritten(compiled, tmp_path / "float.bundle", model.SerializeToString())
        with pytest.raises(BundleError, match="takes x float32 of 4 dimensions instead of one image"):
            Predictor(bundle, backend="onnx")

    @pytest.mark.parametrize("backend", ENGINES)
    def test_a_file_that_is_no_graph(self, compiled, tmp_path, backend):
        bundle = rewritten(compiled, tmp_path / "noise.bundle", b"no graph at all")
        with pytest.raises(BundleError, match=r"cannot load model.onnx .*python deploy/compile.py") as caught:
            Predictor(bundle, backend=backend)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("backend", ENGINES)
    def test_weights_in_a_file_that_is_not_the_bundles(self, compiled, exported, tmp_path, monkeypatch, backend):
        """The engines would open it: it lies in the folder in which the process runs."""
        monkeypatch.chdir(tmp_path)
        other = onnx.ModelProto()
        other.CopyFrom(exported)
        onnx.save_model(other, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin")
        assert (tmp_path / "weights.bin").stat().st_size > 1e6
        bundle = rewritten(compiled, tmp_path / "split.bundle", (tmp_path / "model.onnx").read_bytes())
        with pytest.raises(BundleError, match=r"model.onnx keeps weights in another file, which nothing vouches for"):
            Predictor(bundle, backend=backend)

    @pytest.mark.parametrize("backend", ENGINES)
    def test_a_precision_that_is_not_the_graphs(self, compiled, tmp_path, backend):
        engines = {backend: EngineInfo("model.onnx", "int8")}
        bundle = rewritten(compiled, tmp_path / "false.bundle", engines=engines, backends=(backend,))
        with pytest.raises(BundleError, match=r"model\.onnx is not in INT8, and manifest\.json says int8"):
            Predictor(bundle, backend=backend)

    def test_a_byte_changed_after_it_was_made(self, compiled, tmp_path):
        bundle = Path(shutil.copytree(compiled, tmp_path / "tampered.bundle"))
        data = bytearray((bundle / "model.onnx").read_bytes())
        data[len(data) // 2] ^= 1
        (bundle / "model.onnx").write_bytes(data)
        with pytest.raises(BundleError, match=r"model.onnx was changed after the bundle was made"):
            Predictor(bundle, backend="onnx")

    def test_a_backend_that_the_manifest_offers_without_a_file(self, compiled, tmp_path):
        bundle = rewritten(compiled, tmp_path / "empty.bundle", engines={})
        with pytest.raises(BundleError, match="offers backend 'onnx' and names no file"):
            Predictor(bundle, backend="onnx")

    def test_an_engine_whose_file_is_not_listed(self, compiled, tmp_path):
        with pytest.raises(BundleError, match=r"names 'gone.onnx' for backend 'onnx' and does not list it"):
            rewritten(compiled, tmp_path / "gone.bundle", engines={"onnx": EngineInfo("gone.onnx", "fp32")})

    def test_a_library_that_is_not_installed(self, compiled, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        monkeypatch.delitem(sys.modules, "densemtl_core.runtime.backends.onnx", raising=False)
        with pytest.raises(InputError, match=r"needs onnxruntime.*pip install 'densemtl-core\[cpu\]'"):
            Predictor(compiled, backend="onnx")


class Fake:
    """A backend that takes its time."""

    device = "cpu"

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.seconds, self.closed = name, seconds, False

    def run(self, image, tasks, size):
        import time

        time.sleep(self.seconds)

    def close(self) -> None:
        self.closed = True


class TestAuto:
    @pytest.mark.parametrize(("onnx_seconds", "openvino_seconds"), [(0.001, 0.02), (0.02, 0.001)])
    def test_takes_the_cpu_engine_that_proves_faster(self, compiled, monkeypatch, onnx_seconds, openvino_seconds):
        made = {"onnx": Fake("onnx", onnx_seconds), "openvino": Fake("openvino", openvino_seconds)}
        monkeypatch.setattr(backends_package, "_load", lambda name, bundle, threads: made[name])
        chosen = open_backend("auto", Bundle(compiled))
        fast, slow = sorted(made.values(), key=lambda fake: fake.seconds)
        assert chosen is fast
        assert (fast.closed, slow.closed) == (False, True)

    def test_passes_over_what_this_machine_lacks(self, compiled, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        monkeypatch.setitem(sys.modules, "openvino", None)
        for name in ("onnx", "openvino"):
            monkeypatch.delitem(sys.modules, f"densemtl_core.runtime.backends.{name}", raising=False)
        assert Predictor(compiled, backend="auto").backend == "eager"

    def test_says_all_reasons_when_nothing_is_left(self, compiled, monkeypatch):
        def refuse(name, bundle, threads):
            raise BundleError(f"{name} refuses")

        monkeypatch.setattr(backends_package, "_load", refuse)
        with pytest.raises(BundleError, match="onnx refuses; openvino refuses; eager refuses"):
            open_backend("auto", Bundle(compiled))

    def test_a_bundle_of_weights_alone_is_eager(self, model, description, tmp_path):
        plain = package(model, description, tmp_path / "plain.bundle")
        assert Predictor(plain.path).backend == "eager"
        with pytest.raises(BundleError, match="has nothing for backend 'onnx'; it was made for: eager"):
            Predictor(plain.path, backend="onnx")
