"""Curves and pictures of a run for TensorBoard (``tensorboard --logdir runs``); only local files are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import cv2
from torch.utils.tensorboard import SummaryWriter

from densemtl_core.render import Picture

__all__ = ["Curves"]


class Curves:
    """Context manager around the event files of one run folder.

    Args:
        folder: the run folder.
        first: steps done before; later events of an interrupted run are hidden.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self.folder = folder
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1 if first else None)

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def losses(self, record: Mapping[str, float]) -> None:
        """Add a record of the history."""
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(f"train/{name}", value, int(record["step"]))

    def scores(self, step: int, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Add validation scores: task name to metric name to value."""
        for task, values in scores.items():
            for name, value in values.items():
                self._writer.add_scalar(f"validation/{task}/{name}", value, step)

    def picture(self, step: int, picture: Picture) -> None:
        """Add the panel, and keep it as ``panels/step_*.png`` for people without TensorBoard."""
        self._writer.add_image("validation", picture, step, dataformats="HWC")
        file = self.folder / "panels" / f"step_{step:08d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture[..., ::-1])
        self._writer.flush()
