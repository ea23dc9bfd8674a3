"""TensorRT engines: built for real by TensorRT-RTX on a CPU, run with a stand-in for the device."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from densemtl_core.errors import InputError
from densemtl_core.runtime import Bundle, BundleError, EngineInfo
from densemtl_core.runtime.backends import open_backend
from densemtl_core.runtime.backends import tensorrt as backend
from deploy import compilation, tensorrt
from deploy.bundling import Contents, package
from deploy.compilation import Compilation
from deploy.compile import main
from deploy.graph import example, output_names

ROOT = Path(__file__).resolve().parents[3]
HERE = {
    "tensorrt": "10.3.0",
    "gpu": "Orin",
    "compute_capability": "8.7",
    "platform": "linux-aarch64",
}

EDGE = "densemtl_edge_s:fp32,fp16,int8,support,onnx"
PUBLISHED = ("densemtl_r18:fp32,fp16,int8", "densemtl_r101:int8")

# --- the real front end and builder -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def facts_of(tmp_path_factory):
    """What `engine_facts` finds of presets, in a process of its own: it pretends to have a driver."""
    if importlib.util.find_spec("tensorrt_rtx") is None or importlib.util.find_spec("torch_tensorrt") is None:
        pytest.skip("torch-tensorrt-rtx is not installed (tests/tensorrt-rtx.txt)")

    @functools.cache
    def look(*wanted: str) -> dict[str, dict]:
        out = tmp_path_factory.mktemp("facts") / "facts.json"
        done = subprocess.run(
            [sys.executable, ROOT / "tests/engine_facts.py", out, "64x64", *wanted],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(out.parent), "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(out.read_text())

    return look


def check(facts: dict) -> None:
    """That an engine was built takes a converter for every operator: nothing of the graph may stay outside it."""
    for precision in ("fp32", "fp16", "int8"):
        check_graph(facts[precision])
    fp32, fp16, int8 = (facts[name]["compressed"] for name in ("fp32", "fp16", "int8"))
    assert fp32 > 3.5 * facts["parameters"]
    assert 0.45 < fp16 / fp32 < 0.6
    assert int8 < 0.95 * fp16
    assert facts["int8"]["quantisers"] > 200


def check_graph(found: dict) -> None:
    assert found["finite"] > 0.9, "there is too little depth to compare"
    assert found["identical"], "the traced graph differs from the network"


@pytest.mark.timeout(600)
def test_the_edge_network_becomes_one_engine_in_every_precision(facts_of):
    facts = facts_of(EDGE)["densemtl_edge_s"]
    check(facts)
    support = facts["support"]
    assert support["left"] == {}
    assert support["converted"] == support["operators"] > 300
    assert support["engines"] == 1


@pytest.mark.timeout(600)
def test_the_onnx_files_are_read_and_built_by_tensorrts_own_parser(facts_of):
    facts = facts_of(EDGE)["densemtl_edge_s"]
    for name in ("model.onnx", "model.int8-trt.onnx"):
        assert facts[name]["errors"] == []
        assert facts[name]["built"]
    assert facts["model.onnx"]["quantise"] == 0
    assert facts["model.int8-trt.onnx"]["quantise"] > 100
    assert facts["model.int8-trt.onnx"]["compressed"] < 0.6 * facts["model.onnx"]["compressed"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_published_networks_become_one_engine_in_every_precision(facts_of):
    """The larger one is built in INT8 alone, of the kinds of operators that the smaller one has in every precision."""
    small, large = facts_of(*PUBLISHED).values()
    check(small)
    check_graph(large["int8"])
    assert large["int8"]["quantisers"] > small["int8"]["quantisers"]
    assert small["int8"]["bytes"] < 0.7 * small["fp16"]["bytes"]
    assert large["int8"]["bytes"] < 0.7 * 2 * large["parameters"]
    assert set(large["int8"]["operators"]) <= set(small["int8"]["operators"])
    assert set(small["fp16"]["operators"]) <= set(small["int8"]["operators"])


@pytest.fixture(scope="module")
def program_of(network):
    """The traced graph for a batch of so many, made once."""
    return functools.cache(lambda batch: tensorrt.traced(network, (64, 96), batch=batch))


# --- preparing the graph, without the compiler ------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "kind"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_type_and_is_normalised_and_decoded_in_fp32(network, precision, kind):
    ready = tensorrt.prepared(network, precision)
    pixels = example((64, 96))
    with torch.no_grad():
        before, after = network(pixels), ready(pixels)
    kinds = {module.weight.dtype for module in ready.network.modules() if isinstance(module, nn.Conv2d)}
    assert kinds == {kind}
    assert ready.network.mean.dtype == ready.network.std.dtype == torch.float32
    assert [value.dtype for value in after] == [value.dtype for value in before]
    edges, cast = before[-1], after[-1]
    assert not torch.equal(edges, cast)
    assert (edges - cast).abs().max() < 0.05
    assert next(network.network.parameters()).dtype == torch.float32


def test_the_traced_graph_gives_the_same_with_ids_as_int32(network, program_of):
    pixels = example((64, 96), 2)
    program = program_of(2)
    with torch.no_grad():
        expected, found = network(pixels), program.module()(pixels)
    assert [value.dtype for value in found] == [torch.int32, *[torch.float32] * 4]
    for name, a, b in zip(output_names(network.tasks), expected, found, strict=True):
        assert torch.equal(a.float().nan_to_num(-1), b.float().nan_to_num(-1)), name
    operators = {str(node.target) for node in program.graph.nodes}
    assert "aten.max.dim" not in operators


def test_an_unknown_precision_is_refused(network):
    with pytest.raises(InputError, match=r"no precision 'fp8'; known: fp32, fp16, bf16, int8"):
        tensorrt.prepared(network, "fp8")


def test_settings_are_those_of_the_installed_version():
    def old(exported_program, inputs, *, min_block_size=5, enabled_precisions=None, use_explicit_typing=False): ...

    def new(exported_program, inputs, *, min_block_size=5, decompose_attention=False, dryrun=False, **kwargs): ...

    assert tensorrt._settings(old, dryrun="x") == {"min_block_size": 1}
    assert tensorrt._settings(new, dryrun="x") == {"min_block_size": 1, "decompose_attention": True, "dryrun": "x"}


@pytest.fixture
def front_end(monkeypatch, tmp_path):
    """Torch-TensorRT of which building fails and the dry run reports as the real one did of this network once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = {}

    def convert(program, arg_inputs, *, require_full_compilation=False, timing_cache_path="", min_block_size=5):
        given.update(require_full_compilation=require_full_compilation, timing_cache_path=timing_cache_path)
        raise RuntimeError("While interpreting the module\ngot an error")

    def compile_(program, arg_inputs, *, dryrun=False, min_block_size=5):
        left = "" if given.get("all") else REPORT_OF_LEFT
        Path(dryrun).write_text(REPORT.format(converted=389 - bool(left), left=left))

    dynamo = SimpleNamespace(compile=compile_, convert_exported_program_to_serialized_trt_engine=convert)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", SimpleNamespace(__version__="2.14.0", dynamo=dynamo))
    return given


