"""Reprojection: analytic planes, the street world's exact geometry, mirrors, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.transforms import horizontal_flip
from densemtl_core.geometry import intrinsics_matrix, scale_intrinsics, warp

K = intrinsics_matrix(40.0, 50.0, 15.2, 11.4)[None].double()
SIZE = (24, 32)


def motion(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> torch.Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 0] = pose[2, 2] = math.cos(yaw)
    pose[0, 2], pose[2, 0] = math.sin(yaw), -math.sin(yaw)
    pose[:3, 3] = torch.tensor([x, y, z], dtype=torch.float64)
    return pose[None]


def pixels() -> torch.Tensor:
    """``(1, 2, H, W)``: every pixel holds its own x and y. Bilinear sampling of it gives exact coordinates."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in SIZE), indexing="ij")
    return torch.stack([x, y])[None]


def plane(depth: float) -> torch.Tensor:
    return torch.full((1, 1, *SIZE), depth, dtype=torch.float64)


class TestAPlane:
    def test_no_motion_is_the_picture_itself(self):
        image = torch.rand(1, 3, *SIZE, dtype=torch.float64)
        warped, valid = warp(image, plane(7.0), motion(), K)
        torch.testing.assert_close(warped, image)
        assert valid.all()

    def test_a_sideways_step_shifts_by_focal_over_depth(self):
        image = torch.rand(1, 3, *SIZE, dtype=torch.float64)
        # 3 pixels = 40 * x / 8
        warped, valid = warp(image, plane(8.0), motion(x=0.6), K)
        torch.testing.assert_close(warped[..., :-3], image[..., 3:])
        torch.testing.assert_close(warped[..., -3:], image[..., -1:].expand(-1, -1, -1, 3))
        assert valid[..., :-3].all()
        assert not valid[..., -3:].any()

    def test_a_step_back_is_a_zoom_about_the_principal_point(self):
        (found, valid), (x, y) = warp(pixels(), plane(10.0), motion(z=2.5), K), pixels()[0]
        torch.testing.assert_close(found[0, 0], 15.2 + (x - 15.2) * 0.8)
        torch.testing.assert_close(found[0, 1], 11.4 + (y - 11.4) * 0.8)
        assert valid.all()

    def test_a_picture_of_another_size_has_its_own_intrinsics(self):
        small = torch.nn.functional.avg_pool2d(pixels(), 2)
        found, valid = warp(small, plane(10.0), motion(z=2.5), K, scale_intrinsics(K, 0.5, 0.5))
        expected, _ = warp(pixels(), plane(10.0), motion(z=2.5), K)
        torch.testing.assert_close(found, expected)
        assert valid.all()

    def test_equals_kornia(self):
        theirs = pytest.importorskip("kornia.geometry.depth")
        depth = 5 + 10 * torch.rand(1, 1, *SIZE, dtype=torch.float64)
        image = torch.rand(1, 3, *SIZE, dtype=torch.float64)
        pose = motion(0.2, -0.1, 0.3, yaw=0.05)
        found, valid = warp(image, depth, pose, K)
        expected = theirs.warp_frame_depth(image, depth, pose, K)
        assert valid.float().mean() > 0.8
        torch.testing.assert_close(found[valid.expand_as(found)], expected[valid.expand_as(found)])


class TestPixelsWithoutAPlace:
    def test_the_sky_turns_but_does_not_shift(self):
        turned, _ = warp(pixels(), plane(math.inf), motion(yaw=0.1), K)
        both, _ = warp(pixels(), plane(math.inf), motion(x=5.0, z=3.0, yaw=0.1), K)
        torch.testing.assert_close(turned, both)
        middle = warp(pixels(), plane(1e9), motion(x=5.0, yaw=0.1), K)[0]
        torch.testing.assert_close(middle, both, rtol=0, atol=1e-5)

    def test_unknown_depth_and_points_behind_are_not_valid(self):
        depth = plane(5.0)
        depth[..., 0, :] = math.nan
        depth[..., 1, :] = 1.0
        warped, valid = warp(pixels(), depth, motion(z=-2.0), K)
        assert not valid[..., :2, :].any()
        assert valid[0, 0, 12, 15]
        assert warped.isfinite().all()

    def test_they_leave_the_gradients_of_the_others_alone(self):
        depth = plane(5.0)
        depth[..., 0, :], depth[..., 1, :], depth[..., 2, :] = math.nan, 1.0, math.inf
        depth.requires_grad_()
        pose = motion(z=-2.0).requires_grad_()
        warped, valid = warp(pixels(), depth, pose, K)
        (warped * valid).sum().backward()
        assert pose.grad.isfinite().all()
        assert depth.grad[..., 3:, :].isfinite().all()
        assert depth.grad[..., 10, 14].abs() > 0
        assert not depth.grad[..., 1:3, :].any()


def test_gradcheck():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 2, 5, 6, dtype=torch.float64, generator=generator).requires_grad_()
    depth = (4 + torch.rand(1, 1, 5, 6, dtype=torch.float64, generator=generator)).requires_grad_()
    pose = motion(0.13, -0.07, 0.11, yaw=0.02).requires_grad_()
    matrix = intrinsics_matrix(6.0, 6.0, 2.6, 2.1)[None].double()
    assert torch.autograd.gradcheck(lambda i, d, p: warp(i, d, p, matrix)[0], [image, depth, pose])


@pytest.fixture(scope="module")
def drive() -> Sample:
    return StreetWorld(seed=3, size=(96, 192), style="sim", frames=(-1, 1)).batch(range(3))


class TestStreet:
    @pytest.mark.parametrize("name", ["-1", "+1"])
    def test_true_depth_and_pose_make_the_neighbour_look_like_this_frame(self, drive, name):
        other, pose, depth = drive.labels["image" + name], drive.labels["pose" + name], drive.labels["depth"]
        # what stands still, has edges, and is near enough to shift: traffic drives on its own, asphalt is plain
        standing = torch.isin(drive.labels["semantic"], torch.tensor([2, 3, 4, 5, 6, 7, 8]))[:, None] & (depth < 20)

        def error(depth: torch.Tensor, pose: torch.Tensor) -> float:
            warped, valid = warp(other, depth, pose, drive.intrinsics)
            return float((warped - drive.image).abs().mean(1, keepdim=True)[valid & standing].mean())

        right = error(depth, pose)
        assert right < 0.4 * error(depth, torch.eye(4).expand_as(pose))
        assert right < 0.3 * error(depth, torch.linalg.inv(pose))
        assert right < 0.8 * error(1.5 * depth, pose)
        assert right < 0.8 * error(depth / 1.5, pose)

    def test_a_mirrored_sample_gives_the_mirrored_warp(self, drive):
        mirrored = horizontal_flip(drive)
        one, seen = warp(drive.labels["image+1"], drive.labels["depth"], drive.labels["pose+1"], drive.intrinsics)
        two, seen_too = warp(
            mirrored.labels["image+1"], mirrored.labels["depth"], mirrored.labels["pose+1"], mirrored.intrinsics
        )
        assert (seen == seen_too.flip(-1)).float().mean() > 0.999
        both = (seen & seen_too.flip(-1)).expand_as(one)
        torch.testing.assert_close(one[both], two.flip(-1)[both], rtol=0, atol=2e-3)
        assert (drive.labels["pose+1"] != mirrored.labels["pose+1"]).any()
