"""The published network with its own weights, from the formulas written out to as fast as it can be.

    OMP_WAIT_POLICY=PASSIVE python docs/benchmarks/published_fast.py       # writes docs/benchmarks/published_fast.json
    python docs/benchmarks/published_fast.py --cuda                   # writes docs/benchmarks/published_fast_cuda.json

Every step is timed in one process, in turns, the order shifted by one each turn; its ratio is to the plain network of
the same turn. Outputs are compared with the plain network's: largest difference relative to the largest value,
signal-to-noise ratio (of the raw values' squares), and PSNR (of the values' range).

Weights are random, but such that every part has a say: batch normalisation has seen images of the street world,
residual branches do not start at zero, nor does alpha.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import json
import os
import platform
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import extra_peak, in_turns
from plain_exchange import plain_network
from torch import Tensor, nn

from densemtl_core.data.street import StreetWorld
from densemtl_core.models import DenseMTL, build_model
from densemtl_core.models.folding import fold_batch_norm
from densemtl_core.models.inference import prepare_for_inference

Outputs = dict[str, Tensor]
Call = Callable[[], Outputs]

TEXTS = {
    "plain": "the formulas written out: n x n matrix, two gating convolutions, a direction at a time",
    "plain, folded": "alone: batch normalisation folded",
    "plain, channels_last": "alone: channels together in memory",
    "plain, bfloat16": "alone: autocast",
    "fused": "the package's modules: attention without its matrix, one gating convolution",
    "folded": "and batch normalisation folded",
    "channels_last": "and channels together in memory",
    "rewritten": "and split merges, convolutions before enlarging, activations in place",
    "float32": "and, on a CPU, prepacked weights with ReLU inside: prepare_for_inference(model)",
    "autocast": "the step channels_last under autocast to bfloat16",
    "bfloat16": "prepare_for_inference(model, torch.bfloat16)",
    "float16": "prepare_for_inference(model, torch.float16)",
    "compiled float32": "the step rewritten through torch.compile, frozen",
    "compiled bfloat16": "the same in bfloat16",
    "compiled float16": "the same in float16",
    "onnxruntime": "the step folded, exported, ONNX Runtime",
    "openvino float32": "the step folded, exported, OpenVINO",
    "openvino bfloat16": "the same with the precision hint bf16",
    "openvino float16": "the same with the precision hint f16",
    "cuda graph float16": "the step float16 replayed as a CUDA graph",
}
CUDA_ONLY = {"cuda graph float16"}
CPU_ONLY = {"onnxruntime", "openvino float32", "openvino bfloat16", "openvino float16"}


def network(preset: str, warm_up: tuple[int, int]) -> DenseMTL:
    """Random weights of which every part has a say.

    Args:
        preset: with the published exchange.
        warm_up: ``(H, W)`` of the images that batch normalisation sees.
    """
    torch.manual_seed(0)
    model = build_model(preset, num_classes=19)
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            nn.init.uniform_(parameter, 0.5, 1.5)
        elif parameter.ndim == 1 and name.endswith("weight") and not parameter.any():
            nn.init.constant_(parameter, 0.5)  # the last normalisation of a residual branch
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all that was seen
    world = StreetWorld(seed=0, split="train", size=warm_up, style="mixed", length=8)
    with torch.no_grad():
        for k in (0, 4):
            model(world.batch(range(k, k + 4)).image)
    return model.eval()


def finals(network: nn.Module, image: Tensor) -> Outputs:
    """The final raw output a task."""
    return {task: raw[0] for task, raw in network(image, intermediate=False).items()}


class Exportable(nn.Module):
    """Outputs as a tuple, in the order of the network's tasks."""

    def __init__(self, network: DenseMTL) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``(1, 3, H, W)`` to raw outputs."""
        return tuple(finals(self.network, image).values())


def exported(model: DenseMTL, image: Tensor, path: Path) -> Path:
    """The folded network as ONNX."""
    program = torch.onnx.export(Exportable(fold_batch_norm(model)).eval(), (image,), dynamo=True, verbose=False)
    program.save(path, external_data=True)
    return path


def on_onnxruntime(path: Path, image: Tensor, tasks: tuple[str, ...], threads: int) -> Call:
    """The exported network on ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: {task: torch.from_numpy(a) for task, a in zip(tasks, session.run(None, feed), strict=True)}


