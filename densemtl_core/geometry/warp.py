"""Reprojection: one frame of a moving camera seen through the picture of another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from densemtl_core.geometry.camera import pixel_rays

__all__ = ["warp"]

NEAREST = 1e-3
"""Points nearer than this share of their own depth to the other camera's plane have no place in its picture."""


def warp(
    image: Tensor, depth: Tensor, pose: Tensor, K: Tensor, source_K: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Fetch, for every pixel of this frame, what another frame saw of the same point.

    Differentiable in all that is given. Exact for a rigid scene wherever the other camera saw the point, too.

    Args:
        image: ``(B, C, H', W')``, the other frame's picture, or anything else that lies on its pixels.
        depth: ``(B, 1, H, W)`` of this frame, metres along z; +inf (sky) only turns, NaN = unknown.
        pose: ``(B, 4, 4)``, takes points (metres) from this frame's camera to the other's.
        K: ``(B, 3, 3)`` intrinsics of this frame in pixels of ``depth``.
        source_K: those of the other frame in pixels of ``image``; the same when not given.

    Returns:
        The other picture on this frame's pixels, ``(B, C, H, W)``, bilinear, its border repeated beyond its view; and
        a bool mask ``(B, 1, H, W)``, true where the point is known, in front of the other camera and in its view.
    """
    source_K = K if source_K is None else source_K
    size = (depth.shape[-2], depth.shape[-1])
    rays = pixel_rays(K, size).flatten(2)
    # The point depth * ray, divided by its depth: the same pixel, and finite for the sky.
    known = depth.flatten(2) > 0  # false for NaN, which would also reach the pose's gradient
    nearness = torch.where(known, 1 / torch.where(known, depth.flatten(2), 1.0), 0.0)
    seen = source_K @ (pose[:, :3, :3] @ rays + pose[:, :3, 3:] * nearness)
    ahead = known & (seen[:, 2:] > NEAREST)
    x, y = (seen[:, :2] / torch.where(ahead, seen[:, 2:], 1.0)).unbind(1)
    height, width = image.shape[-2:]
    # A coordinate may miss the picture by rounding alone.
    slack = 1e-4
    inside = (x >= -slack) & (x <= width - 1 + slack) & (y >= -slack) & (y <= height - 1 + slack)
    valid = ahead & inside[:, None]
    # grid_sample's picture spans [-1, 1] from outer border to outer border, ours starts at the first pixel's centre.
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    # Far outside the value no longer matters, but infinities would turn into NaN gradients.
    grid = torch.where(ahead.movedim(1, -1), grid.clamp(-2, 2), -2.0).view(-1, *size, 2)
    warped = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped, valid.view(-1, 1, *size)
