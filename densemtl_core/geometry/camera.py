"""The pinhole camera in the optical frame: x right, y down, z forward (REP 103); pixel (0, 0) is a pixel's centre."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["intrinsics_matrix", "pixel_rays", "project", "scale_intrinsics", "unproject"]


def intrinsics_matrix(focal_x: float, focal_y: float, centre_x: float, centre_y: float) -> Tensor:
    """``(3, 3)`` float32 pinhole matrix, all in pixels."""
    return torch.tensor([[focal_x, 0.0, centre_x], [0.0, focal_y, centre_y], [0.0, 0.0, 1.0]])


def scale_intrinsics(K: Tensor, scale_x: float, scale_y: float) -> Tensor:
    """Intrinsics of a resized image.

    A resize maps the image's outer border to the image's outer border, so it is the corner of the first pixel at
    (-0.5, -0.5) that stays where it is, not its centre.

    Args:
        K: ``(..., 3, 3)`` in pixels of the original.
        scale_x: new width / old width.
        scale_y: new height / old height.
    """
    scaled = K.clone()
    scaled[..., 0, :2] = K[..., 0, :2] * scale_x
    scaled[..., 1, :2] = K[..., 1, :2] * scale_y
    scaled[..., 0, 2] = (K[..., 0, 2] + 0.5) * scale_x - 0.5
    scaled[..., 1, 2] = (K[..., 1, 2] + 0.5) * scale_y - 0.5
    return scaled


def pixel_rays(K: Tensor, size: tuple[int, int]) -> Tensor:
    """The ray through every pixel, scaled to z = 1.

    Args:
        K: ``(B, 3, 3)``.
        size: ``(H, W)``.

    Returns:
        ``(B, 3, H, W)``; depth times ray is the point that a pixel sees.
    """
    height, width = size
    y, x = torch.meshgrid(
        torch.arange(height, dtype=K.dtype, device=K.device),
        torch.arange(width, dtype=K.dtype, device=K.device),
        indexing="ij",
    )
    pixels = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    rays: Tensor = torch.linalg.inv(K) @ pixels
    return rays.view(-1, 3, height, width)


def unproject(depth: Tensor, K: Tensor) -> Tensor:
    """Depth to points.

    Args:
        depth: ``(B, 1, H, W)`` metres along z.
        K: ``(B, 3, 3)``.

    Returns:
        ``(B, 3, H, W)`` metres in the optical frame; NaN and inf where depth is.
    """
    return depth * pixel_rays(K, (depth.shape[-2], depth.shape[-1]))


def project(points: Tensor, K: Tensor) -> Tensor:
    """Points to pixels.

    Args:
        points: ``(B, 3, H, W)`` in the optical frame, z > 0.
        K: ``(B, 3, 3)``.

    Returns:
        ``(B, 2, H, W)``: x and y in pixels.
    """
    image: Tensor = (K @ points.flatten(2)).view_as(points)
    return image[:, :2] / image[:, 2:]