def on_openvino(path: Path, image: Tensor, tasks: tuple[str, ...], threads: int, precision: str) -> Call:
    """The exported network on OpenVINO."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[precision],
    }
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    pixels = image.numpy()

    def call() -> Outputs:
        found = request.infer([pixels])
        return {task: torch.from_numpy(np.array(found[k])) for k, task in enumerate(tasks)}

    return call


def as_cuda_graph(network: nn.Module, image: Tensor) -> Call:
    """A frame recorded once and replayed without the host's launches."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            finals(network, image)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = finals(network, image)

    def call() -> Outputs:
        graph.replay()
        return found

    return call


def compiled(network: nn.Module, image: Tensor) -> Call:
    """Through torch.compile with weights as constants."""
    import torch._inductor.config as inductor

    if image.device.type == "cpu" and shutil.which("g++") is None:
        raise RuntimeError("torch.compile needs a C++ compiler; none found")
    inductor.freezing = True
    fast = torch.compile(network, dynamic=False)
    return lambda: finals(fast, image)


def make_step(name: str, model: DenseMTL, image: Tensor, threads: int, folder: Path) -> Call:
    """A step of `TEXTS`, ready to be called.

    Args:
        name: key of `TEXTS`.
        model: the trained network.
        image: ``(1, 3, H, W)``.
        threads: of the engines; PyTorch's are set already.
        folder: for the exported network.
    """
    together = torch.channels_last
    nearer = image.contiguous(memory_format=together)

    def autocast(network: nn.Module) -> Call:
        def call() -> Outputs:
            with torch.autocast(image.device.type, torch.bfloat16):
                found = finals(network, nearer)
            return {task: raw.float() for task, raw in found.items()}

        return call

    def eager(network: nn.Module, pixels: Tensor = image) -> Call:
        return lambda: finals(network, pixels)

    kind, _, precision = name.rpartition(" ")
    if name == "plain":
        return eager(plain_network(model))
    if name == "plain, folded":
        return eager(fold_batch_norm(plain_network(model)))
    if name == "plain, channels_last":
        return eager(copy.deepcopy(plain_network(model)).to(memory_format=together), nearer)
    if name == "plain, bfloat16":
        return autocast(plain_network(model))
    if name == "fused":
        return eager(model)
    if name == "folded":
        return eager(fold_batch_norm(model))
    if name in ("channels_last", "autocast"):
        network = fold_batch_norm(model).to(memory_format=together)
        return eager(network, nearer) if name == "channels_last" else autocast(network)
    if name == "rewritten":
        return eager(prepare_for_inference(model, prepacked=False), nearer)
    if name in ("float32", "bfloat16", "float16"):
        return eager(prepare_for_inference(model, getattr(torch, name)), nearer)
    if kind == "compiled":
        return compiled(prepare_for_inference(model, getattr(torch, precision), prepacked=False), nearer)
    if kind == "cuda graph":
        return as_cuda_graph(prepare_for_inference(model, getattr(torch, precision)), nearer)
    path = folder / "network.onnx"
    if not path.exists():
        exported(model, image, path)
    if name == "onnxruntime":
        return on_onnxruntime(path, image, model.tasks, threads)
    return on_openvino(path, image, model.tasks, threads, precision)


def compare(expected: Outputs, found: Outputs) -> dict[str, dict[str, float]]:
    """How far each output is from the plain network's."""
    table = {}
    for task, a in expected.items():
        difference = (found[task].float() - a).double()
        noise = max(float(difference.square().mean()), 1e-30)
        table[task] = {
            "relative": float(difference.abs().max() / a.abs().max()),
            "snr_dB": 10 * float(np.log10(float(a.double().square().mean()) / noise)),
            "psnr_dB": 10 * float(np.log10(float(a.max() - a.min()) ** 2 / noise)),
        }
    return table


def spread(values: list[float]) -> dict[str, float]:
    """Median and the 10th and 90th percentiles."""
    low, high = np.percentile(values, (10, 90))
    return {"median": statistics.median(values), "p10": float(low), "p90": float(high)}


