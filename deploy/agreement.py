"""How far one engine is from another on pictures that nobody labelled: it judges neither, it compares the two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densemtl_core.runtime import Predictor
from densemtl_core.tasks import Task

__all__ = ["agreement", "agreement_of", "told"]

EDGE = 0.5

Outputs = Mapping[str, NDArray[Any]]


def agreement(
    tasks: Sequence[Task], expected_outputs: Iterable[Outputs], found_outputs: Iterable[Outputs]
) -> dict[str, dict[str, float]]:
    """Compare the predictions of two engines on the same pictures, over all pixels of all of them.

    Args:
        tasks: whose main outputs are compared.
        expected_outputs: output name to array, a picture each, as `densemtl_core.runtime.Predictions` has them: ids
            ``(H, W)``, metres ``(H, W)``, normals ``(H, W, 3)``, probabilities ``(H, W)``. Of the engine to compare
            with. Read one by one.
        found_outputs: the same pictures of the other engine, in the same order.

    Returns:
        Task name to figures, by the kind of the task; NaN where there is no pixel to compare.

        * classes: ``same_class``, the share of pixels, in [0, 1];
        * depth: ``median_deviation``, of the difference, relative to the expected depth, where both are finite;
          ``same_range``, the share of pixels that are finite in both or in neither;
        * normals: ``mean_angle`` in degrees where both have one; ``same_surface``, the share of pixels that have one in
          both or in neither;
        * edges: ``F1`` of the found edge pixels (probability of at least 0.5) with the expected ones for truth, pixel
          on pixel; ``same_edge``, the share of pixels;
        * of any other kind: ``same_value``, the share, of whole numbers; ``mean_difference``, absolute, of the rest.

    Raises:
        ValueError: not as many pictures of both, or of other shapes.
    """
    compared = [_of_kind(task) for task in tasks]
    for expected, found in zip(expected_outputs, found_outputs, strict=True):
        for task, comparison in zip(tasks, compared, strict=True):
            a, b = np.asarray(expected[task.name]), np.asarray(found[task.name])
            if a.shape != b.shape:
                raise ValueError(f"{task.name}: {a.shape} and {b.shape} cannot be compared")
            comparison.add(a, b)
    return {task.name: comparison.figures() for task, comparison in zip(tasks, compared, strict=True)}


def agreement_of(
    bundle: Path, backend: str, tasks: Sequence[Task], frames: Sequence[NDArray[np.uint8]]
) -> dict[str, dict[str, float]]:
    """`agreement` of a bundle's engine with its own network in PyTorch at fp32.

    Args:
        bundle: its folder.
        backend: of the engine.
        tasks: the bundle's.
        frames: ``(H, W, 3)`` uint8 each. At the size at which the network works nothing is enlarged, which the two
            would do differently.
    """
    with (
        closing(Predictor(bundle, backend="eager")) as yardstick,
        closing(Predictor(bundle, backend=backend)) as engine,
    ):
        return agreement(tasks, map(yardstick.predict, frames), map(engine.predict, frames))


def told(figure: str, value: float) -> str:
    """A figure of `agreement` for a person: ``same_class 98.7 %``."""
    number = f"{100 * value:.2f} %"
    if figure in ("F1", "mean_difference"):
        number = f"{value:.4g}"
    elif figure == "mean_angle":
        number = f"{value:.2f} degrees"
    return f"{figure.replace('_', ' ')} {number}"


class _Comparison:
    """Counts and sums over pictures; each kind adds its own."""

    def __init__(self) -> None:
        self.pixels = 0
        self.same = 0

    def add(self, expected: NDArray[Any], found: NDArray[Any]) -> None:
        raise NotImplementedError

    def figures(self) -> dict[str, float]:
        raise NotImplementedError

    def count(self, equal: NDArray[np.bool_]) -> None:
        self.pixels, self.same = self.pixels + equal.size, self.same + int(equal.sum())

    @property
    def share(self) -> float:
        return _ratio(self.same, self.pixels)


class _Whole(_Comparison):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def add(self, expected: NDArray[Any], found: NDArray[Any]) -> None:
        self.count(expected == found)

    def figures(self) -> dict[str, float]:
        return {self.name: self.share}


class _Depth(_Comparison):
    def __init__(self) -> None:
        super().__init__()
        self.deviations: list[NDArray[np.float32]] = []

    def add(self, expected: NDArray[Any], found: NDArray[Any]) -> None:
        known, both = np.isfinite(expected), np.isfinite(expected) & np.isfinite(found)
        self.count(known == np.isfinite(found))
        deviation = np.abs(found[both] - expected[both]) / np.maximum(np.abs(expected[both]), 1e-6)
        self.deviations.append(deviation.astype(np.float32))

    def figures(self) -> dict[str, float]:
        all_of_them = np.concatenate(self.deviations) if self.deviations else np.empty(0, np.float32)
        median = float(np.median(all_of_them)) if all_of_them.size else float("nan")
        return {"median_deviation": median, "same_range": self.share}


class _Normals(_Comparison):
    def __init__(self) -> None:
        super().__init__()
        self.degrees, self.vectors = 0.0, 0

    def add(self, expected: NDArray[Any], found: NDArray[Any]) -> None:
        here, there = (np.isfinite(array).all(-1) for array in (expected, found))
        self.count(here == there)
        a, b = (array[here & there].astype(np.float64) for array in (expected, found))
        # of the chord, not of the cosine, whose last bits are hundredths of a degree where two vectors are nearly one
        half = np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
        self.degrees, self.vectors = self.degrees + float(np.degrees(2 * half).sum()), self.vectors + len(a)

    def figures(self) -> dict[str, float]:
        return {"mean_angle": _ratio(self.degrees, self.vectors), "same_surface": self.share}


class _Edges(_Comparison):
    def __init__(self) -> None:
        super().__init__()
        self.pairs, self.marked = 0, 0

    def add(self, expected: NDArray[Any], found: NDArray[Any]) -> None:
        here, there = expected >= EDGE, found >= EDGE
        self.count(here == there)
        self.pairs, self.marked = self.pairs + int((here & there).sum()), self.marked + int(here.sum() + there.sum())

    def figures(self) -> dict[str, float]:
        return {"F1": _ratio(2 * self.pairs, self.marked), "same_edge": self.share}


class _Difference(_Comparison):
    def __init__(self) -> None:
        super().__init__()
        self.sum, self.values = 0.0, 0

    def add(self, expected: NDArray[Any], found: NDArray[Any]) -> None:
        both = np.isfinite(expected) & np.isfinite(found)
        self.sum += float(np.abs(found[both].astype(np.float64) - expected[both]).sum())
        self.values += int(both.sum())

    def figures(self) -> dict[str, float]:
        return {"mean_difference": _ratio(self.sum, self.values)}


def _of_kind(task: Task) -> _Comparison:
    known: dict[str, type[_Comparison]] = {"depth": _Depth, "normals": _Normals, "edges": _Edges}
    if task.kind in known:
        return known[task.kind]()
    if getattr(task, "class_names", ()):
        return _Whole("same_class")
    return _Difference() if task.outputs()[0].dtype.startswith("float") else _Whole("same_value")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