REPORT = """
The graph consists of 389 Total Operators, of which {converted} operators are supported, 99.74% coverage
{left}
The following nodes are currently set to run in Torch:
Node: torch.ops.aten._to_copy.default, with layer location: /_to_copy_1

    TRT Engine #1 - Submodule name: _run_on_acc_0
     Number of Operators in Engine: 388
    TRT Engine #2 - Submodule name: _run_on_acc_2

   - For minimal graph segmentation, select min_block_size=388 which would generate 1 TRT engine(s)
"""
REPORT_OF_LEFT = """
The following ops are currently unsupported or excluded from conversion, and are listed with their op-count:
 torch.ops.aten._to_copy.default: 1
"""


def test_an_operator_without_a_converter_is_named(front_end, program_of, tmp_path):
    program = program_of(1)
    assert tensorrt.support(program) == tensorrt.Support(388, 389, 2, {"torch.ops.aten._to_copy.default": 1})
    with pytest.raises(InputError, match=r"no converter for torch\.ops\.aten\._to_copy\.default; leave out the task"):
        tensorrt.engine_bytes(program)
    assert front_end["require_full_compilation"]
    assert front_end["timing_cache_path"] == str(tmp_path / "densemtl/tensorrt/timing.bin")


def test_a_builder_that_fails_becomes_one_line(front_end, program_of):
    front_end["all"] = True
    with pytest.raises(
        InputError, match=r"could not build the engine \(RuntimeError: While interpreting the module got"
    ):
        tensorrt.engine_bytes(program_of(1))


