"""What predicting leaves on disk: panels, arrays, a video, and a page that says what the arrays mean."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from densemtl_core import render
from densemtl_core.errors import InputError
from densemtl_core.learning.written_files import write_whole
from densemtl_core.tasks import Task
from training.picture_files import png, write_picture

__all__ = ["PredictionFiles"]

CELL_WIDTH = 480
LEAST_SHARE = 0.005
"""Of a picture, for a class to be named beside it."""
DEPTH_UNITS = 256
"""Stored units a metre of 16-bit depth images, as KITTI stores them: up to 255.99 m, where millimetres end at 65."""


class PredictionFiles:
    """Context manager around one output folder; whatever lies in it under its own name is complete.

    Args:
        folder: made if it does not exist.
        tasks: whose predictions are written.
        about: of the network, for ``predictions.json``.
        panel: write ``panels/NAME.png``.
        raw: write every output at the image's resolution.
        video: frames a second of ``panels.mp4``; None = none.

    Raises:
        InputError: the folder cannot be made, or this OpenCV writes no video.
    """

    def __init__(
        self,
        folder: Path,
        tasks: Sequence[Task],
        about: Mapping[str, Any],
        *,
        panel: bool = True,
        raw: bool = False,
        video: float | None = None,
    ) -> None:
        self.folder, self.tasks, self.about = folder, tasks, about
        self.panel, self.raw, self.video = panel, raw, video
        self.frames: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self._writer: Any = None
        self._shape: tuple[int, int] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {folder} cannot be made ({error.strerror}); give another folder") from None

    def __enter__(self) -> PredictionFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
            os.replace(self._partial_video, self.folder / "panels.mp4")
        page = {
            "network": dict(self.about),
            "outputs": _legend(self.tasks) if self.raw else {},
            "complete": kind is None,
            "frames": self.frames,
            "skipped": self.skipped,
        }
        write_whole(self.folder / "predictions.json", json.dumps(page, indent=1) + "\n")

    def add(self, name: str, source: str, image: render.Picture, found: Mapping[str, NDArray[Any]]) -> None:
        """Write one picture's predictions.

        Args:
            name: of the files.
            source: where the picture came from.
            image: ``(H, W, 3)`` uint8 RGB.
            found: outputs by name.
        """
        if self.raw:
            for output in (o for task in self.tasks for o in task.outputs()):
                for ending, data in _encoded(found[output.name], output.unit).items():
                    write_whole(self.folder / output.name / f"{name}{ending}", data)
        if self.panel or self.video is not None:
            cells = [("image", image), *((task.name, task.paint(found[task.name])) for task in self.tasks)]
            height = max(1, round(CELL_WIDTH * image.shape[0] / image.shape[1]))
            cells += [
                (f"{task.name}: classes", _colours(task, found[task.name], height))
                for task in self.tasks
                if task.config().get("class_names")
            ]
            columns = len(cells) if len(cells) < 4 else -(-len(cells) // 2)
            picture = render.panel(cells, columns, CELL_WIDTH)
            if self.panel:
                write_picture(self.folder / "panels" / f"{name}.png", picture)
            if self.video is not None:
                self._film(picture, self.video)
        self.frames.append({"name": name, "source": source, "size": list(image.shape[:2])})

    def skip(self, source: str, reason: str) -> None:
        """Note a picture that could not be read."""
        self.skipped.append({"source": source, "reason": reason})

    @property
    def _partial_video(self) -> Path:
        return self.folder / ".part.panels.mp4"

    def _film(self, picture: render.Picture, rate: float) -> None:
        if self._shape is None:
            height, width = picture.shape[0] // 2 * 2, picture.shape[1]  # encoders want even sides
            self._shape = (height, width)
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial_video), code, rate, (width, height))
            if not self._writer.isOpened():
                self._writer = None
                raise InputError("--video: this OpenCV cannot write mp4; leave --video out")
        # Pictures of another shape than the first one's: what lies outside is cut off, what is missing is black.
        frame = np.zeros((*self._shape, 3), np.uint8)
        part = picture[: frame.shape[0], : frame.shape[1]]
        frame[: part.shape[0], : part.shape[1]] = part
        self._writer.write(frame[..., ::-1].copy())


def _colours(task: Task, ids: NDArray[Any], height: int) -> render.Picture:
    """The classes that cover half a percent or more, the largest first, as ``(height, CELL_WIDTH, 3)`` uint8 RGB."""
    config = task.config()
    counts = np.bincount(ids.ravel(), minlength=256)[: len(config["class_names"])]
    canvas = np.full((height, CELL_WIDTH, 3), 24, np.uint8)
    row, rows = 24, max(1, (height - 8) // 24)
    there = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i] >= LEAST_SHARE * ids.size]
    for place, index in enumerate(there):
        top, left = 8 + place % rows * row, 12 + place // rows * (CELL_WIDTH // 2)
        canvas[top : top + 16, left : left + 28] = config["palette"][index]
        text = f"{config['class_names'][index]}  {100 * counts[index] / ids.size:.1f} %"
        white = (235, 235, 235)
        cv2.putText(canvas, text, (left + 38, top + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.5, white, 1, cv2.LINE_AA)
    return canvas


def _legend(tasks: Sequence[Task]) -> dict[str, Any]:
    """Output name to what its files hold."""
    legend: dict[str, Any] = {}
    for task in tasks:
        for output in task.outputs():
            blank = np.zeros((1, 1) if output.channels == 1 else (1, 1, output.channels), output.dtype)
            files = {f"{output.name}/NAME{ending}": _STORED[ending] for ending in _encoded(blank, output.unit)}
            legend[output.name] = {
                "shape": "(H, W)" if output.channels == 1 else f"(H, W, {output.channels})",
                "unit": output.unit,
                "files": files,
            }
            config = task.config()
            if output.name == task.name and config.get("class_names"):
                legend[output.name] |= {"classes": list(config["class_names"]), "palette": config["palette"]}
    return legend


_STORED = {
    ".png": "8-bit grey PNG, the value itself",
    ".npy": "NumPy array, float32, the value itself; NaN = unknown, +inf = beyond range",
    ".16.png": f"16-bit grey PNG, value * {DEPTH_UNITS}; 0 = unknown or beyond range",
}


def _encoded(array: NDArray[Any], unit: str) -> dict[str, bytes]:
    """File ending to bytes of one output; depth in metres also as an image."""
    if array.dtype == np.uint8 and array.ndim == 2:
        return {".png": png(array)}
    memory = io.BytesIO()
    np.save(memory, array.astype(np.float32), allow_pickle=False)
    files = {".npy": memory.getvalue()}
    if array.ndim == 2 and unit.startswith("metres"):
        stored = np.nan_to_num(array * DEPTH_UNITS, nan=0.0, posinf=0.0, neginf=0.0).round()
        files[".16.png"] = png(np.where(stored > 65535, 0, stored).astype(np.uint16))
    return files
