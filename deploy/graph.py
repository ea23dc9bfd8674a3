"""The network as it is deployed: camera pixels in, predictions with units out, nothing left to do around it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densemtl_core.models import DenseMTL
from densemtl_core.models.folding import fold_batch_norm
from densemtl_core.tasks import Task, decode

__all__ = ["INPUT", "DeployedNetwork", "belongs_to", "example", "output_names"]

INPUT = "image"
"""Name of the one input."""


class DeployedNetwork(nn.Module):
    """Pixels to decoded outputs in one graph.

    Colours are scaled and normalised, heads enlarged to the image's size, classes chosen, depth turned into metres and
    normals into unit vectors inside: the engine uploads bytes once and gives back what a robot reads. Batch
    normalisation is folded into the convolutions.

    Args:
        model: the network; a folded copy is kept.
        tasks: its tasks in the order of the manifest.
    """

    def __init__(self, model: DenseMTL, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.network = fold_batch_norm(model.eval())
        # (x / 255 - m) / s is (x - 255 m) / (255 s): one pass over the picture less.
        self.network.mean, self.network.std = 255.0 * self.network.mean, 255.0 * self.network.std
        self.tasks = tuple(tasks)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Infer.

        Args:
            pixels: ``(B, H, W, 3)`` uint8 RGB, sides multiples of 32.

        Returns:
            As `output_names` lists them, ``(B, H, W)`` or ``(B, H, W, C)``. Depth of a task with a camera rule is the
            canonical camera's; the runtime applies the rule, because a graph knows no camera.
        """
        size = (pixels.shape[1], pixels.shape[2])
        # TensorRT moves no bytes around, only numbers: the cast comes first.
        raw = self.network(pixels.float().permute(0, 3, 1, 2), intermediate=False)
        coarse = {task.name: raw[task.name][0].float() for task in self.tasks}
        decoded = decode(self.tasks, {task.name: task.resize(coarse[task.name], size) for task in self.tasks})
        # What may be enlarged after decoding is decoded where the heads are, which costs a fraction: a softmax over all
        # classes takes longer than a fifth of the network. What is decoded twice and not used is not exported.
        cheap = decode(self.tasks, coarse)
        values = []
        for output in (output for task in self.tasks for output in task.outputs()):
            value = decoded[output.name]
            if output.resample == "linear" and output.channels == 1:
                value = Task.resize(cheap[output.name].unsqueeze(1), size).squeeze(1)
            values.append(value if output.channels == 1 else value.permute(0, 2, 3, 1))
        return tuple(values)


def output_names(tasks: Sequence[Task]) -> list[str]:
    """Names of what `DeployedNetwork` returns, in its order."""
    return [output.name for task in tasks for output in task.outputs()]


def example(size: tuple[int, int], batch: int = 1) -> Tensor:
    """Pixels to trace with, ``(batch, H, W, 3)`` uint8."""
    values = torch.arange(batch * size[0] * size[1] * 3) % 256
    return values.to(torch.uint8).view(batch, *size, 3)


def belongs_to(module: str, names: Sequence[str]) -> bool:
    """Whether a module is one of those named, or inside one: ``decoders.depth.merge8`` is inside ``decoders.depth``."""
    return any(module == name or module.startswith(name + ".") for name in names)