def test_the_timing_cache_is_nobody_elses(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "densemtl" / "tensorrt").mkdir(parents=True, mode=0o777)
    folder = tensorrt._timing_cache().parent
    assert folder.is_relative_to(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# --- what is missing --------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 7))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Orin")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_it_says_so_and_which_versions_match(no_gpu, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.12.1+cu130")
    assert "no CUDA GPU" in tensorrt.missing()
    assert "torch 2.12.1 goes with torch-tensorrt 2.12.1 (TensorRT >=10.16.1,<10.17)" in tensorrt.missing()
    monkeypatch.setattr(torch, "__version__", "2.9.0")
    assert "torch 2.9.0 goes with no torch-tensorrt known here; torch 2.8, 2.11" in tensorrt.missing()


def test_the_package_for_tests_does_not_count_as_torch_tensorrt(gpu, monkeypatch):
    def version(name: str) -> str:
        raise tensorrt.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(tensorrt.metadata, "version", version)
    assert "torch-tensorrt is not installed" in tensorrt.missing()


def test_whatever_the_import_raises_becomes_one_line(gpu, monkeypatch, tmp_path):
    (tmp_path / "torch_tensorrt.py").write_text("raise AssertionError('Could not find\\nlibnvinfer.so.10')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch_tensorrt", raising=False)
    monkeypatch.setattr(tensorrt.metadata, "version", lambda name: "2.14.0")
    lacks = tensorrt.missing()
    assert "does not import (AssertionError: Could not find libnvinfer.so.10)" in lacks
    assert "\n" not in lacks


def test_building_is_refused_where_something_is_missing(no_gpu, network):
    with pytest.raises(InputError, match="backend tensorrt: engines are built on the machine that runs them"):
        tensorrt.build(network, (64, 96), "fp16")


def test_the_command_refuses_before_any_work(no_gpu, capsys, tmp_path):
    for arguments in (["--backend", "tensorrt", "--int8"], ["--fp16"]):
        assert main([*arguments, "--out", str(tmp_path / "x.bundle")]) == 2
        error = capsys.readouterr().err
        assert "backend tensorrt" in error
        assert error.count("\n") == 1
    assert main(["--batch", "4", "--backend", "onnx", "--dry-run"]) == 2
    assert "--batch 4 is for TensorRT engines" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_takes_tensorrt_where_it_can(monkeypatch, capsys):
    monkeypatch.setattr(tensorrt, "missing", lambda: "")
    assert main(["--fp16", "--batch", "2", "--dry-run"]) == 0
    assert "engine    tensorrt, fp16" in capsys.readouterr().out


def test_a_compilation_puts_the_engine_into_the_bundle(model, description, exported, monkeypatch, tmp_path):
    asked = []

    def build(network, size, precision, **how):
        asked.append((size, precision, how["batch"]))
        return tensorrt.Built(b"an engine", HERE, {"torch-tensorrt": "2.14.0"})

    monkeypatch.setattr(tensorrt, "missing", lambda: "")
    monkeypatch.setattr(tensorrt, "build", build)
    monkeypatch.setattr(compilation, "export_onnx", lambda *_, **__: exported)
    contents = Compilation(model, description, "tensorrt", "fp16", batch=2).run().contents
    manifest = package(model, description, tmp_path / "x.bundle", contents=contents).manifest
    assert asked == [(description.input_size, "fp16", 2)]
    assert manifest.engines["tensorrt"] == EngineInfo("model.engine", "fp16", HERE)
    assert manifest.backends == ("onnx", "tensorrt", "eager")
    assert manifest.made_with["torch-tensorrt"] == "2.14.0"


# --- the backend ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle_for(model, description, tmp_path):
    def make(**made_for: str) -> Bundle:
        info = EngineInfo("model.engine", "fp16", made_for)
        contents = Contents({"model.engine": b"an engine"}, {"tensorrt": info}, "fp16")
        return package(model, description, tmp_path / "x.bundle", contents=contents)

    return make


@pytest.fixture
def libraries(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))
    monkeypatch.setattr(backend.sys, "platform", "linux")
    monkeypatch.setattr(backend.platform, "machine", lambda: "aarch64")


