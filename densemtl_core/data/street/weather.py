"""Draw the light, the sky, the air and the camera's electronics."""

from __future__ import annotations

import math

from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.scene import Light

__all__ = ["sample_light"]


def sample_light(d: Draws, style: str) -> Light:
    """Draw the hour, the weather and a camera: clean for ``sim``, with a camera's faults for ``real``.

    Both styles draw the same hour and weather from equal streams.
    """
    real = style == "real"
    azimuth, elevation = d.uniform(0, 2 * math.pi), math.radians(d.uniform(12, 70))
    sun = (math.cos(elevation) * math.sin(azimuth), -math.sin(elevation), math.cos(elevation) * math.cos(azimuth))
    overcast = d.chance(0.4)
    strength = d.uniform(0.0, 0.15) if overcast else d.uniform(0.8, 1.8)
    warm = d.uniform(0.0, 0.3)
    fill = d.uniform(0.35, 0.7)
    blue = 0.0 if overcast else d.uniform(0.0, 0.25)
    sky = d.uniform(0.7, 2.2) if overcast else d.uniform(0.35, 1.1)
    lost = d.uniform(1.0, 2.0)  # cameras that expose for the street lose the sky
    if real:
        sky *= lost
    white = d.grey(0.85, 1.0, 0.04)
    tint = d.uniform(0.05, 0.3) if overcast else d.uniform(0.4, 1.0)
    zenith = tuple(sky * (w * (1 - tint) + tint * b) for w, b in zip(white, (0.16, 0.36, 0.8), strict=True))
    pale = d.uniform(1.0, 1.8)
    horizon = tuple(sky * pale * (0.55 * w + 0.45 * b) for w, b in zip(white, (0.75, 0.88, 1.0), strict=True))
    gain = 0.12 if real else 0.04
    return Light(
        sun=sun,
        sun_colour=(strength, strength * (1 - 0.4 * warm), strength * (1 - warm)),
        ambient=(fill * (1 - blue * 0.6), fill, fill * (1 + blue)),
        zenith=(zenith[0], zenith[1], zenith[2]),
        horizon=(horizon[0], horizon[1], horizon[2]),
        cloud_colour=d.grey(0.7, 2.5, 0.03) if not overcast else d.grey(0.5, 1.8, 0.03),
        cloud_cover=d.uniform(0.3, 1.0) if overcast else d.uniform(0.0, 0.7),
        cloud_scale=d.uniform(0.5, 2.0),
        cloud_seed=d.uniform(0, 500),
        haze=math.exp(
            d.uniform(math.log(90), math.log(300)) if d.chance(0.15) else d.uniform(math.log(350), math.log(4000))
        ),
        overcast=float(overcast),
        texture=d.uniform(0.6, 1.6) if real else d.uniform(0.2, 0.7),
        exposure=math.exp(d.uniform(math.log(0.1), math.log(0.42))) if real else d.uniform(0.17, 0.34),
        balance=(1 + d.uniform(-gain, gain), 1.0, 1 + d.uniform(-gain, gain)),
        contrast=d.uniform(0.85, 1.65) if real else d.uniform(0.95, 1.15),
        saturation=d.uniform(0.4, 1.25) if real else d.uniform(0.85, 1.2),
        lift=d.uniform(-0.02, 0.08) if real else 0.0,
        vignette=d.uniform(0, 0.35) if real else 0.0,
        blur=d.uniform(0.25, 0.9) if real else 0.25,
        noise=d.uniform(0.0, 0.03) if real else 0.0,
    )
