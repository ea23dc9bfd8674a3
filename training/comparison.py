"""Which methods are compared, on what: the configuration of ``training.compare``, and the runs that follow from it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from omegaconf import MISSING, OmegaConf

from densemtl_core.errors import InputError
from densemtl_core.learning.written_files import write_whole
from densemtl_core.models import build_model
from training.network_cost import Network
from training.run_folder import flat
from training.settings import Settings, read_configuration

__all__ = ["Comparison", "Method", "Training", "open_folder", "read_comparison", "stored_comparison"]

SETTINGS_FILE = "compare.yaml"
# Settings that change how a result is reached, not the result: a resumed comparison may differ in them.
FREE = ("data.cache", "run.workers", "run.log_every", "run.checkpoint_every", "run.keep")


@dataclass
class Method:
    """A row of the table.

    Attributes:
        preset: network, a key of `densemtl_core.models.PRESETS`.
        single: one network a task instead of one for all.
    """

    preset: str = MISSING
    single: bool = False


@dataclass
class Comparison(Settings):
    """What all methods share (`Settings`, but for the preset), and the methods.

    Attributes:
        methods: name in the table to method, in the table's order.
        baseline: the method against which Delta is measured.
    """

    preset: str = ""
    methods: dict[str, Method] = field(default_factory=dict)
    baseline: str = "single-task"

    def networks(self, method: str) -> tuple[Network, ...]:
        """What a method runs on a frame."""
        tasks, preset = self.made_tasks(), self.methods[method].preset
        groups = [(task,) for task in tasks] if self.methods[method].single else [tasks]
        return tuple(Network(preset, group) for group in groups)

    def trainings(self, out: Path, method: str, seed: int) -> Iterator[Training]:
        """The runs of one method with one seed."""
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)}
        run = dataclasses.replace(self.run, seed=seed)
        cache = self.data.cache or str(out / "samples")
        data = dataclasses.replace(self.data, cache=cache)
        names = [task.name for task in self.made_tasks()]
        groups = [[i] for i in range(len(names))] if self.methods[method].single else [list(range(len(names)))]
        for group in groups:
            tasks = tuple(names[i] for i in group)
            own = {
                "preset": self.methods[method].preset,
                "tasks": [self.tasks[i] for i in group],
                # Weights balance tasks against one another: alone, a task needs none.
                "weights": {} if self.methods[method].single else self.weights,
                "run": run,
                "data": data,
            }
            folder = out / "runs" / method / "+".join(tasks) / f"seed_{seed}"
            yield Training(method, tasks, seed, Settings(**{**shared, **own}), folder)


@dataclass(frozen=True)
class Training:
    """One run.

    Attributes:
        method: whose.
        tasks: names of the tasks that it learns together.
        seed: of weights and order.
        settings: of the run.
        folder: of the run.
    """

    method: str
    tasks: tuple[str, ...]
    seed: int
    settings: Settings
    folder: Path


def read_comparison(path: str | Path, overrides: Sequence[str] = ()) -> Comparison:
    """Read a configuration.

    Args:
        path: YAML file.
        overrides: ``key=value``, dotted keys for what lies deeper.

    Raises:
        InputError: no such file, not YAML, an unknown key, a value of the wrong type, methods that cannot be compared.
    """
    comparison = read_configuration(path, Comparison, overrides)
    _check(comparison, Path(path))
    return comparison


def stored_comparison(out: Path) -> Comparison:
    """The configuration with which a folder was made.

    Raises:
        InputError: it is no folder of a comparison.
    """
    if not (out / SETTINGS_FILE).is_file():
        raise InputError(f"{out} holds no comparison; make one with --config training/configs/compare_street.yaml")
    return read_comparison(out / SETTINGS_FILE)


def open_folder(comparison: Comparison, out: Path) -> Comparison:
    """Make a comparison's folder, or go on in it.

    Args:
        comparison: as it is wanted now.
        out: new, empty, or made with the same settings; methods may have come in since.

    Returns:
        The comparison with all methods that the folder knows.

    Raises:
        InputError: the folder is something else, or was made with other settings.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    if (out / SETTINGS_FILE).is_file():
        before = stored_comparison(out)
        old, new = (flat(OmegaConf.structured(c)) for c in (before, comparison))
        for key in sorted(old.keys() | new.keys()):
            known = key.split(".")[1] in before.methods if key.startswith("methods.") else key not in FREE
            ours = not key.startswith("methods.") or key.split(".")[1] in comparison.methods
            if known and ours and key != "baseline" and old.get(key) != new.get(key):
                raise InputError(
                    f"{out} was made with {key}={old.get(key)}, not {new.get(key)}; give the same settings, or another "
                    f"--out"
                )
        comparison = dataclasses.replace(comparison, methods={**before.methods, **comparison.methods})
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"--out {out} is not empty and holds no comparison; give another folder")
    write_whole(out / SETTINGS_FILE, OmegaConf.to_yaml(OmegaConf.structured(comparison)))
    return comparison


def _check(comparison: Comparison, path: Path) -> None:
    methods = comparison.methods
    if comparison.preset:
        raise InputError(f"{path}: preset is {comparison.preset}; a comparison takes it from its methods")
    if not methods:
        raise InputError(f"{path}: methods is empty; give NAME: {{preset: PRESET}}")
    if comparison.data.size is None:
        raise InputError(f"{path}: data.size is null; a comparison needs one size for all: [height, width]")
    for name in methods:
        if not re.fullmatch(r"\w[\w +()-]*", name):  # it names a folder, and a dotted key
            raise InputError(f"{path}: method {name!r}: give a name of letters, digits, spaces and _-+()")
    tasks = comparison.made_tasks()  # refuses what is no task
    for preset in {method.preset for method in methods.values()}:
        with torch.device("meta"):  # refuses what is no preset, and costs nothing
            build_model(preset, tasks)
    if comparison.baseline not in methods:
        raise InputError(f"{path}: baseline is {comparison.baseline!r}; it must be one of {', '.join(methods)}")
