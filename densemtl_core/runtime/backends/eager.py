"""PyTorch as it is: the yardstick, and the fallback that needs no compiler."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from densemtl_core.models.densemtl import DenseMTL
from densemtl_core.models.description import ModelDescription
from densemtl_core.models.inference import prepare_for_inference
from densemtl_core.runtime.backends.base import RunResult, decoding_size, enlarge, stacked, working_size
from densemtl_core.runtime.bundle import Bundle
from densemtl_core.runtime.manifest import BundleError
from densemtl_core.tasks import Task, decode

__all__ = ["EagerBackend", "load"]

CUDA_BATCH = 8
"""Images that a GPU computes at once. On a CPU the first of several would wait for all, and little is gained."""


@contextmanager
def full_float32(device: str) -> Iterator[None]:
    """Convolutions in float32 as it is.

    On CUDA, PyTorch by default rounds their factors to TF32's ten bits (products of matrices it leaves alone): too
    coarse for what an engine in fp32 promises. The setting is the whole process's; it is put back.

    Args:
        device: torch device; nothing happens on any but CUDA.
    """
    if not device.startswith("cuda"):
        yield
        return
    # From PyTorch 2.9 on each operation has a setting of its own, and reading the old one fails where they differ.
    # `torch.backends.cudnn.flags` would also reset what it is not told, such as benchmark.
    place: Any = torch.backends.cudnn
    name: str = "allow_tf32"
    full: bool | str = False
    if hasattr(place, "conv"):
        place, name, full = place.conv, "fp32_precision", "ieee"
    before = getattr(place, name)
    setattr(place, name, full)
    try:
        yield
    finally:
        setattr(place, name, before)


class EagerBackend:
    """A `DenseMTL` network in evaluation mode with its tasks, in float32.

    On CUDA too: TF32, PyTorch's default for convolutions there, is off while the network runs (`full_float32`).

    Args:
        model: the network.
        tasks: its tasks, in any order.
        input_size: ``(H, W)`` at which it works.
        resize: the manifest's rule.
        device: torch device.
    """

    name = "eager"

    def __init__(
        self, model: DenseMTL, tasks: Sequence[Task], input_size: tuple[int, int], resize: str, device: str
    ) -> None:
        self.device = device
        self.batch_limit = CUDA_BATCH if device.startswith("cuda") else 1
        # weights prepacked for a CPU could not be moved to a GPU
        prepacked = False if device.startswith("cuda") else None
        self._model = prepare_for_inference(model.eval(), prepacked=prepacked).to(device)
        self._tasks = {task.name: task for task in tasks}
        self._input_size, self._resize = input_size, resize

    def working_size(self, image: tuple[int, int]) -> tuple[int, int]:
        """See `densemtl_core.runtime.backends.base.Backend`."""
        return working_size(image, self._input_size, self._resize)

    @torch.inference_mode()
    def run(
        self, images: Sequence[NDArray[Any]], tasks: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[RunResult]:
        """See `densemtl_core.runtime.backends.base.Backend`."""
        start = time.perf_counter()
        working = self.working_size((images[0].shape[0], images[0].shape[1]))
        pixels = torch.from_numpy(stacked(images, working)).to(self.device)
        pixels = pixels.permute(0, 3, 1, 2).float().div_(255.0)
        self._wait()
        loaded = time.perf_counter()
        with full_float32(self.device):
            raw = self._model(pixels, intermediate=False, wanted=tasks)
        self._wait()
        inferred = time.perf_counter()
        results = []
        for k, size in enumerate(sizes):
            begin = time.perf_counter()
            outputs = self._decode({name: raw[name][0][k : k + 1] for name in tasks}, size, working)
            seconds = {"preprocess": loaded - start, "infer": inferred - loaded}
            results.append(RunResult(outputs, seconds | {"postprocess": time.perf_counter() - begin}))
        return results

    def _decode(
        self, raw: Mapping[str, Tensor], size: tuple[int, int], working: tuple[int, int]
    ) -> dict[str, NDArray[Any]]:
        """Raw output ``(1, C, h, w)`` by task to arrays of one image, of ``size``, by output name."""
        decoding = decoding_size(size, working)
        # The reductions over classes that follow are several times faster with whole planes in memory.
        full = {name: Task.resize(value.contiguous(), decoding) for name, value in raw.items()}
        chosen = [self._tasks[name] for name in raw]
        decoded = decode(chosen, full)
        outputs = {}
        for output in (o for task in chosen for o in task.outputs()):
            value = decoded[output.name][0]
            array = (value if output.channels == 1 else value.permute(1, 2, 0)).contiguous().cpu().numpy()
            outputs[output.name] = enlarge(array, size, output.resample)
        return outputs

    def close(self) -> None:
        """Free the network."""
        del self._model
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _wait(self) -> None:
        # Only for the stage times; on a CPU nothing is pending.
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def _facts(output: Any) -> tuple[Any, ...]:
    return output.name, output.channels, output.dtype, output.unit, output.resample


def load(bundle: Bundle, threads: int | None) -> EagerBackend:
    """Build the network that ``model.json`` describes and fill in the weights."""
    if threads is not None:
        torch.set_num_threads(threads)
    origin = f"bundle {bundle.path}"
    description = ModelDescription.from_json(bundle.read("model.json"), origin)
    manifest = bundle.manifest
    for task in description.tasks:
        declared = manifest.tasks[task.name]
        if [_facts(o) for o in declared.outputs] != [_facts(o) for o in task.outputs()]:
            raise BundleError(f"{origin}: manifest.json and model.json disagree on the outputs of task {task.name!r}")
        if declared.camera != task.camera_rule():
            raise BundleError(
                f"{origin}: manifest.json says camera {dict(declared.camera)} for task {task.name!r}, model.json "
                f"{task.camera_rule()}; rebuild the bundle"
            )
    model = description.build(bundle.read("model.safetensors"), origin)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return EagerBackend(model, description.tasks, manifest.input_size, manifest.resize, device)