def refusal(bundle: Bundle) -> str:
    with pytest.raises(BundleError) as caught:
        open_backend("tensorrt", bundle)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "other", "meaning"),
    [
        ("tensorrt", "10.16.1", "TensorRT 10.16.1, here is 10.3.0"),
        ("gpu", "Thor", "the GPU Thor, here is Orin"),
        ("compute_capability", "11.0", "compute capability 11.0, here is 8.7"),
        ("platform", "linux-x86_64", "the platform linux-x86_64, here is linux-aarch64"),
    ],
)
def test_a_foreign_engine_is_refused_with_the_command_that_builds_another(bundle_for, libraries, key, other, meaning):
    said = refusal(bundle_for(**{**HERE, key: other}))
    assert f"was built for {meaning}" in said
    assert "python deploy/compile.py --backend tensorrt" in said


def test_an_engine_of_unknown_origin_is_refused(bundle_for, libraries):
    assert "TensorRT that nobody noted" in refusal(bundle_for())


def test_a_missing_library_is_named(bundle_for, gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    said = refusal(bundle_for(**HERE))
    assert "needs tensorrt, which does not import" in said
    assert "pip install 'densemtl-core[tensorrt]'" in said


def test_a_library_without_its_libraries_is_told_in_one_line(bundle_for, gpu, monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise RuntimeError('libnvinfer.so.10:\\ncannot open')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert "RuntimeError: libnvinfer.so.10: cannot open" in refusal(bundle_for(**HERE))


def test_without_a_gpu_the_backend_is_refused(bundle_for, no_gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))
    assert "needs a CUDA GPU" in refusal(bundle_for(**HERE))


class Engine:
    """Stands in for a deserialised engine: computes the network on the CPU, in the memory it was given."""

    def __init__(self, program, batch: int) -> None:
        pixels = example((64, 96), batch)
        self.program = program.module()
        with torch.no_grad():
            values = self.program(pixels)
        # in an order that is not the manifest's
        self.shapes = {f"output{k}": tuple(v.shape) for k, v in reversed(list(enumerate(values)))}
        self.kinds = {f"output{k}": "INT32" if v.dtype == torch.int32 else "FLOAT" for k, v in enumerate(values)}
        self.shapes["pixels"], self.kinds["pixels"] = tuple(pixels.shape), "UINT8"
        self.addresses: dict[str, int] = {}
        self.runs = 0

    @property
    def num_io_tensors(self) -> int:
        return len(self.shapes)

    def get_tensor_name(self, k: int) -> str:
        return list(self.shapes)[k]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "pixels" else "out"

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=self.kinds[name])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def create_execution_context(self) -> Engine:
        return self

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def memory(self, name: str) -> np.ndarray:
        kind = {"UINT8": np.uint8, "INT32": np.int32, "FLOAT": np.float32}[self.kinds[name]]
        count = int(np.prod(self.shapes[name])) * np.dtype(kind).itemsize
        raw = (ctypes.c_uint8 * count).from_address(self.addresses[name])
        return np.frombuffer(raw, kind).reshape(self.shapes[name])

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        self.runs += 1
        with torch.no_grad():
            values = self.program(torch.from_numpy(self.memory("pixels").copy()))
        for k, value in enumerate(values):
            self.memory(f"output{k}")[...] = value.numpy()
        return True


class Graph:
    """Stands in for a CUDA graph: replays what was launched while it was captured."""

    launch = None

    def replay(self) -> None:
        self.launch()


