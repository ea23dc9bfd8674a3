"""INT8 in PyTorch: ModelOpt's quantisers around convolutions, for engines that are built from a PyTorch graph.

The scheme is TensorRT's: symmetric, a scale a channel for weights and one a tensor for activations, written into the
graph as explicit quantise and dequantise operators.
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from densemtl_core.errors import InputError
from deploy.graph import DeployedNetwork, belongs_to

__all__ = ["cpu_export", "quantised", "quantisers"]


def quantised(
    network: DeployedNetwork, frames: Sequence[NDArray[np.uint8]], keep: Sequence[str] = ()
) -> DeployedNetwork:
    """A copy that computes as if in INT8, with ranges read from frames.

    Args:
        network: in floating point; it stays as it is.
        frames: ``(H, W, 3)`` uint8 each, sides multiples of 32.
        keep: modules left in floating point, by the beginning of their name: ``exchange``, ``decoders.depth``. What is
            around the network (scaling of colours, decoding) always is.

    Raises:
        InputError: no frames, or ModelOpt is not installed.
    """
    if not frames:
        raise InputError(
            "INT8 needs calibration frames and got none; give --calibration a folder, a video or a rosbag2"
        )
    quantisation = _modelopt()
    device = next(network.parameters()).device
    copied = copy.deepcopy(network).eval()

    def read_ranges(_: nn.Module) -> None:
        for frame in frames:
            copied(torch.from_numpy(frame).unsqueeze(0).to(device))

    with _quiet(), torch.no_grad():
        # deep copies of its own, because the library edits what it is given
        quantisation.quantize(copied.network, copy.deepcopy(quantisation.INT8_DEFAULT_CFG), read_ranges)
        quantisation.disable_quantizer(copied.network, lambda name: belongs_to(name, keep))
    return copied


def quantisers(network: nn.Module) -> int:
    """How many tensors are rounded to INT8 on their way."""
    if "modelopt" not in sys.modules:
        return 0  # nothing was ever quantised; the import takes seconds
    from modelopt.torch.quantization.nn import TensorQuantizer

    return sum(isinstance(module, TensorQuantizer) and module.is_enabled for module in network.modules())


@contextlib.contextmanager
def cpu_export() -> Iterator[None]:
    """Within it, `torch.export` writes a quantiser as the one operator that Torch-TensorRT knows, on any device.

    ModelOpt does so for CUDA tensors only: for others it runs Python that asks for values, which a trace has not. What
    is exported runs on the CPU too, and gives bit by bit what the quantised network gives.
    """
    import modelopt.torch.quantization.tensor_quant as quantisation
    from modelopt.torch.quantization.utils import export_torch_mode

    in_python = quantisation._tensor_quant
    _give_operator_a_cpu_kernel(quantisation)

    def as_operator(
        values: Tensor, largest: Tensor, num_bits: int = 8, unsigned: bool = False, narrow_range: bool = True
    ) -> Any:
        return torch.ops.tensorrt.quantize_op(values, largest, num_bits, 0, unsigned, narrow_range)

    quantisation._tensor_quant = as_operator
    try:
        with export_torch_mode():
            yield
    finally:
        quantisation._tensor_quant = in_python


def _give_operator_a_cpu_kernel(quantisation: Any) -> None:
    """The operator has a CUDA kernel alone, and is run on the CPU too: constants are folded there.

    It stays: the library's own way round a missing kernel does not see an operator in an exported graph.
    """
    in_cuda, in_python = quantisation.fake_quant_impl, quantisation._tensor_quant
    if getattr(in_cuda, "of_any_device", False):
        return

    def kernel(
        inputs: Tensor, amax: Tensor, num_bits: int = 8, unsigned: bool = False, narrow_range: bool = True
    ) -> Any:
        how = in_cuda if inputs.is_cuda else in_python
        return how(inputs, amax, num_bits, unsigned, narrow_range)

    kernel.of_any_device = True  # type: ignore[attr-defined]
    quantisation.fake_quant_impl = kernel


def _modelopt() -> Any:
    """ModelOpt; it needs libraries that it does not declare, so that its own name in an error would mislead."""
    try:
        with _quiet():
            import modelopt.torch.quantization as quantisation
    except ImportError as error:
        raise InputError(
            f"INT8 for TensorRT needs {error.name or error}; install it with: pip install 'densemtl-core[tensorrt]'"
        ) from error
    return quantisation


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's tables and advice off the terminal."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
