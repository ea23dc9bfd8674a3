"""A network that tells simulator from real by a prediction; needed in training alone."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from densemtl_core.errors import InputError

__all__ = ["PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """Five 4x4 convolutions of stride 2, spectrally normalised, on a picture that is mirrored half of the time.

    Published: widths 64, 128, 256, 512, 1 (2.8 M parameters), leaky ReLU of slope 0.2 between (paper's release).

    Args:
        channels: of its input.
        width: of the first convolution; the next three double it. A narrow network that looks for small things is
            judged well enough by 16, at a sixteenth of the cost.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"a discriminator of width {width}: it must be at least 1 (published: 64)")
        widths = [channels, width, 2 * width, 4 * width, 8 * width, 1]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)) for inputs, outputs in pairwise(widths)
        )

    def forward(self, picture: Tensor) -> Tensor:
        """Judge patches.

        Args:
            picture: ``(B, channels, H, W)``, at least 32 x 32 pixels.

        Returns:
            ``(B, 1, H / 32, W / 32)`` logits; positive = real.
        """
        if self.training:
            mirror = torch.rand(len(picture), 1, 1, 1, device=picture.device) < 0.5
            picture = torch.where(mirror, picture.flip(-1), picture)
        *body, last = self.layers
        for layer in body:
            picture = F.leaky_relu(layer(picture), 0.2)
        verdict: Tensor = last(picture)
        return verdict
