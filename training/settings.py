"""What a training run can be told: typed settings, from YAML and ``key=value``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from densemtl_core.errors import InputError
from densemtl_core.learning.trainer import Optimisation

__all__ = ["DataSettings", "Settings", "read_settings"]


@dataclass
class DataSettings:
    """The procedural street world.

    Attributes:
        style: ``sim`` (clean), ``real`` (textured, noisy) or ``mixed``.
        size: ``[height, width]`` in pixels.
        seed: of the world.
        validation: number of validation frames.
        workers: processes that make frames while the network trains.
    """

    style: str = "mixed"
    size: list[int] = field(default_factory=lambda: [192, 320])
    seed: int = 0
    validation: int = 64
    workers: int = 1


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
        steps: updates.
        batch: frames an update.
        seed: of weights and order.
        data: where frames come from.
        optimisation: learning rates and the like.
    """

    preset: str = MISSING
    tasks: list[Any] = field(default_factory=lambda: ["semantic", "depth", "normals", "edges"])
    class_list: str = "cityscapes19"
    weights: dict[str, float] = field(default_factory=dict)
    encoder_weights: str | None = None
    steps: int = 1000
    batch: int = 8
    seed: int = 0
    data: DataSettings = field(default_factory=DataSettings)
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
        line = str(error).splitlines()[0]
        unknown = re.search(r"Key '(\w+)'", line)
        near = difflib.get_close_matches(unknown[1], _keys(), n=1) if unknown else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{path}: {line}{hint}") from None
    except Exception as error:  # YAML's own errors come in several types
        raise InputError(f"{path}: not a configuration ({str(error).splitlines()[0]})") from None
    assert isinstance(settings, Settings)  # noqa: S101  (narrows the type that OmegaConf cannot state)
    return settings


def _keys() -> list[str]:
    return [f for c in (Settings, DataSettings, Optimisation) for f in c.__dataclass_fields__]
