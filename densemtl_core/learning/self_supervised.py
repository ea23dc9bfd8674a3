"""Depth from video alone: the picture itself is the label (Zhou et al., 2017; Godard et al., 2019).

If depth and motion are right, a neighbouring frame, fetched pixel by pixel, looks like this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from kornia.geometry.conversions import Rt_to_matrix4x4, axis_angle_to_rotation_matrix
from kornia.geometry.linalg import inverse_transformation
from kornia.losses import inverse_depth_smoothness_loss
from torch import Tensor
from torch.nn import functional as F

from densemtl_core.data.image_files import neighbour_label
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import warp
from densemtl_core.learning.objective import Objective
from densemtl_core.models.pose import PoseNetwork
from densemtl_core.tasks import DepthTask

__all__ = ["SelfSupervisedDepth", "photometric_error"]

SSIM_SHARE = 0.85
TIE_BREAK = 1e-5
"""Spread of the noise that decides between equal errors, of a picture that stands still, say."""


PUBLISHED_START = 0.2
"""Depth at which the published disparity starts (a sigmoid of 0, between 0.1 and 100), which the motion network's scale
of 0.01 was made for."""


class SelfSupervisedDepth(Objective):
    """Photometric error of the neighbouring frames, and smoothness, averaged over the depth heads.

    Each head's depth is enlarged to the picture's size; every pixel counts with the neighbour that fits it best, and
    not at all where a neighbour fits better unmoved (auto-masking: what moves along with the camera, or a camera that
    stands). Any depth encoding will do. ``disparity`` is the published one: it starts at 0.2, too near for motion in
    metres, and cannot come nearer than 0.1, where it gets stuck before the motion has grown to fit. ``log`` starts at
    10 and has no near end. The motion network's translation is multiplied by where the depth starts over 0.2, so that
    both begin in the published proportion.

    Args:
        task: the depth task whose outputs are trained.
        pose: tells the motion between two frames, and is trained along; depth is then known up to scale. None: the
            samples' own labels ``pose-1``, ... (odometry) tell it, and depth is metric.
        frames: the neighbours, -1 = the frame before.
        weight: of the whole objective.
        smoothness: weight of the smoothness of the finest head; halved from head to head.
        automask: see above.
        automask_from: training steps before the first auto-masking. Until the motion is roughly known, leaving out what
            a trial motion makes worse rewards any motion that improves some pixels, and a small sideways one is as good
            as the true one; with all pixels counting it is not.

    Raises:
        InputError: an argument is out of range.
    """

    steps: Tensor

    def __init__(
        self,
        task: DepthTask,
        pose: PoseNetwork | None,
        frames: Sequence[int] = (-1, 1),
        weight: float = 1.0,
        smoothness: float = 1e-3,
        automask: bool = True,
        automask_from: int = 0,
    ) -> None:
        super().__init__()
        if not frames or 0 in frames:
            raise InputError(f"self-supervised depth: frames {list(frames)} are no neighbours; use [-1, 1]")
        if weight < 0 or smoothness < 0:
            raise InputError(f"self-supervised depth: weight {weight} and smoothness {smoothness} must be >= 0")
        if automask_from < 0:
            raise InputError(f"self-supervised depth: automask_from {automask_from} must be >= 0 training steps")
        if pose is None and task.up_to_scale:
            raise InputError(f"task {task.name!r}: up_to_scale is true but known motion gives metres; set it false")
        self.task, self.pose, self.frames = task, pose, tuple(frames)
        self.weight, self.smoothness, self.automask = float(weight), float(smoothness), automask
        self.automask_from = automask_from
        start = task.metres(torch.zeros(()))
        self._stride = float(start) / PUBLISHED_START  # in depth's unit, of one unit of the motion network
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))  # in the state: a resumed run counts on

    def forward(self, outputs: Mapping[str, Sequence[Tensor]], batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a batch of frames with their neighbours.

        Args:
            outputs: holds the task's raw outputs, the finest first.
            batch: its image, ``image-1`` ... ``(B, 3, H, W)``, intrinsics, and ``pose-1`` ... if no network tells them.

        Returns:
            The total; ``photometric`` and ``smoothness``, whose weighted sum it is, and ``automasked``, the share of
            pixels that did not count for the finest head.

        Raises:
            InputError: the batch lacks neighbours, intrinsics or poses.
        """
        neighbours, K = self._require(batch)
        image = batch.image
        size = (image.shape[-2], image.shape[-1])
        pose = self._motions(image, neighbours, batch)
        scales = outputs[self.task.name]
        count = len(self.frames)
        # Coordinates of a wide picture do not fit into half precision.
        with torch.autocast(image.device.type, enabled=False):
            # All neighbours as one batch, the first frame's first.
            source, pose = torch.cat(neighbours).float(), pose.float()
            target = image.float().repeat(count, 1, 1, 1)
            K = K.to(image.device).float().repeat(count, 1, 1)
            still = None
            if self.automask and int(self.steps) >= self.automask_from:
                error = photometric_error(source, target)
                # Drawn from the global generator, whose state a checkpoint keeps.
                still = _best(error + TIE_BREAK * torch.randn_like(error), count)
            photometric, smooth, automasked = (image.new_zeros((), dtype=torch.float32) for _ in range(3))
            for scale, raw in enumerate(scales):
                raw = raw.float()
                depth = self.task.metres_through(self.task.resize(raw, size), K[: len(image)])
                warped, _ = warp(source, depth.repeat(count, 1, 1, 1), pose, K)
                error = _best(photometric_error(warped, target), count)
                if still is not None:
                    if scale == 0:
                        automasked = (still < error).float().mean()
                    error = torch.minimum(error, still)
                photometric = photometric + error.mean() / len(scales)
                roughness = _roughness(1 / self.task.metres(raw), image.float())
                smooth = smooth + self.smoothness / 2**scale * roughness / len(scales)
        if self.training:
            self.steps += 1
        parts = {"photometric": photometric.detach(), "smoothness": smooth.detach(), "automasked": automasked}
        return self.weight * (photometric + smooth), parts

    def _require(self, batch: Sample) -> tuple[list[Tensor], Tensor]:
        for k in self.frames:
            if neighbour_label(k) not in batch.labels:
                raise InputError(
                    f"{batch.name or 'a sample'} carries no {neighbour_label(k)}, which self-supervised depth "
                    f"compares with; set data.frames to {list(self.frames)}"
                )
        if batch.intrinsics is None:
            raise InputError(
                f"{batch.name or 'a sample'} has no camera intrinsics, without which self-supervised depth cannot "
                "project; use a data set with calibration"
            )
        return [batch.labels[neighbour_label(k)] for k in self.frames], batch.intrinsics

    def _motions(self, image: Tensor, neighbours: Sequence[Tensor], batch: Sample) -> Tensor:
        """``(frames * B, 4, 4)``, take points from this frame's camera to the first neighbour's, the second's, ..."""
        if self.pose is None:
            names = [f"pose{k:+d}" for k in self.frames]
            for name in names:
                if name not in batch.labels:
                    raise InputError(
                        f"{batch.name or 'a sample'} carries no {name}; learn the motion with a pose network"
                    )
            return torch.cat([batch.labels[name] for name in names])
        pairs = [(n, image) if k < 0 else (image, n) for k, n in zip(self.frames, neighbours, strict=True)]
        earlier, later = (torch.cat(pictures) for pictures in zip(*pairs, strict=True))
        axis_angle, translation = self.pose(earlier, later)
        translation = translation * self._stride
        forward = Rt_to_matrix4x4(axis_angle_to_rotation_matrix(axis_angle.float()), translation.float()[..., None])
        steps = forward.view(len(self.frames), -1, 4, 4)
        return torch.cat(
            [inverse_transformation(step) if k < 0 else step for k, step in zip(self.frames, steps, strict=True)]
        )


