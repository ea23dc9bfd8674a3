"""One picture of what a network sees: a few fixed samples, prediction beside label."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densemtl_core import render
from densemtl_core.data.sample import Sample
from densemtl_core.models import DenseMTL
from densemtl_core.tasks import Task, decode

__all__ = ["label_array", "sample_panel"]


@torch.no_grad()
def sample_panel(model: DenseMTL, tasks: Sequence[Task], samples: Sequence[Sample], width: int = 256) -> render.Picture:
    """A row for each sample: the image, then for every task the prediction and, where there is one, the label.

    Args:
        model: left in the mode in which it came.
        tasks: the network's.
        samples: unbatched, of any sizes.
        width: of one picture, pixels.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    labelled = {task.name for task in tasks if any(task.name in s.labels for s in samples)}
    cells: list[tuple[str, render.Picture]] = []
    for sample in samples:
        raw = model(sample.image[None].to(device), intermediate=False)
        size = (sample.image.shape[-2], sample.image.shape[-1])
        full = {task.name: task.resize(raw[task.name][0].float(), size) for task in tasks}
        found = decode(tasks, full, None if sample.intrinsics is None else sample.intrinsics[None].to(device))
        cells.append((_fitted(sample.name, width), render.rgb(_last(sample.image))))
        for task in tasks:
            cells.append((task.name, task.paint(_last(found[task.name][0]))))
            if task.name in labelled:
                label = sample.labels.get(task.name)
                blank = np.zeros((*size, 3), np.uint8)
                cells.append((f"{task.name}: label", blank if label is None else task.paint(label_array(task, label))))
    model.train(training)
    return render.panel(cells, columns=1 + len(tasks) + len(labelled), width=width)


def _fitted(name: str, width: int) -> str:
    """A sample's name as a title: if it is too long, its end, which tells one frame of a drive from the next."""
    for cut in range(len(name)):
        title = f"...{name[cut:]}" if cut else name
        if cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] <= width - 12:
            return title
    return name[-1:]


def _last(x: Tensor) -> NDArray[np.generic]:
    """``(H, W)`` as it is, ``(C, H, W)`` with its channels last."""
    x = x.cpu()
    return x.numpy() if x.ndim == 2 else x.permute(1, 2, 0).numpy()


def label_array(task: Task, label: Tensor) -> NDArray[np.generic]:
    """A label as a sample stores it, as `Task.paint` takes it."""
    one = task.outputs()[0].channels == 1
    return _last(label[0] if one and label.ndim == 3 else label)
