"""A trained network in its fastest form: the same weights and numbers, fewer operations and passes over memory.

What `prepare_for_inference` changes, none of which training could use:

* batch normalisation is folded into the convolutions (`densemtl_core.models.folding`);
* the published exchange's last 1x1 convolution a direction reads two maps; what it makes of attention's result is
  computed where attention works, at 1/s, and only then enlarged: nearest-neighbour enlarging and a 1x1 convolution
  may trade places;
* in the published decoder, a 3x3 convolution over a map enlarged twofold becomes one over the map as it is
  (`densemtl_core.models.doubled`);
* maps lie in memory with their channels together (``channels_last``), and activations work in place;
* on a CPU, weights are brought into oneDNN's order once, and ReLU is computed with the convolution before it
  (`densemtl_core.models.prepacked`);
* optionally all but the picture's normalisation is computed in 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densemtl_core.errors import InputError
from densemtl_core.models.decoder import ConvBlock, TaskDecoder, UNetDecoder
from densemtl_core.models.densemtl import DenseMTL
from densemtl_core.models.doubled import DoubledBlock, DoubledHead, InPlaceBlock
from densemtl_core.models.exchange import CrossTaskAttention, CrossTaskExchange
from densemtl_core.models.folding import fold_batch_norm
from densemtl_core.models.prepacked import can_prepack, check_move, prepack_convolutions

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FORMATS", "InferenceNetwork", "prepare_for_inference"]

FORMATS = (torch.float32, torch.bfloat16, torch.float16)
"""Number formats in which a network may compute."""


class InferenceNetwork(nn.Module):
    """What `prepare_for_inference` gives: called like the `DenseMTL` it was made of, with the same results.

    Attributes:
        tasks: names, in the order of the outputs.
        dtype: the format in which it computes.
    """

    def __init__(self, network: DenseMTL, dtype: torch.dtype) -> None:
        super().__init__()
        self.tasks = network.tasks
        self.dtype = dtype
        self.network = network

    def forward(
        self, image: Tensor, intermediate: bool = False, wanted: Sequence[str] | None = None
    ) -> dict[str, list[Tensor]]:
        """Raw head outputs in float32.

        Args:
            image: ``(B, 3, H, W)`` float32 RGB in [0, 1], any size from 32 pixels a side.
            intermediate: also return the heads before the exchange.
            wanted: tasks whose outputs are computed to the end, all by default.

        Returns:
            As `DenseMTL.forward`.
        """
        with torch.no_grad():  # gradients would end at the first prepacked convolution, without a word
            raw: dict[str, list[Tensor]] = self.network(image, intermediate=intermediate, wanted=wanted)
            return {task: [output.float() for output in outputs] for task, outputs in raw.items()}

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode.

        Raises:
            RuntimeError: ``mode`` is true.
        """
        if mode:
            raise RuntimeError("a network prepared for inference cannot be trained: train the one that it was made of")
        return super().train(False)

    def _apply(self, move: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        check_move(self, move)  # first: what is refused must not leave half of the network elsewhere
        return super()._apply(move, recurse)  # type: ignore[no-untyped-call]


def prepare_for_inference(
    model: DenseMTL, dtype: torch.dtype = torch.float32, channels_last: bool = True, prepacked: bool | None = None
) -> InferenceNetwork:
    """A copy of a trained network, rewritten to be fast; the given one is not touched.

    The copy cannot be trained, and its state dict has other names than the model's. It stays on the model's device.
    Prepacked weights take as much memory again, and are packed anew for every size of input but the last two.

    On CUDA, float32 is what PyTorch makes of it: by default it rounds the factors of convolutions to TF32's ten bits
    where the GPU can. ``torch.backends.cudnn.allow_tf32 = False`` switches that off.

    Args:
        model: any preset, in evaluation mode, in float32.
        dtype: one of `FORMATS`. In float32, with TF32 off, outputs equal the model's up to rounding (1e-4 relative).
            ``bfloat16`` and ``float16`` are several times faster where the processor multiplies matrices in them
            (Intel's AMX, GPUs) and slower elsewhere; float16 is the finer of the two by three bits, but ends at 65504:
            values beyond it would come out wrong without a word. A picture of noise is tried; where others may drive
            the network farther, take bfloat16.
        channels_last: keep channels together in memory, which convolutions on CPUs and tensor cores prefer.
        prepacked: prepack the convolutions; by default wherever this PyTorch can, which is on CPUs with instructions
            for ``dtype``. The result cannot be moved, brought into another format or exported; say False for
            ``torch.compile``, which does it itself.

    Raises:
        InputError: a ``dtype`` that is not one of `FORMATS`; a model that is prepared already, is in training mode, or
            is not in float32; ``prepacked=True`` where it is impossible; float16 for a network whose values leave
            its range.

    Example:
        >>> fast = prepare_for_inference(model.eval(), torch.bfloat16)
        >>> with torch.inference_mode():
        ...     raw = fast(torch.rand(1, 3, 256, 512))
    """
    if dtype not in FORMATS:
        known = ", ".join(str(f).removeprefix("torch.") for f in FORMATS)
        raise InputError(f"prepare_for_inference: dtype {dtype}; use one of {known}")
    if not isinstance(model, DenseMTL):
        raise InputError(f"prepare_for_inference: {type(model).__name__} is no DenseMTL; give what build_model made")
    if model.training:
        raise InputError("prepare_for_inference: the model is in training mode; call model.eval() first")
    own = {parameter.dtype for parameter in model.parameters()}
    if own != {torch.float32}:
        raise InputError(f"prepare_for_inference: the model is in {', '.join(map(str, own))}; give it in float32")
    network = fold_batch_norm(model).requires_grad_(False)
    if type(network.exchange) is CrossTaskExchange:  # a variant derived from it may join in another way
        for directions in network.exchange.directions.values():
            for source, direction in directions.items():  # type: ignore[operator]
                directions[source] = SplitMerge(direction)  # type: ignore[operator]
    for task, decoder in network.decoders.items():
        if type(decoder) is UNetDecoder:
            network.decoders[task] = InferenceUNetDecoder(decoder)
    if dtype == torch.float16:
        _check_range(network)
    if dtype != torch.float32:
        mean, std = network.mean, network.std
        network.to(dtype)
        # Rounded constants would shift every colour; one pass over the picture in float32 costs nothing.
        network.mean, network.std = mean, std
        network.encoder = _Rounded(network.encoder, dtype)
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if prepacked is None:
        prepacked = channels_last and can_prepack(network.mean.device, dtype)
    elif prepacked and not can_prepack(network.mean.device, dtype):
        raise InputError(f"prepare_for_inference: no prepacked {dtype} on this {network.mean.device}; say False")
    if prepacked:
        prepack_convolutions(network)
    return InferenceNetwork(network, dtype).eval()


def _check_range(network: DenseMTL) -> None:
    """Refuse a network, still in float32, some value of which leaves float16's range on a picture of noise."""
    peaks: dict[str, Tensor] = {}

    def look(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                peaks[name] = output.abs().amax()

        return hook

    hooks = [module.register_forward_hook(look(name)) for name, module in network.named_modules() if name]
    noise = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0)).to(network.mean.device)
    try:
        with torch.no_grad():
            network(noise)
    finally:
        for hook in hooks:
            hook.remove()
    values = dict(zip(peaks, torch.stack(list(peaks.values())).tolist(), strict=True))
    limit = torch.finfo(torch.float16).max
    # The first to leave it: what comes after has it from there. NaN compares with nothing, and leaves it too.
    beyond = next((name for name, value in values.items() if not value <= limit), None)
    if beyond is not None:
        raise InputError(
            f"prepare_for_inference: {beyond} reaches {values[beyond]:.3g} on a picture of noise, and float16 ends at "
            f"{limit:.0f}; take torch.bfloat16"
        )


