"""The pose network: how the camera moved between two frames; needed in training alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from densemtl_core.errors import InputError
from densemtl_core.models.encoder import Encoder

__all__ = ["PoseNetwork"]

SCALE = 0.01
"""Outputs start near no motion at all, from where small steps find the true one."""


class PoseNetwork(nn.Module):
    """The camera's motion from a frame to a later one.

    A backbone on both pictures at once, stacked in the order of time, and four convolutions, averaged over the picture
    (Zhou et al., 2017; Godard et al., 2019).

    Args:
        backbone: timm model name; published: ``resnet18``.
        width: channels of the convolutions.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str = "resnet18", width: int = 256) -> None:
        super().__init__()
        if not timm.is_model(backbone):
            raise InputError(f"unknown pose backbone {backbone!r}; give a timm name such as 'resnet18'")
        self.backbone = backbone
        self.body = timm.create_model(backbone, features_only=True, pretrained=False, in_chans=6, out_indices=(-1,))
        info: Any = self.body.feature_info
        self.decoder = nn.Sequential(
            nn.Conv2d(info.channels()[-1], width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 6, 1),
        )
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406) * 2).view(1, 6, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225) * 2).view(1, 6, 1, 1), persistent=False)

    def forward(self, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """Motion that takes points from the earlier frame's camera to the later one's.

        Args:
            earlier: ``(B, 3, H, W)`` RGB in [0, 1].
            later: the same.

        Returns:
            The rotation, ``(B, 3)`` axis times angle in radians, and the translation ``(B, 3)`` in the depth's unit.
        """
        pair = (torch.cat([earlier, later], dim=1) - self.mean) / self.std
        motion = SCALE * self.decoder(self.body(pair)[-1]).mean((2, 3))
        return motion[:, :3], motion[:, 3:]

    def load_backbone(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Take over a backbone that was trained on single pictures.

        Its first filters are repeated for the second picture and halved: two equal pictures give what one did.

        Args:
            state: a state dict with timm's or torchvision's names.
            origin: where it came from, for messages.

        Raises:
            InputError: the weights are of another architecture.
        """
        single = Encoder(self.backbone)
        single.load_backbone(dict(state), origin)
        own = self.body.state_dict()
        with torch.no_grad():
            for name, value in single.body.state_dict().items():
                fits = value.shape == own[name].shape
                own[name].copy_(value if fits else torch.cat([value, value], dim=1) / 2)