def photometric_error(prediction: Tensor, image: Tensor) -> Tensor:
    """How much two pictures differ: 85 % structure, 15 % colour (Godard et al., 2017).

    Structure is ``(1 - SSIM) / 2`` over plain 3x3 windows, mirrored at the border; colour is the absolute difference.

    Args:
        prediction: ``(B, C, H, W)`` in [0, 1], at least 2 x 2 pixels.
        image: the same.

    Returns:
        ``(B, 1, H, W)``, 0 where they are equal, at most 1.
    """
    # kornia's SSIM weights its window as a Gaussian; the published figure is a plain mean of nine.
    x, y = (F.pad(p, (1, 1, 1, 1), mode="reflect") for p in (prediction, image))
    mean_x, mean_y, xx, yy, xy = (F.avg_pool2d(p, 3, stride=1) for p in (x, y, x * x, y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    largest = (mean_x.square() + mean_y.square() + c1) * (xx - mean_x.square() + yy - mean_y.square() + c2)
    structure = ((1 - likeness / largest) / 2).clamp(0, 1).mean(1, keepdim=True)
    return SSIM_SHARE * structure + (1 - SSIM_SHARE) * (prediction - image).abs().mean(1, keepdim=True)


def _best(error: Tensor, count: int) -> Tensor:
    """``(count * B, 1, H, W)``, neighbour after neighbour, to the least of each pixel, ``(B, 1, H, W)``."""
    return error.view(count, -1, *error.shape[1:]).amin(0)


def _roughness(disparity: Tensor, image: Tensor) -> Tensor:
    """Edge-aware smoothness of ``(B, 1, h, w)`` inverse depth, which loses its scale first."""
    size = (disparity.shape[-2], disparity.shape[-1])
    small = image if image.shape[-2:] == size else F.interpolate(image, size, mode="bilinear", antialias=True)
    return inverse_depth_smoothness_loss(disparity / (disparity.mean((2, 3), keepdim=True) + 1e-7), small)
