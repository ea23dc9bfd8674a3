"""What a network needs to run on an NVIDIA GPU: driver, CUDA, torch, TensorRT and Torch-TensorRT."""

from __future__ import annotations

import json
import re
from typing import Any

from deploy.finding import Finding
from deploy.machine import Machine, shortened
from deploy.tensorrt_versions import MATCHES, match_of

__all__ = ["probe_cuda", "probe_gpu", "probe_tensorrt", "probe_torch", "probe_torch_tensorrt", "probe_trtexec"]

TORCH = """
import torch
facts = {"version": torch.__version__, "built_for": torch.version.cuda or "", "cuda": False}
if torch.cuda.is_available():
    gpu = torch.cuda.get_device_properties(0)
    facts.update(gpu=gpu.name, compute_capability=f"{gpu.major}.{gpu.minor}")
    facts.update(gpu_gib=round(gpu.total_memory / 2**30, 1))
    try:
        facts["cuda"] = float(torch.ones(8, device="cuda").sum().item()) == 8.0
    except Exception as error:
        facts["cuda_error"] = " ".join(str(error).split())
"""


def probe_gpu(machine: Machine) -> Finding:
    """NVIDIA driver and GPU: asked of PyTorch, where it is installed, else of the driver."""
    driver = re.search(r"Kernel Module\D*([\d.]+)", machine.read("/proc/driver/nvidia/version"))
    facts: dict[str, Any] = {"driver": driver[1]} if driver else {}
    if machine.version("torch"):
        proof = machine.prove(TORCH)
        facts.update({k: proof[k] for k in ("gpu", "compute_capability", "gpu_gib") if k in proof})
    if "gpu" not in facts:
        query = ("--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
        status, out, _ = machine.run("nvidia-smi", *query)
        values = [value.strip() for value in out.strip().partition("\n")[0].split(",")]
        if status == 0 and len(values) == 3:
            facts.update({k: v for k, v in zip(("gpu", "compute_capability", "driver"), values) if "N/A" not in v})  # noqa: B905
    if not machine.nvidia and not facts:
        return Finding("gpu", "absent", "no NVIDIA driver is loaded")
    labels = {"gpu": "{}", "compute_capability": "compute capability {}", "gpu_gib": "{} GiB", "driver": "driver {}"}
    named = {"gpu": "NVIDIA GPU of unknown name", **facts}
    detail = ", ".join(label.format(named[key]) for key, label in labels.items() if key in named)
    return Finding("gpu", "ok", detail, facts=facts)


def probe_cuda(machine: Machine) -> Finding:
    """CUDA toolkit. Wheels bring their own CUDA: only builds from source need it."""
    try:
        version = str(json.loads(machine.read("/usr/local/cuda/version.json"))["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        status, out, _ = machine.run(machine.program("nvcc", "/usr/local/cuda/bin") or "nvcc", "--version")
        found = re.search(r"release ([\d.]+)", out) if status == 0 else None
        version = found[1] if found else ""
    if version:
        return Finding("cuda", "ok", f"toolkit {version}", facts={"version": version})
    remedy = "sudo apt-get install nvidia-jetpack" if machine.jetson else ""
    return Finding("cuda", "absent", "no toolkit (wheels bring their own CUDA)", remedy)


def probe_tensorrt(machine: Machine) -> Finding:
    """TensorRT's Python module."""
    if not machine.version("tensorrt", "tensorrt-cu13", "tensorrt-cu12"):
        remedy = (
            "sudo apt-get install nvidia-jetpack, and a venv made with --system-site-packages" if machine.jetson else ""
        )
        return Finding("tensorrt", "absent", "no Python module tensorrt", remedy)
    proof = machine.prove("import tensorrt\nfacts = {'version': tensorrt.__version__}")
    if "error" in proof:
        return Finding("tensorrt", "broken", f"does not import: {proof['error']}", "install its libraries (libnvinfer)")
    return Finding("tensorrt", "ok", str(proof["version"]), facts=proof)


def probe_trtexec(machine: Machine) -> Finding:
    """TensorRT's engine builder."""
    path = machine.program("trtexec", "/usr/src/tensorrt/bin")
    if path:
        return Finding("trtexec", "ok", path)
    where = "neither on PATH nor in /usr/src/tensorrt/bin"
    return Finding("trtexec", "absent", where, "sudo apt-get install nvidia-jetpack" if machine.jetson else "")


def probe_torch(machine: Machine) -> Finding:
    """PyTorch, and whether a kernel runs on the GPU."""
    installed = machine.version("torch")
    if not installed:
        return Finding("torch", "absent", "not installed", _torch_remedy(machine))
    proof = machine.prove(TORCH)
    if "error" in proof:
        return Finding("torch", "broken", f"{installed} does not import: {proof['error']}", _torch_remedy(machine))
    built = f"built for CUDA {proof['built_for']}" if proof["built_for"] else "built for the CPU"
    detail = f"{proof['version']}, {built}"
    if proof["cuda"]:
        return Finding("torch", "ok", f"{detail}; the GPU computes", facts=proof)
    if "cuda_error" in proof:
        detail += f"; the GPU fails: {shortened(proof['cuda_error'])}"
        return Finding("torch", "ok", detail, "install a torch that is built for this GPU", proof)
    remedy = _torch_remedy(machine) if machine.nvidia else ""
    return Finding("torch", "ok", f"{detail}; no GPU to use", remedy, proof)


def probe_torch_tensorrt(machine: Machine) -> Finding:
    """Torch-TensorRT. Its import may raise anything; the versions that go together are in `MATCHES`."""
    torch = machine.version("torch")
    match = match_of(torch)
    partner = f"torch {torch or 'missing'}"
    if match:
        partner += f" goes with torch-tensorrt {match.torch_tensorrt} and TensorRT {match.tensorrt}"
    else:
        partner += f" has no match known here; torch {', '.join(MATCHES)} have"
    version = machine.version("torch-tensorrt")
    edition = version or machine.version("torch-tensorrt-rtx")
    remedy = ""
    if machine.jetson:
        remedy = "see docs/jetson.md: ONNX and trtexec first; torch-tensorrt must match torch and JetPack's TensorRT"
    elif machine.nvidia and match:
        remedy = f"pip install torch-tensorrt=={match.torch_tensorrt}"
    if not edition:
        why = partner if machine.nvidia else "not installed; of use only with an NVIDIA GPU"
        return Finding("torch_tensorrt", "absent", why, remedy)
    name = edition if version else f"{edition} (TensorRT-RTX edition: builds on a CPU, runs on RTX GPUs only)"
    proof = machine.prove("import torch_tensorrt\nfacts = {'version': torch_tensorrt.__version__}")
    if "error" in proof:
        if not machine.nvidia:
            why = f"installed, of use only with an NVIDIA GPU, and no NVIDIA driver is loaded ({proof['error']})"
            return Finding("torch_tensorrt", "no GPU", f"{name}: {why}")
        return Finding("torch_tensorrt", "broken", f"{name}: {proof['error']}; {partner}", remedy)
    return Finding("torch_tensorrt", "ok", name, facts=proof)


def _torch_remedy(machine: Machine) -> str:
    return "see docs/jetson.md: torch for this JetPack" if machine.jetson else "pip install '.[eager]'"
