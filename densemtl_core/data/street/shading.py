"""Light, sky, air, and the camera's electronics: from albedo to the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from densemtl_core.data.street.noise import smooth

__all__ = ["arriving_light", "develop", "dot", "reflection", "relative_light", "sky"]

_LUMA = (0.2126, 0.7152, 0.0722)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product over dimension 1 (three channels); a sum that does not depend on the batch."""
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]


def sky(light: dict[str, Tensor], direction: Tensor, clouds: bool = True) -> Tensor:
    """Radiance of the sky along unit directions: gradient, clouds, glow around the sun.

    Args:
        light: stacked `Light`.
        direction: ``(B, 3, H, W)`` unit world directions.
        clouds: False leaves the clouds and the glow out, for what is seen in a window.

    Returns:
        ``(B, 3, H, W)`` linear RGB.
    """
    dx, dy, dz = direction.unbind(1)
    up = (-dy).clamp(0, 1)
    rise = (1 - (1 - up) * (1 - up) * (1 - up))[:, None]
    colour = light["horizon"] * (1 - rise) + light["zenith"] * rise
    if not clouds:
        return colour
    plane = 1 / (up + 0.12)
    scale = 22 * light["cloud_scale"]
    u, v = dx * plane * scale + light["cloud_seed"], dz * plane * scale
    puff = 0.75 * smooth(u, v, plane * 0.3, grain=False) + 0.25 * smooth(u * 4, v * 4, plane, grain=False)
    cover = ((puff - 0.8 + 0.6 * light["cloud_cover"]) * 5).clamp(0, 1) * (up * 12).clamp(0, 1)
    colour = colour * (1 - cover[:, None]) + light["cloud_colour"] * (0.75 + 0.5 * puff[:, None]) * cover[:, None]
    towards = dot(light["sun"], direction).clamp(0, 1)
    glow = towards * towards
    glow = glow * glow
    glow = glow * glow
    glow = glow * 0.25 + glow * glow * glow * glow * 1.5
    return colour + light["sun_colour"] * glow[:, None] * (1 - 0.7 * cover[:, None])


def reflection(light: dict[str, Tensor], direction: Tensor, normal: Tensor) -> Tensor:
    """What a pane mirrors of the sky, seen along unit directions; both ``(B, 3, H, W)`` in the world frame."""
    x, y, z = (direction - 2 * dot(direction, normal)[:, None] * normal).unbind(1)
    mirrored = sky(light, torch.stack([x, -y.abs(), z], 1), clouds=False)
    # Only steep reflections show the open sky: the others show the street, which is darker.
    steep = ((-y[:, None] - 0.05) * 2.5).clamp(0, 1)
    return mirrored * (0.22 + 0.78 * steep)


def arriving_light(light: dict[str, Tensor], normal: Tensor, lit: Tensor, open_sky: Tensor) -> Tensor:
    """Light of the sun and the sky on surfaces: what their albedo is multiplied by.

    Args:
        light: stacked `Light`.
        normal: ``(B, 3, H, W)`` unit, world frame.
        lit: ``(B, H, W)`` share of the sun that arrives.
        open_sky: ``(B, H, W)`` share of the sky that is not hidden.

    Returns:
        ``(B, 3, H, W)`` linear RGB.
    """
    facing = dot(light["sun"], normal).clamp(min=0)
    above = (0.62 - 0.38 * normal[:, 1]) * open_sky
    return light["sun_colour"] * (facing * lit)[:, None] + light["ambient"] * above[:, None]


def relative_light(light: dict[str, Tensor], arriving: Tensor) -> Tensor:
    """Light on surfaces beside that on open, level ground, in stops: 0 is as much, -1 half, +1 twice.

    The camera's exposure hides how much light there is; how it is shared among surfaces can be seen.

    Args:
        light: stacked `Light`.
        arriving: ``(B, 3, H, W)`` of `arriving_light`.

    Returns:
        ``(B, 1, H, W)`` log2 of the ratio of the two luminances.
    """
    level = _luma(light["sun_colour"] * -light["sun"][:, 1:2] + light["ambient"])
    return (_luma(arriving) / level).clamp(min=1e-3).log2()[:, None]


def _luma(image: Tensor) -> Tensor:
    return image[:, 0] * _LUMA[0] + image[:, 1] * _LUMA[1] + image[:, 2] * _LUMA[2]


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Separable five-tap blur; written as sums so that a picture does not depend on its batch."""
    # exp(-1 / 2 sigma^2) and its fourth power, as a rational function that is exact enough for a blur.
    s2 = sigma * sigma
    w1 = s2 / (s2 + 0.35)
    w1 = w1 * w1
    w2 = w1 * w1 * w1 * w1
    total = 1 + 2 * w1 + 2 * w2
    for axis in (2, 3):
        n = image.shape[axis]
        index = torch.arange(n, device=image.device)
        taps = [image.index_select(axis, (index + k).clamp(0, n - 1)) for k in (-2, -1, 1, 2)]
        image = (image + w1 * (taps[1] + taps[2]) + w2 * (taps[0] + taps[3])) / total
    return image


def develop(light: dict[str, Tensor], radiance: Tensor, grain: Tensor) -> Tensor:
    """Expose and encode: the camera's lens, sensor and tone curve.

    Args:
        light: stacked `Light`.
        radiance: ``(B, 3, H, W)`` linear RGB.
        grain: ``(B, 3, H, W)`` standard normal noise.

    Returns:
        ``(B, 3, H, W)`` RGB in [0, 1].
    """
    h, w = radiance.shape[2:]
    image = _blur(radiance, light["blur"][:, None])
    luma = _luma(image)
    # The mean is taken in integers: a sum of floats would depend on how the batch is split among threads.
    level = (luma.clamp(0, 0.7) * 65536).long().flatten(1).sum(1).double() / (65536.0 * h * w)
    gain = light["exposure"] / level.float()[:, None, None].clamp(min=1e-3)
    image = image * (gain[:, None] * light["balance"])
    x = torch.linspace(-1, 1, w, device=image.device)
    y = torch.linspace(-1, 1, h, device=image.device)[:, None]
    image = image * (1 - light["vignette"] * 0.5 * (x * x + y * y))[:, None]
    image = image / (1 + (image - 0.6).clamp(min=0) * 0.5)  # soft shoulder before the sensor clips
    encoded = image.clamp(0, 1.2).sqrt()
    grey = _luma(encoded)[:, None]
    encoded = grey + (encoded - grey) * light["saturation"][:, None]
    encoded = (encoded - 0.45) * light["contrast"][:, None] + 0.45 + light["lift"][:, None]
    return (encoded + grain * light["noise"][:, None]).clamp(0, 1)
