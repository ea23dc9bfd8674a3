"""TensorRT on a machine without a GPU: the real front end and builder of TensorRT-RTX, for tests alone.

Torch-TensorRT asks for the GPU while it is imported, and TensorRT-RTX builds engines on the CPU but opens them on a GPU
alone. This module answers for what is missing. It changes torch for the whole process, so it is called only by
`engine_facts`, in processes that do nothing else.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch

__all__ = ["COMPUTE_CAPABILITY", "import_tensorrt"]

COMPUTE_CAPABILITY = (8, 6)
"""One for which TensorRT-RTX builds."""


def import_tensorrt() -> ModuleType:
    """``tensorrt``, as Torch-TensorRT uses it, on this machine."""
    if not torch.cuda.is_available():
        torch.cuda.get_device_capability = lambda *_, **__: COMPUTE_CAPABILITY
        torch.cuda.current_device = lambda: 0
        torch.cuda.mem_get_info = lambda *_: (1 << 34, 1 << 34)
        if not hasattr(torch._C, "_CudaDeviceProperties"):  # builds of torch without CUDA
            torch._C._CudaDeviceProperties = type("_CudaDeviceProperties", (), {})
    importlib.import_module("torch_tensorrt")
    tensorrt = importlib.import_module("tensorrt")
    if not torch.cuda.is_available():
        tensorrt.Runtime = _Runtime
    return tensorrt


class _Runtime:
    """Opens no engine: hands back the bytes that the builder wrote."""

    def __init__(self, logger: Any) -> None:
        pass

    def deserialize_cuda_engine(self, data: Any) -> _Unopened:
        return _Unopened(data)


class _Unopened:
    def __init__(self, data: Any) -> None:
        self._data = data

    def serialize(self) -> Any:
        return self._data

    def get_aliased_input_tensor(self, name: str) -> None:
        return None
