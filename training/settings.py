"""What a training run can be told: typed settings, from YAML and ``key=value``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from densemtl_core.errors import InputError
from densemtl_core.learning.optimisation import Optimisation
from densemtl_core.learning.trainer import RunSettings

__all__ = ["DataSettings", "Settings", "read_settings"]


@dataclass
class DataSettings:
    """The procedural street world.

    Attributes:
        style: ``sim`` (clean), ``real`` (textured, noisy) or ``mixed``.
        size: ``[height, width]`` in pixels.
        seed: of the world.
        frames: number of training frames; every epoch shows each once.
        validation: number of validation frames.
    """

    style: str = "mixed"
    size: list[int] = field(default_factory=lambda: [192, 320])
    seed: int = 0
    frames: int = 10_000
    validation: int = 64


@dataclass
class Settings:
    """A training run.

    Attributes:
        preset: network, a key of `densemtl_core.models.PRESETS`.
        tasks: kinds, or ``{kind: ..., option: ...}``.
        class_list: names and colours of the classes.
        weights: task name to loss weight, 1 where not named.
        encoder_weights: pretrained backbone (a ``.pth`` state dict or ``.safetensors``, timm's or torchvision's
            names), or null for a random start.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        devices: how many on each node; -1 = all.
        nodes: number of machines (start the same command on each with torchrun).
        data: where frames come from.
        run: how long and how it trains.
        optimisation: optimiser, learning rates, schedule.
    """

    preset: str = MISSING
    tasks: list[Any] = field(default_factory=lambda: ["semantic", "depth", "normals", "edges"])
    class_list: str = "cityscapes19"
    weights: dict[str, float] = field(default_factory=dict)
    encoder_weights: str | None = None
    precision: str = "32-true"
    devices: int = 1
    nodes: int = 1
    data: DataSettings = field(default_factory=DataSettings)
    run: RunSettings = field(default_factory=RunSettings)
    optimisation: Optimisation = field(default_factory=Optimisation)


def read_settings(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a configuration.

    Args:
        path: YAML file.
        overrides: ``key=value``, dotted keys for what lies deeper.

    Raises:
        InputError: no such file, not YAML, an unknown key (with the nearest known one), or a value of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(p.name for p in Path(__file__).parent.joinpath("configs").glob("*.yaml"))
        raise InputError(f"configuration not found: {path}; training/configs has {', '.join(near)}")
    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(Settings), OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))
        )
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        # Its first line says what is wrong, with the nearest known key, but not always which value was meant.
        place = f"{error.full_key}: " if error.full_key else ""
        raise InputError(f"{path}: {place}{str(error).splitlines()[0]}") from None
    except Exception as error:  # YAML's own errors come in several types
        raise InputError(f"{path}: not a configuration ({str(error).splitlines()[0]})") from None
    assert isinstance(settings, Settings)  # noqa: S101  (narrows the type that OmegaConf cannot state)
    return settings
