"""Class-mix: objects of one picture, cut out along their outlines and put into another."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.data.sample import IGNORE_CLASS

__all__ = ["class_mask", "paste"]


def class_mask(ids: Tensor) -> Tensor:
    """Half of the classes of each image, drawn from the global generator (Olsson et al., 2021; Tranheden et al., 2021).

    Args:
        ids: ``(B, H, W)`` class ids, 255 = unlabelled, which is never drawn.

    Returns:
        ``(B, 1, H, W)`` bool.
    """
    masks = []
    for image in ids:
        present = image.unique()
        present = present[present != IGNORE_CLASS]
        # Drawn on the CPU, whose generator's state a checkpoint holds.
        chosen = torch.randperm(len(present))[: (len(present) + 1) // 2].to(ids.device)
        masks.append(torch.isin(image, present[chosen])[None])
    return torch.stack(masks)


def paste(mask: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """``source`` where the mask is true, else ``target``.

    Args:
        mask: ``(B, 1, H, W)`` bool.
        source: ``(B, C, H, W)``, or ``(B, H, W)`` class ids.
        target: the same shape.
    """
    return torch.where(mask if source.ndim == 4 else mask[:, 0], source, target)
