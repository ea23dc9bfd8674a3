"""Shadows: what the sun sees, on a raster of the ground that is finer near the camera."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.data.street.raycast import cast, corners, pixel_boxes
from densemtl_core.data.street.scene import COLUMN

__all__ = ["shadow_map", "sunlit"]

_WIDE = 40.0  # the raster reaches this far to each side of the camera, metres
_BACK, _LONG = 6.0, 110.0  # and from this far behind it over this length
_CEILING = 45.0  # nothing higher than this throws a shadow, metres
_OFFSET = 0.3  # shadows are looked up this far off the surface, so that the raster's grain does not speckle it


def _columns(x: Tensor, n: int) -> Tensor:
    """Raster column of a place ``x`` metres to the right: spaced by the square root of the distance."""
    return (x.sign() * (x.abs() / _WIDE).sqrt() + 1) * (n / 2) - 0.5


def _lines(z: Tensor, n: int) -> Tensor:
    """Raster line of a place ``z`` metres ahead."""
    return ((z + _BACK).clamp(min=0) / _LONG).sqrt() * n - 0.5


def shadow_map(table: Tensor, owner: Tensor, sun: Tensor, height: Tensor, size: tuple[int, int]) -> Tensor:
    """How far the sun's rays go before they meet a primitive.

    Args:
        table: ``(C, M)`` primitives, centres relative to their camera.
        owner: ``(M,)`` scene of each.
        sun: ``(B, 3)`` unit vector towards the sun.
        height: ``(B,)`` camera heights, metres.
        size: lines and columns of the raster.

    Returns:
        ``(B, lines, columns)`` distance from the ceiling along the sun's ray that ends in the middle of each cell on
        the ground; inf where it arrives.
    """
    lines, columns = size
    b, device = len(sun), table.device
    u = (torch.arange(columns, device=device) + 0.5) * (2 / columns) - 1
    v = (torch.arange(lines, device=device) + 0.5) / lines
    x, z = (u.abs() * u * _WIDE).expand(b, lines, columns), (v * v * _LONG - _BACK)[:, None].expand(b, lines, columns)
    sx, sy, sz = (sun[:, i, None, None] for i in range(3))
    reach = _CEILING / -sy
    start = torch.stack([x + sx * reach, height[:, None, None] + sy * reach + 0 * x, z + sz * reach])
    direction = torch.stack([-s.expand(b, lines, columns) for s in (sx, sy, sz)])

    lx, ly, lz = (sun[owner, i] for i in range(3))
    cx, cy, cz = corners(table)
    fall = (cy - height[owner]) / ly
    us, vs = _columns(cx - fall * lx, columns), _lines(cz - fall * lz, lines)
    boxes = pixel_boxes(us.amin(0), vs.amin(0), us.amax(0), vs.amax(0), size)
    # The backdrop is too far to throw a shadow that anybody sees.
    boxes[:, 2:] = torch.where((table[COLUMN["distant"]] > 0)[:, None], boxes[:, :2], boxes[:, 2:])
    return cast(table, owner, boxes, size, direction.reshape(3, -1), start.reshape(3, -1)).t.view(b, lines, columns)


def sunlit(shadow: Tensor, sun: Tensor, height: Tensor, point: Tensor, normal: Tensor) -> Tensor:
    """Share of the sun that arrives at visible points.

    Args:
        shadow: ``(B, lines, columns)`` from `shadow_map`.
        sun: ``(B, 3)`` unit vector towards the sun.
        height: ``(B,)`` camera heights.
        point: ``(B, 3, H, W)`` places relative to the camera, metres; finite.
        normal: ``(B, 3, H, W)`` unit surface normals.

    Returns:
        ``(B, H, W)`` in [0, 1]; soft at the outlines, 1 outside the raster.
    """
    b, lines, columns = shadow.shape
    x, y, z = (point + _OFFSET * normal).unbind(1)
    sx, sy, sz = (sun[:, i, None, None] for i in range(3))
    fall = (y - height[:, None, None]) / sy
    distance = _CEILING / -sy - fall - 0.1
    u, v = _columns(x - fall * sx, columns), _lines(z - fall * sz, lines)
    inside = (u > 0) & (u < columns - 1) & (v > 0) & (v < lines - 1)
    u, v = u.clamp(0, columns - 1.001), v.clamp(0, lines - 1.001)
    iu, iv = u.floor(), v.floor()
    fu, fv = u - iu, v - iv
    scene = torch.arange(b, dtype=torch.int32, device=x.device)[:, None, None]
    index = ((scene * lines + iv.int()) * columns + iu.int()).flatten()
    flat = shadow.flatten()
    light = torch.zeros_like(x)
    for step, weight in (
        (0, (1 - fu) * (1 - fv)),
        (1, fu * (1 - fv)),
        (columns, (1 - fu) * fv),
        (columns + 1, fu * fv),
    ):
        light = light + weight * (flat.index_select(0, index + step).view_as(x) >= distance).to(x.dtype)
    return torch.where(inside, light, torch.ones_like(light))