def growth(call: Call, device: str) -> float:
    """MiB by which memory grows at most while ``call`` runs: the allocator's on CUDA, else the resident set."""
    if device == "cpu":
        return extra_peak(call)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All steps asked for."""
    device = "cuda" if given.cuda else "cpu"
    height, width = (int(side) for side in given.size.split("x"))
    model = network(given.preset, (min(height, 128), min(width, 256))).to(device)
    frame = StreetWorld(seed=1, split="val", size=(height, width), style="mixed", length=1).batch([0])
    image = frame.image.to(device)
    skipped, calls, found = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ["plain", *(step for step in given.steps if step != "plain")]:
            if name in (CPU_ONLY if given.cuda else CUDA_ONLY):
                skipped[name] = "on a CPU only" if given.cuda else "on a GPU only"
                continue
            try:
                call = make_step(name, model, image, given.threads, Path(folder))
                call()
                found[name] = {task: raw.float().clone() for task, raw in call().items()}
            except (ImportError, RuntimeError) as error:  # an engine that is missing, or a format it does not know
                if name == "plain":  # all others are compared with it
                    raise
                skipped[name] = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"{name}: skipped", flush=True)
                continue
            calls[name] = call
            print(f"{name}: ready", flush=True)
        times = in_turns(calls, given.repeats, torch.cuda.synchronize if given.cuda else lambda: None)
        if device == "cpu":  # from here on freed tensors go back to the system at once; it costs time
            ctypes.CDLL(None).mallopt(-3, 2**20)
        # engines and graphs keep the memory of a frame for the next one: nothing would grow
        peaks = {name: growth(call, device) for name, call in calls.items() if name not in CPU_ONLY | CUDA_ONLY}
    steps = {
        name: {
            "what": TEXTS[name],
            "seconds": spread(seconds),
            "of_plain": spread([own / plain for own, plain in zip(seconds, times["plain"], strict=True)]),
            "extra_peak_MiB": round(peaks[name], 1) if name in peaks else None,
            "outputs": compare(found["plain"], found[name]),
        }
        for name, seconds in times.items()
    }
    return {"preset": given.preset, "input": given.size, "repeats": given.repeats, "steps": steps, "skipped": skipped}


def main(arguments: list[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="densemtl_r101", help="any with the published exchange")
    parser.add_argument("--size", default="256x512", help="HxW, sides multiples of 32")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", nargs="+", default=list(TEXTS), choices=list(TEXTS), metavar="STEP")
    parser.add_argument("--cuda", action="store_true", help="on a GPU, with CUDA graphs")
    parser.add_argument("--out", type=Path, help="default: beside this script, published_fast[_cuda].json")
    given = parser.parse_args(arguments)
    if given.cuda and not torch.cuda.is_available():
        parser.error("--cuda: no GPU here")
    torch.set_num_threads(given.threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32
    with torch.no_grad():
        report = measure(given)
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    own = shlex.join(sys.argv[1:] if arguments is None else arguments)
    head = {
        "command": f"OMP_WAIT_POLICY={policy} python docs/benchmarks/published_fast.py {own}".rstrip(),
        "machine": {
            "processor": torch.cuda.get_device_name() if given.cuda else platform.machine(),
            "threads": given.threads,
            "torch": torch.__version__,
        },
    }
    out = given.out or Path(__file__).with_name(f"published_fast{'_cuda' if given.cuda else ''}.json")
    out.write_text(json.dumps(head | report, indent=1) + "\n")
    for name, step in report["steps"].items():
        outputs, ratio = step["outputs"].values(), step["of_plain"]
        relative, snr = max(o["relative"] for o in outputs), min(o["snr_dB"] for o in outputs)
        psnr = min(o["psnr_dB"] for o in outputs)
        print(
            f"{name:22s} {ratio['median']:.3f} of plain ({ratio['p10']:.3f}-{ratio['p90']:.3f})"
            f"  relative {relative:.1e}  SNR {snr:.1f} dB  PSNR {psnr:.1f} dB  extra peak {step['extra_peak_MiB']} MiB"
        )
    for name, reason in report["skipped"].items():
        print(f"{name:22s} skipped: {reason}")


if __name__ == "__main__":
    main()
