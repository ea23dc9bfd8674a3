"""What a training run can be told: typed settings, from YAML and ``key=value``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from densemtl_core.data import class_list
from densemtl_core.errors import InputError
from densemtl_core.learning.optimisation import Optimisation
from densemtl_core.learning.trainer import RunSettings
from densemtl_core.tasks import Task, make_tasks
from training.adaptation_settings import AdaptationSettings
from training.data_settings import DataSettings

__all__ = ["DataSettings", "SelfSupervision", "Settings", "read_configuration", "read_settings"]

Configuration = TypeVar("Configuration")


@dataclass
class SelfSupervision:
    """Depth that is learnt from video, without its label.

    Attributes:
        task: name of the depth task.
        pose: backbone (timm's name) of the network that tells the camera's motion, or ``labels``: the data has
            odometry, and depth is metric.
        pose_weights: pretrained weights of that backbone, as ``encoder_weights``.
        weight: of the photometric loss, beside the other tasks'.
        smoothness: weight of the smoothness within it.
        automask: leave out what looks better unmoved.
        automask_from: from this training step on; before, the direction of travel has to be found.
    """

    task: str = "depth"
    pose: str = "resnet18"
    pose_weights: str | None = None
    weight: float = 1.0
    smoothness: float = 1e-3
    automask: bool = True
    automask_from: int = 0


@dataclass
class Settings:
    """A training run.

    Attributes:
        preset: network, a key of `densemtl_core.models.PRESETS`.
        tasks: kinds, or ``{kind: ..., option: ...}``.
        class_list: names and colours of the classes.
        weights: task name to loss weight, 1 where not named.
        weighting: ``fixed``, or ``uncertainty``: weights learned as homoscedastic uncertainty.
        self_supervised: learn depth from neighbouring frames (``data.frames``) instead of its label.
        adaptation: learn from a target domain's frames without labels, too.
        encoder_weights: pretrained backbone: ``timm`` (by name from its hub), a file (a ``.pth`` state dict or
            ``.safetensors``, timm's or torchvision's names), or null for a random start.
        start: a run folder, a bundle, or ``shipped`` (the one that comes with the package), whose network this one
            starts from where names and shapes agree.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        devices: how many on each node; -1 = all.
        nodes: number of machines (start the same command on each with torchrun).
        data: where samples come from.
        run: how long and how it trains.
        optimisation: optimiser, learning rates, schedule.
    """

    preset: str = MISSING
    tasks: list[Any] = field(default_factory=lambda: ["semantic", "depth", "normals", "edges"])
    class_list: str = "cityscapes19"
    weights: dict[str, float] = field(default_factory=dict)
    weighting: str = "fixed"
    self_supervised: SelfSupervision | None = None
    adaptation: AdaptationSettings | None = None
    encoder_weights: str | None = None
    start: str | None = None
    precision: str = "32-true"
    devices: int = 1
    nodes: int = 1
    data: DataSettings = field(default_factory=DataSettings)
    run: RunSettings = field(default_factory=RunSettings)
    optimisation: Optimisation = field(default_factory=Optimisation)

    def made_tasks(self) -> tuple[Task, ...]:
        """The tasks as objects, with the classes of the class list.

        Raises:
            InputError: an unknown class list, or what is no task.
        """
        classes = class_list(self.class_list)
        return make_tasks(self.tasks, class_names=classes.classes, palette=classes.palette)


def read_settings(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Read the configuration of a training run; see `read_configuration`."""
    return read_configuration(path, Settings, overrides)


def read_configuration(path: str | Path, kind: type[Configuration], overrides: Sequence[str] = ()) -> Configuration:
    """Read a configuration.

    Args:
        path: YAML file.
        kind: the dataclass that says what it may hold.
        overrides: ``key=value``, dotted keys for what lies deeper.

    Raises:
        InputError: no such file, not YAML, an unknown key (with the nearest known one), or a value of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(p.name for p in Path(__file__).parent.joinpath("configs").glob("*.yaml"))
        raise InputError(f"configuration not found: {path}; training/configs has {', '.join(near)}")
    try:
        stored, given = OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))
        _drop_what_belongs_to_another(stored, given)
        merged = OmegaConf.merge(OmegaConf.structured(kind), stored, given)
        made: Any = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        # Its first line says what is wrong, with the nearest known key, but not always which value was meant.
        place = f"{error.full_key}: " if error.full_key else ""
        what = str(error).splitlines()[0]
        if "is not a ListConfig" in what:
            what = f"wants a list; write {error.full_key}=[first,second], as data.size=[128,256]"
        raise InputError(f"{path}: {place}{what}") from None
    except Exception as error:  # YAML's own errors come in several types
        raise InputError(f"{path}: not a configuration ({str(error).splitlines()[0]})") from None
    checked: Configuration = made
    return checked


def _drop_what_belongs_to_another(stored: Any, given: Any) -> None:
    """Options of a data set, and weights of tasks, go when a command line names another data set or other tasks."""
    for place in ("data", "adaptation.target", "adaptation.validation"):
        dataset = OmegaConf.select(given, f"{place}.dataset")
        if dataset is not None and dataset != OmegaConf.select(
            stored, f"{place}.dataset", default=DataSettings.dataset
        ):
            OmegaConf.update(stored, f"{place}.options", {}, merge=False, force_add=True)
    if "tasks" in given and OmegaConf.select(stored, "weights"):
        named = {task if isinstance(task, str) else task.get("name", task.get("kind")) for task in given.tasks}
        for name in [name for name in stored.weights if name not in named]:
            del stored.weights[name]
