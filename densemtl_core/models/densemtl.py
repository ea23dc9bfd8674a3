"""The network: a shared encoder, a decoder a task, and the exchange between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from densemtl_core.models.decoder import TaskDecoder

__all__ = ["DenseMTL"]


class DenseMTL(nn.Module):
    """Shared encoder, per-task decoders, cross-task exchange, heads.

    The parts keep small contracts, so that published and edge parts combine freely:

    * an encoder maps ``(B, 3, H, W)`` to a sequence of feature maps;
    * a decoder is a `TaskDecoder`;
    * the exchange maps task name to features, in and out.

    Args:
        encoder: the shared encoder.
        make_decoder: called with a task's channel count, and ``side_outputs`` where there are any, gives its decoder.
        make_exchange: called with the task names and the decoders' feature width, gives the exchange; None for a
            plain multi-task network.
        channels: task name to number of output channels; outputs follow this order.
        mean: of RGB in [0, 1].
        std: of RGB in [0, 1].
        side_outputs: task name to number of further heads on coarser maps; none where not named.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        make_decoder: Callable[..., TaskDecoder],
        make_exchange: Callable[[Sequence[str], int], nn.Module] | None,
        channels: Mapping[str, int],
        mean: Sequence[float],
        std: Sequence[float],
        side_outputs: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.tasks = tuple(channels)
        self.encoder = encoder
        # Made in alphabetical order: the same seed gives the same weights, however the tasks are listed.
        sides = {task: {"side_outputs": count} for task, count in (side_outputs or {}).items() if count}
        decoders = {task: make_decoder(channels[task], **sides.get(task, {})) for task in sorted(channels)}
        self.decoders = nn.ModuleDict(decoders)
        width = next(iter(decoders.values())).exchange_channels
        self.exchange = make_exchange(sorted(channels), width) if make_exchange else None
        # Not persistent: constants of the preset, not something training or a foreign checkpoint may change.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(
        self, image: Tensor, intermediate: bool | None = None, wanted: Sequence[str] | None = None
    ) -> dict[str, list[Tensor]]:
        """Raw head outputs.

        Args:
            image: ``(B, 3, H, W)`` RGB in [0, 1], any size from 32 pixels a side; the network normalises it itself.
            intermediate: also return the heads before the exchange; by default only in training mode.
            wanted: tasks whose outputs are computed to the end, all by default; the exchange still reads every task,
                so the results are the same as those of the full set.

        Returns:
            Task name to raw outputs, the final one first: ``(B, channels, h, w)`` where ``(h, w)`` is the image size
            for the final head of the published decoder and smaller elsewhere.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"image must be (B, 3, H, W) RGB in [0, 1], got shape {tuple(image.shape)}")
        if not image.is_floating_point():
            raise ValueError(f"image must be a float tensor, RGB in [0, 1], got {image.dtype}; divide bytes by 255")
        for task in wanted or ():
            if task not in self.tasks:
                raise ValueError(f"wanted names {task!r}; the network has {', '.join(self.tasks)}")
        if intermediate is None:
            intermediate = self.training
        size = (image.shape[-2], image.shape[-1])
        features = self.encoder((image - self.mean) / self.std)
        decoders: dict[str, TaskDecoder] = dict(self.decoders.items())  # type: ignore[arg-type]
        stages = {task: decoders[task].stages(features) for task in self.tasks}
        before = {task: maps[0] for task, maps in stages.items()}
        mixed = self.exchange(before) if self.exchange is not None else before
        wanted = self.tasks if wanted is None else wanted
        outputs = {task: [decoders[task].after(mixed[task], features, size)] for task in wanted}
        if intermediate:
            for task in wanted:
                outputs[task] += decoders[task].side_outputs(stages[task])
        return outputs