class SplitMerge(CrossTaskAttention):
    """A direction of the published exchange whose merging convolution is split in two.

    ``Conv1([self, alpha * up_s(a)]) = Conv1'(self) + up_s(Conv1''(a))``: the second part, two thirds of the products,
    at 1/s. Alpha is part of its weights.

    Args:
        direction: in evaluation mode, its batch normalisation folded.
    """

    def __init__(self, direction: CrossTaskAttention) -> None:
        nn.Module.__init__(self)
        self.downscale = direction.downscale
        self.extract, self.query = direction.extract, direction.query
        self.key, self.value = direction.key, direction.value
        self.gate = direction.gate
        merge: nn.Conv2d = direction.merge[0]  # type: ignore[assignment]
        half = merge.in_channels - merge.out_channels
        self.merge_gated = nn.Conv2d(half, merge.out_channels, 1, bias=False)
        self.merge_attended = nn.Conv2d(merge.out_channels, merge.out_channels, 1)
        with torch.no_grad():
            self.merge_gated.weight.copy_(merge.weight[:, :half])
            self.merge_attended.weight.copy_(merge.weight[:, half:] * direction.alpha)
            self.merge_attended.bias.copy_(merge.bias)  # type: ignore[union-attr, arg-type]

    def join(self, attended: Tensor, g: Tensor) -> Tensor:
        """See `CrossTaskAttention.join`."""
        gate, value = self.gate(g).chunk(2, dim=1)
        joined: Tensor = self.merge_gated(torch.sigmoid(gate).mul_(value))
        coarse, s = self.merge_attended(attended), self.downscale
        (height, width), (rows, columns) = joined.shape[-2:], coarse.shape[-2:]
        if (rows * s, columns * s) == (height, width):
            # every coarse value is added to its s x s cell: the enlarged map is never written
            cells = torch.unflatten(torch.unflatten(joined, 3, (columns, s)), 2, (rows, s))
            cells += coarse[:, :, :, None, :, None]
        else:
            joined += F.interpolate(coarse, size=(height, width), mode="nearest")
        return joined.relu_()


