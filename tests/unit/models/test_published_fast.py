"""Where the benchmarks of the published network write, what they say of the machine, and which steps they leave out."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[3] / "docs/benchmarks"
NO_STEPS = {"steps": {}, "skipped": {}}


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Import a benchmark as if it lay in an empty folder."""

    def load(name: str):
        monkeypatch.syspath_prepend(str(FOLDER))
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "__file__", str(tmp_path / f"{name}.py"))
        monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
        return module

    return load


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")


@pytest.fixture
def published_fast(script, monkeypatch):
    module = script("published_fast")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)  # put back afterwards
    monkeypatch.setattr(module, "measure", lambda given: NO_STEPS)
    return module


def test_a_gpus_figures_have_a_file_of_their_own_and_its_name(published_fast, gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    published_fast.main(["--cuda", "--steps", "plain, folded", "float16"])
    assert [path.name for path in tmp_path.iterdir()] == ["published_fast_cuda.json"]
    record = json.loads((tmp_path / "published_fast_cuda.json").read_text())
    assert record["machine"]["processor"] == "A GPU"
    assert record["command"] == (
        "OMP_WAIT_POLICY=PASSIVE python docs/benchmarks/published_fast.py --cuda --steps 'plain, folded' float16"
    )


def test_the_command_is_what_was_typed(published_fast, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["published_fast.py", "--size", "64x64"])
    published_fast.main()
    record = json.loads((tmp_path / "published_fast.json").read_text())
    assert record["command"].endswith(" python docs/benchmarks/published_fast.py --size 64x64")
    published_fast.main(["--out", str(tmp_path / "other.json")])
    assert (tmp_path / "other.json").exists()


class TestMeasure:
    @pytest.fixture
    def measure(self, script, monkeypatch):
        module = script("published_fast")
        monkeypatch.setattr(module, "network", lambda preset, size: torch.nn.Identity())
        monkeypatch.setattr(module, "growth", lambda call, device: 0.0)
        # or this process's allocator would be another one for all tests that follow
        monkeypatch.setattr(module, "ctypes", SimpleNamespace(CDLL=lambda _: SimpleNamespace(mallopt=lambda *_: 1)))

        def run(errors: dict[str, Exception], steps: list[str]):
            def make_step(name, *_):
                if name in errors:
                    raise errors[name]
                return lambda: {"depth": torch.arange(4.0)}

            monkeypatch.setattr(module, "make_step", make_step)
            return module.measure(
                argparse.Namespace(cuda=False, size="32x32", preset="any", repeats=2, threads=1, steps=steps)
            )

        return run

    def test_without_the_plain_network_there_is_nothing_to_compare_with(self, measure):
        with pytest.raises(RuntimeError, match="no memory"):
            measure({"plain": RuntimeError("no memory")}, ["fused"])

    def test_every_step_that_is_left_out_has_its_reason(self, measure):
        errors = {"onnxruntime": ImportError("No module named 'onnxruntime'\nhint"), "float16": RuntimeError()}
        report = measure(errors, ["fused", "onnxruntime", "float16", "cuda graph float16"])
        assert list(report["steps"]) == ["plain", "fused"]
        assert report["skipped"] == {
            "onnxruntime": "No module named 'onnxruntime'",
            "float16": "RuntimeError",
            "cuda graph float16": "on a GPU only",
        }


@pytest.mark.parametrize(("device", "name"), [("cpu", "training_step.json"), ("cuda", "training_step_cuda.json")])
def test_a_training_steps_figures_on_a_gpu_have_a_file_of_their_own(script, gpu, monkeypatch, tmp_path, device, name):
    module = script("training_step")
    for part in ("peaks", "differences", "times", "attention_alone"):
        monkeypatch.setattr(module, part, lambda *_: {})
    monkeypatch.setattr(module, "TrainingStep", lambda *_: SimpleNamespace(run=print))
    monkeypatch.setattr(sys, "argv", ["training_step.py", "--device", device])
    module.main()
    assert [path.name for path in tmp_path.iterdir()] == [name]
