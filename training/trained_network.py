"""A network that was trained, ready to look at images: a bundle as a robot runs it, or what a run left."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.models import ModelDescription
from densemtl_core.runtime import Bundle, Predictor
from densemtl_core.runtime.backends.eager import EagerBackend
from densemtl_core.runtime.camera import apply_camera, checked_intrinsics, working_focal
from densemtl_core.tasks import Task

__all__ = ["TrainedNetwork"]


class TrainedNetwork:
    """Predicts at any image's own resolution, as the runtime does.

    Args:
        bundle: a bundle's folder.
        run: instead, a run folder, which needs no packing first.

    Attributes:
        tasks: task name to task.
        about: what reports say of it: name, preset, working size, SHA-256 of the weights.

    Raises:
        InputError: neither or both given; missing, damaged, or an unfinished run.
    """

    def __init__(self, *, bundle: Path | None = None, run: Path | None = None) -> None:
        if (bundle is None) == (run is None):
            raise InputError("give either a bundle or a run folder")
        self._predictor: Predictor | None = None
        if bundle is not None:
            opened = Bundle(bundle)
            description = ModelDescription.from_json(opened.read("model.json"), f"bundle {bundle}")
            self._predictor = Predictor(bundle)
            name, sha256 = opened.manifest.name, opened.manifest.sha256
            size = opened.manifest.input_size
        else:
            assert run is not None  # noqa: S101  (narrows the type)
            if (run / "checkpoints").is_dir() and not (run / "model.json").is_file():
                raise InputError(f"run {run} is not finished: it has no model.json yet; go on with --resume last")
            model, description = load_checkpoint(run)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            size = description.input_size
            self._engine = EagerBackend(model, description.tasks, size, "aspect", device)
            name = run.resolve().name
            sha256 = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
        self.tasks = {task.name: task for task in description.tasks}
        self._input_size = size
        self.about = {"name": name, "preset": description.preset, "input_size": list(size), "sha256": sha256}

    def predict(
        self, image: NDArray[np.uint8], wanted: Iterable[str], intrinsics: ArrayLike | None = None
    ) -> dict[str, NDArray[Any]]:
        """Outputs by name, as `densemtl_core.runtime.Predictions` describes them.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            wanted: names of tasks; those that they need are computed too.
            intrinsics: ``(3, 3)`` or nine numbers in pixels of ``image``; None or all zero = unknown: depth that was
                learned for a canonical camera is then as that one sees it.
        """
        if self._predictor is not None:
            return dict(self._predictor.predict(image, tasks=wanted, intrinsics=intrinsics))
        K = checked_intrinsics(intrinsics)
        names = set(wanted)
        names.update(n for task in list(names) for n in self.tasks[task].needs() if n in self.tasks)
        ordered = [name for name in self.tasks if name in names]
        size = (image.shape[0], image.shape[1])
        outputs = self._engine.run([np.ascontiguousarray(image)], ordered, [size])[0].outputs
        if K is not None:
            focal = working_focal(K, size, self._input_size, "aspect")
            chosen = {name: self.tasks[name] for name in ordered}
            rules = {name: task.camera_rule() for name, task in chosen.items()}
            apply_camera(outputs, focal, rules, {name: task.needs() for name, task in chosen.items()})
        return outputs

    def choose(self, names: Sequence[str] | None) -> list[Task]:
        """The tasks of these names, all by default (``InputError``: a name that is no task here)."""
        unknown = [name for name in names or () if name not in self.tasks]
        if unknown:
            raise InputError(f"{self.about['name']} has no task {unknown[0]!r}; it has {', '.join(self.tasks)}")
        return [task for name, task in self.tasks.items() if not names or name in names]

    def close(self) -> None:
        """Free the device."""
        if self._predictor is not None:
            self._predictor.close()
        else:
            self._engine.close()