def device_of(engine: Engine, capturable: bool) -> SimpleNamespace:
    """PyTorch whose device is the CPU."""

    @contextmanager
    def graph(into: Graph, stream, capture_error_mode: str):
        if not capturable:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield
        into.launch = lambda: engine.execute_async_v3(stream.cuda_stream)

    cuda = SimpleNamespace(
        Stream=lambda: SimpleNamespace(cuda_stream=7, synchronize=lambda: None),
        stream=lambda stream: nullcontext(),
        synchronize=lambda: None,
        empty_cache=lambda: None,
        CUDAGraph=Graph,
        graph=graph,
    )
    return SimpleNamespace(
        cuda=cuda,
        zeros=lambda shape, dtype, device: torch.zeros(shape, dtype=dtype),
        empty=lambda shape, dtype, device="cpu", pin_memory=False: torch.full(shape, 9, dtype=dtype),
        from_numpy=torch.from_numpy,
        **{name: getattr(torch, name) for name in ("uint8", "int32", "float32")},
    )


def device(monkeypatch, engine: Engine | None, capturable: bool = True) -> None:
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda data: engine)
    trt = SimpleNamespace(
        __version__="10.3.0",
        Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None}),
        Runtime=lambda logger: runtime,
        TensorIOMode=SimpleNamespace(INPUT="in"),
    )
    monkeypatch.setattr(backend, "_libraries", lambda origin: (device_of(engine, capturable), trt))
    monkeypatch.setattr(backend, "this_machine", lambda: dict(HERE))


@pytest.mark.parametrize("capturable", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_frame_goes_through_the_engine_and_comes_back_as_promised(
    bundle_for, network, program_of, monkeypatch, capturable, batch
):
    engine = Engine(program_of(batch), batch)
    device(monkeypatch, engine, capturable)
    opened = open_backend("tensorrt", bundle_for(**HERE))
    generator = np.random.default_rng(1)
    first, second = (generator.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(2))
    runs = engine.runs
    (one,) = opened.run([first], ["semantic", "depth", "normals", "edges"], [(64, 96)])
    (two,) = opened.run([second], ["depth"], [(64, 96)])
    assert engine.runs == runs + 2
    assert opened.batch_limit == batch
    # More than the engine takes at once are several runs, the last one padded.
    several = opened.run([first, second, first], ["depth"], [(64, 96)] * 3)
    assert engine.runs == runs + 2 + (3 if batch == 1 else 2)
    for found, alone in zip(several, (one, two, one), strict=True):
        np.testing.assert_allclose(found.outputs["depth"], alone.outputs["depth"], rtol=1e-5)
    assert list(two.outputs) == ["depth"]
    with torch.no_grad():
        expected = network(torch.from_numpy(first)[None])
    assert list(one.outputs) == output_names(network.tasks)
    for value, found in zip(expected, one.outputs.values(), strict=True):  # after the second frame
        assert found.dtype == value.numpy().dtype
        np.testing.assert_allclose(found, value[0].numpy(), rtol=1e-4, atol=1e-5)
    opened.close()
    with pytest.raises(RuntimeError, match="closed"):
        opened.run([first], ["depth"], [(64, 96)])


def test_bytes_that_are_no_engine_are_refused(bundle_for, monkeypatch):
    device(monkeypatch, None)
    assert "TensorRT 10.3.0 cannot load it" in refusal(bundle_for(**HERE))


def test_changed_bytes_are_refused_before_tensorrt_sees_them(bundle_for, monkeypatch):
    bundle = bundle_for(**HERE)
    (bundle.path / "model.engine").write_bytes(b"an_engine")
    device(monkeypatch, None)
    assert "was changed after the bundle was made" in refusal(bundle)


def test_an_engine_of_another_network_is_refused(bundle_for, program_of, monkeypatch):
    engine = Engine(program_of(1), 1)
    engine.shapes["output3"] = (1, 64, 96, 2)
    device(monkeypatch, engine)
    assert "gives 'normals' as float32 [1, 64, 96, 2]" in refusal(bundle_for(**HERE))
    del engine.shapes["output4"]
    engine.shapes["output3"] = (1, 64, 96, 3)
    assert "has no output 'edges'" in refusal(bundle_for(**HERE))
    engine.shapes["output4"] = engine.shapes["output5"] = (1, 64, 96)
    engine.kinds["output5"] = "FLOAT"
    assert "gives output5 besides what was promised" in refusal(bundle_for(**HERE))
