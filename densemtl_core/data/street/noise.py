"""Tileable noise with mip levels, read with one lookup a pixel (or four, where its texels would show)."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["lookup", "smooth"]

_LEVELS = 10  # 512, 256, ... 1 texels
_LENGTH = sum(4**level for level in range(_LEVELS))  # texels of all of them


def _octaves(weights: list[float], generator: torch.Generator) -> Tensor:
    """Sum of smooth tileable noises of 4, 8, ... 512 cells across 512 texels: mean 0.5, within [0, 1]."""
    total = torch.zeros(512, 512, dtype=torch.float64)
    for level, weight in enumerate(weights):
        cells = 4 << level
        grid = torch.rand(cells, cells, generator=generator, dtype=torch.float64)[None, None]
        if cells < 512:
            grid = F.pad(grid, (2, 2, 2, 2), mode="circular")
            scale = 512 // cells
            big = F.interpolate(grid, scale_factor=float(scale), mode="bicubic", align_corners=False)
            grid = big[..., 2 * scale : 2 * scale + 512, 2 * scale : 2 * scale + 512]
        total += weight * (grid[0, 0] - 0.5)
    return (0.5 + 0.2 * (total - total.mean()) / total.std()).clamp(0, 1)


@lru_cache(maxsize=8)
def _table(device: torch.device) -> tuple[Tensor, Tensor]:
    """Both noises with all mip levels in one flat tensor, and where each level starts."""
    generator = torch.Generator().manual_seed(20)
    cloudy = _octaves([1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08], generator)
    grainy = _octaves([0.0, 0.0, 0.0, 0.1, 0.3, 0.6, 0.8, 1.0], generator)
    flat, starts, start = [], [], 0
    for base in (cloudy, grainy):
        level = base[None, None]
        for _ in range(_LEVELS):
            starts.append(start)
            flat.append(level.flatten())
            start += level.numel()
            if level.shape[-1] > 1:
                level = F.avg_pool2d(level, 2)
    return torch.cat(flat).float().to(device), torch.tensor(starts, dtype=torch.int32).to(device)


def lookup(u: Tensor, v: Tensor, footprint: Tensor | None, grain: bool) -> Tensor:
    """Noise at (u, v).

    Args:
        u: first coordinate in texels; the noise repeats every 512.
        v: second coordinate in texels.
        footprint: size of a pixel in texels; larger ones read a blurred level instead of flickering. None: 0.
        grain: fine-grained noise instead of cloudy noise.

    Returns:
        Values in [0, 1] of mean 0.5, shaped like ``u``.
    """
    table, starts = _table(u.device)
    iu, iv = torch.floor(u).int() & 511, torch.floor(v).int() & 511
    if footprint is None:
        index = (iv << 9) + (iu + _LENGTH * grain)
    else:
        # A float's exponent bits are the floor of its logarithm.
        exponent = (footprint.clamp(1.0, 256.0).view(torch.int32) >> 23) - 127
        start = (starts[_LEVELS:] if grain else starts[:_LEVELS]).index_select(0, exponent.flatten())
        index = ((iv >> exponent) << (9 - exponent)) + (iu >> exponent) + start.view(exponent.shape)
    # `index_select` is several times faster than indexing, here and all over the street world.
    return table.index_select(0, index.flatten()).view(index.shape)


def smooth(u: Tensor, v: Tensor, footprint: Tensor, grain: bool) -> Tensor:
    """Like `lookup`, bilinear between texels: for what is magnified so much that texels would show."""
    u, v = u - 0.5, v - 0.5
    iu, iv = u.floor(), v.floor()
    fu, fv = u - iu, v - iv
    above = lookup(iu, iv, footprint, grain) * (1 - fu) + lookup(iu + 1, iv, footprint, grain) * fu
    below = lookup(iu, iv + 1, footprint, grain) * (1 - fu) + lookup(iu + 1, iv + 1, footprint, grain) * fu
    return above * (1 - fv) + below * fv
