"""Surface normals from metric depth."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.geometry.camera import unproject

__all__ = ["normals_from_depth"]


def normals_from_depth(depth: Tensor, K: Tensor) -> Tensor:
    """Normals of the surface that a depth map describes, by central differences of the unprojected points.

    Depth must be metric (an affine or inverse depth bends planes) and the intrinsics those of this very size.

    Args:
        depth: ``(B, 1, H, W)`` metres along z; NaN or inf = unknown.
        K: ``(B, 3, 3)`` in pixels of ``depth``.

    Returns:
        ``(B, 3, H, W)`` unit vectors in the optical frame that face the camera; NaN at the border and wherever the
        pixel's own depth or a neighbour's is unknown.
    """
    points = unproject(depth, K)
    normals = torch.full_like(points, torch.nan)
    across = points[..., 1:-1, 2:] - points[..., 1:-1, :-2]
    down = points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    vector = torch.linalg.cross(across, down, dim=1)
    # x right, y down: across x down points along +z, away from the camera
    facing = torch.where((vector * points[..., 1:-1, 1:-1]).sum(1, keepdim=True) > 0, -vector, vector)
    length = facing.norm(dim=1, keepdim=True)
    known = depth[..., 1:-1, 1:-1].isfinite() & length.isfinite() & (length > 0)
    inner = torch.where(known, facing / length, torch.nan)
    normals[..., 1:-1, 1:-1] = inner
    return normals
