from __future__ import annotations

import math

import torch

from densemtl_core.geometry import (
    intrinsics_matrix,
    normals_from_depth,
    pixel_rays,
    project,
    scale_intrinsics,
    unproject,
)

K = intrinsics_matrix(100.0, 120.0, 31.5, 23.5)[None].double()
SIZE = (48, 64)


def plane_depth(normal: torch.Tensor, distance: float, matrix: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Depth of the plane ``normal . p = -distance``, which faces the camera."""
    return -distance / (normal.view(1, 3, 1, 1) * pixel_rays(matrix, size)).sum(1, keepdim=True)


def test_the_central_ray_is_the_optical_axis():
    rays = pixel_rays(intrinsics_matrix(50, 50, 2, 1)[None], (3, 5))
    assert rays.shape == (1, 3, 3, 5)
    torch.testing.assert_close(rays[0, :, 1, 2], torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(rays[0, :, 1, 3], torch.tensor([1 / 50, 0.0, 1.0]))


def test_project_undoes_unproject():
    depth = torch.rand(1, 1, *SIZE, dtype=torch.float64) * 50 + 1
    pixels = project(unproject(depth, K), K)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    torch.testing.assert_close(pixels[0], torch.stack([x, y]).double())


def test_a_resized_camera_sees_the_same_rays():
    # the centre of every 2 x 2 block of pixels is the pixel of the halved image
    half = scale_intrinsics(K, 0.5, 0.5)
    blocks = torch.nn.functional.avg_pool2d(pixel_rays(K, SIZE), 2)
    torch.testing.assert_close(pixel_rays(half, (24, 32)), blocks)


def test_a_plane_has_one_normal_and_it_faces_the_camera():
    for vector in ([0.0, -1.0, -0.5], [0.3, 0.2, -1.0], [0.0, 0.0, -1.0]):
        normal = torch.nn.functional.normalize(torch.tensor(vector, dtype=torch.float64), dim=0)
        depth = plane_depth(normal, 3.0, K, SIZE)
        depth = torch.where(depth > 0, depth, torch.nan)
        found = normals_from_depth(depth, K)
        known = ~found.isnan().any(1)
        assert known.sum() > 500
        angle = torch.rad2deg(torch.acos((found.movedim(1, -1)[known] @ normal).clamp(-1, 1)))
        assert angle.max() < 1e-4


def test_unknown_depth_gives_unknown_normals_around_it():
    depth = torch.full((1, 1, 9, 9), 4.0, dtype=torch.float64)
    depth[0, 0, 4, 4] = math.nan
    depth[0, 0, 4, 6] = math.inf
    normals = normals_from_depth(depth, K)
    unknown = normals.isnan().any(1)[0]
    assert unknown[0].all()
    assert unknown[4, 3]
    assert unknown[4, 4]
    assert unknown[3, 4]
    assert unknown[4, 7]
    assert not unknown[2, 2]
