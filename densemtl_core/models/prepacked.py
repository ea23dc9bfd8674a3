"""Convolutions whose weights lie in oneDNN's own order, with their activation inside.

PyTorch on a CPU brings a convolution's weights into oneDNN's order at every call: 240 MB a frame for the published
network in 16 bits. These do it once. An activation or a residual sum that follows is computed while the result is still
in the processor's cache. Numbers stay the same, to the last bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PrepackedConvolution", "PrepackedResidual", "can_prepack", "check_move", "prepack_convolutions"]

KEPT = 2
"""Sizes of input for which a convolution keeps packed weights: two kinds of cameras may take turns."""


def can_prepack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this PyTorch has prepacked convolutions on the device, and this processor in the number format."""
    return device.type == "cpu" and _packs(dtype)


@cache
def _packs(dtype: torch.dtype) -> bool:
    found = torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name)
        for name in ("_reorder_convolution_weight", "_convolution_pointwise", "_convolution_pointwise_")
    )
    if not found:
        return False
    # Only oneDNN knows for which formats the processor has the instructions, and it says so by refusing.
    conv = nn.utils.skip_init(nn.Conv2d, 1, 1, 1, device="cpu", dtype=dtype)  # type: ignore[no-untyped-call]
    try:
        with torch.no_grad():
            PrepackedConvolution(conv)(torch.zeros(1, 1, 1, 1, device="cpu", dtype=dtype))
    except RuntimeError:
        return False
    return True


class PrepackedConvolution(nn.Module):
    """A convolution, and ReLU or ReLU6 where it is followed by one.

    Which order is best depends on the input's size, so the weights are packed when one is first seen, and kept for the
    last `KEPT` of them. They are packed anew when the weights were changed in place, except through ``.data`` or where
    they were made in inference mode, which leaves no trace. The convolution cannot leave the CPU or change its number
    format (`check_move`), and gradients do not pass it.

    Args:
        conv: zero-padded, on the CPU.
        activation: ``nn.ReLU`` or ``nn.ReLU6``; None for none.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.name = {nn.ReLU: "relu", nn.ReLU6: "hardtanh"}[type(activation)] if activation else "none"
        self.limits = [0.0, 6.0] if self.name == "hardtanh" else []
        self.geometry = [list(value) for value in (conv.padding, conv.stride, conv.dilation)]
        self.groups = conv.groups
        self._packed: dict[torch.Size, tuple[tuple[int, int], Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H', W')``, channels together in memory."""
        convolved: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight_for(x), self.bias, *self.geometry, self.groups, self.name, self.limits, ""
        )
        return convolved

    def add(self, x: Tensor, other: Tensor, relu: bool = False) -> Tensor:
        """The convolution of ``x`` plus ``other``, and ReLU of the sum if asked.

        Args:
            x: ``(B, inputs, H, W)``.
            other: ``(B, outputs, H', W')``, channels together in memory.
            relu: whether ReLU follows.
        """
        after = "relu" if relu else None
        summed: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x, other, self._weight_for(x), self.bias, *self.geometry, self.groups, "add", None, after, [], ""
        )
        return summed

    def _weight_for(self, x: Tensor) -> Tensor:
        weight = self.weight
        # where the numbers lie and how often they were written; tensors made in inference mode do not count that
        state = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        kept = self._packed.get(x.shape)
        if kept is not None and kept[0] == state:
            return kept[1]
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            weight.detach(), *self.geometry, self.groups, list(x.shape)
        )
        # A new dictionary: another thread may be reading the old one.
        fresh = [(shape, entry) for shape, entry in self._packed.items() if entry[0] == state]
        self._packed = dict([*fresh, (x.shape, (state, packed))][-KEPT:])
        return packed

    # What is packed is a copy: it goes when the weights change, and does not travel.

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._packed = {}
        super()._load_from_state_dict(*arguments)

    def _apply(self, *arguments: Any, **options: Any) -> Self:
        self._packed = {}
        return super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": {}}


class PrepackedResidual(nn.Module):
    """A residual block of a ResNet: its last convolution adds to the shortcut.

    Args:
        block: in evaluation mode, its batch normalisation folded and its convolutions prepacked.
    """

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        *first, last = [getattr(block, name) for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
        self.first = nn.Sequential(*(PrepackedConvolution(conv, nn.ReLU()) for conv in first))
        self.last = PrepackedConvolution(last)
        self.shortcut = block.downsample

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H', W')``."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return self.last.add(self.first(x), shortcut, relu=True)


def prepack_convolutions(network: nn.Module) -> None:
    """Replace, in place, the convolutions of a network on the CPU, and the activations that directly follow them.

    Args:
        network: in evaluation mode, its batch normalisation folded (`fold_batch_norm`), in its final number format.
    """
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if _is_plain_residual(child):
                setattr(module, name, PrepackedResidual(child))  # type: ignore[arg-type]
    for module in list(network.modules()):
        children = [(n, m) for n, m in module.named_children() if not _is_empty(m)]
        for (name, conv), (after, follower) in itertools.zip_longest(children, children[1:], fillvalue=("", None)):
            if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
                continue
            activation = _activation(follower) if _follows(module, name, after) else None
            setattr(module, name, PrepackedConvolution(conv, activation))
            if activation is not None:
                setattr(module, after, nn.Identity())


def check_move(network: nn.Module, move: Callable[[Tensor], Tensor]) -> None:
    """Refuse to take prepacked convolutions off the CPU or into another number format, before any tensor has moved.

    Args:
        network: with or without prepacked convolutions, which are all of one number format.
        move: what ``nn.Module._apply`` is about to do to every parameter.

    Raises:
        RuntimeError: oneDNN could not compute with the result, and would only say so at the next call, in its terms.
    """
    conv = next((module for module in network.modules() if isinstance(module, PrepackedConvolution)), None)
    if conv is None:
        return
    here = conv.weight
    there = move(torch.empty(1, dtype=here.dtype, device=here.device))
    if (there.device, there.dtype) != (here.device, here.dtype):
        raise RuntimeError(
            f"the network is prepacked for a CPU in {here.dtype} and cannot become {there.dtype} on {there.device}: "
            "move the model before prepare_for_inference and give it the dtype, or say prepacked=False"
        )


def _is_empty(module: nn.Module) -> bool:
    # what folding leaves of a batch normalisation without activation is an empty nn.Sequential
    return isinstance(module, nn.Identity) or (isinstance(module, nn.Sequential) and len(module) == 0)


def _is_plain_residual(block: nn.Module) -> bool:
    """A ResNet block as in the paper: without attention of its own, dropped paths or blurred strides."""
    if type(block) not in (BasicBlock, Bottleneck) or block.se is not None or block.drop_path is not None:
        return False
    parts = dict(block.named_children())
    plain = all(_is_empty(parts[name]) for name in parts if name[:2] in ("bn", "aa", "dr"))
    return plain and all(isinstance(parts[name], nn.ReLU) for name in parts if name.startswith("act"))


def _follows(module: nn.Module, name: str, after: str) -> bool:
    """Whether a child's result goes straight to the next one: the rule of `fold_batch_norm`, and timm's stems."""
    if isinstance(module, nn.Sequential):
        return True
    stem = isinstance(module, nn.ModuleDict) and after.startswith("act")
    return name.startswith("conv") and (after.startswith("bn") or stem)


def _activation(module: nn.Module | None) -> nn.Module | None:
    """The ReLU or ReLU6 that a module is, or that is all it holds."""
    if isinstance(module, nn.Sequential) and len(module) == 1:
        module = module[0]
    return module if type(module) in (nn.ReLU, nn.ReLU6) else None
