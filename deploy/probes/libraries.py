"""Libraries that are there when their import succeeds: engines for the CPU, encoders, the maker of INT8."""

from __future__ import annotations

from deploy.finding import Finding
from deploy.machine import Machine

__all__ = ["probe_modelopt", "probe_onnxruntime", "probe_openvino", "probe_timm"]


def probe_timm(machine: Machine) -> Finding:
    """The encoders of the backend eager."""
    return _library(machine, "timm", "timm", "import timm", "pip install '.[eager]'")


def probe_onnxruntime(machine: Machine) -> Finding:
    """ONNX Runtime and its execution providers."""
    code = "import onnxruntime\nfacts = {'devices': onnxruntime.get_available_providers()}"
    return _library(machine, "onnxruntime", ("onnxruntime", "onnxruntime-gpu"), code, "pip install '.[cpu]'")


def probe_openvino(machine: Machine) -> Finding:
    """OpenVINO and its devices."""
    if machine.architecture not in ("x86_64", "AMD64") and not machine.version("openvino"):
        return Finding("openvino", "absent", "not installed; of use on x86 CPUs")
    code = "import openvino\nfacts = {'devices': openvino.Core().available_devices}"
    return _library(machine, "openvino", "openvino", code, "pip install '.[openvino]'")


def probe_modelopt(machine: Machine) -> Finding:
    """NVIDIA ModelOpt, which puts INT8 into a network for TensorRT (compile.py --int8)."""
    code = "import modelopt.torch.quantization"  # fails without two packages that it does not declare
    install = "pip install nvidia-modelopt==0.47.0 requests huggingface_hub"
    return _library(machine, "modelopt", "nvidia-modelopt", code, install, "; only for building INT8 for TensorRT")


def _library(
    machine: Machine, name: str, distributions: str | tuple[str, ...], code: str, remedy: str, use: str = ""
) -> Finding:
    """A library that is there when its import succeeds."""
    version = machine.version(*([distributions] if isinstance(distributions, str) else distributions))
    if not version:
        return Finding(name, "absent", f"not installed{use}", remedy)
    proof = machine.prove(code)
    if "error" in proof:
        return Finding(name, "broken", f"{version} does not import: {proof['error']}", remedy)
    devices = ", ".join(proof.get("devices", ()))
    return Finding(name, "ok", f"{version}{': ' if devices else ''}{devices}", facts={"version": version, **proof})