class InferenceUNetDecoder(TaskDecoder):
    """The published decoder without its enlarged maps.

    Args:
        decoder: in evaluation mode, its batch normalisation folded; modules are shared with it.
    """

    def __init__(self, decoder: UNetDecoder) -> None:
        super().__init__()
        self.exchange_channels = decoder.exchange_channels
        self.initial_head, self.side_heads = decoder.initial_head, decoder.side_heads
        squeeze: dict[str, ConvBlock] = {level: decoder.squeeze[level] for level in "3210"}  # type: ignore[misc]
        merge: dict[str, ConvBlock] = {level: decoder.merge[level] for level in "43210"}  # type: ignore[misc]
        self.squeeze = nn.ModuleDict({level: InPlaceBlock(block) for level, block in squeeze.items()})
        self.squeeze["4"] = decoder.squeeze["4"]
        # what a level squeezes its map to is also what it gives
        self.merge = nn.ModuleDict({k: DoubledBlock(merge[k], merge[k].conv.out_channels) for k in "4321"})
        self.final = DoubledHead(merge["0"], decoder.final_head)

    def before(self, features: Sequence[Tensor]) -> Tensor:
        """See `UNetDecoder.before`."""
        return self.stages(features)[0]

    def stages(self, features: Sequence[Tensor]) -> list[Tensor]:
        """See `UNetDecoder.stages`."""
        maps = [features[4]]
        for level in "4321":
            maps.append(self.merge[level](self.squeeze[level](maps[-1]), features[int(level) - 1]))
        return maps[::-1][: 1 + len(self.side_heads)]

    def after(self, x: Tensor, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """See `UNetDecoder.after`."""
        raw: Tensor = self.final(self.squeeze["0"](x), size)
        return raw


class _Rounded(nn.Module):
    """An encoder that computes in another format than its picture comes in."""

    def __init__(self, encoder: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.encoder, self.dtype = encoder, dtype

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.encoder(image.to(self.dtype))
        return features
