"""Source pictures in the target's light and colours: Fourier domain adaptation (Yang and Soatto, CVPR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fourier_style"]


def fourier_style(source: Tensor, target: Tensor, share: float) -> Tensor:
    """Give pictures the coarse amplitudes of others: overall colour, contrast, the fall of light; outlines stay.

    Args:
        source: ``(B, 3, H, W)`` in [0, 1].
        target: ``(B', 3, H, W)``, of any number; taken in turn.
        share: half the side of the exchanged window of frequencies, a share of the picture's shorter side; 0 exchanges
            the mean colour alone. Published: 0.01 to 0.09.

    Returns:
        ``(B, 3, H, W)`` in [0, 1].
    """
    height, width = source.shape[-2:]
    other = target[torch.arange(len(source), device=target.device) % len(target)]
    spectrum, style = (torch.fft.rfft2(x.float()) for x in (source, other))
    amplitude = spectrum.abs()
    reach = int(share * min(height, width))
    # Frequencies of a real picture: rows up and down from zero, columns from zero up.
    rows = torch.cat([torch.arange(reach + 1), torch.arange(height - reach, height)])
    amplitude[..., rows, : reach + 1] = style.abs()[..., rows, : reach + 1]
    restyled = torch.fft.irfft2(torch.polar(amplitude, spectrum.angle()), s=(height, width))
    return restyled.clamp(0, 1).to(source.dtype)
