"""Both edge scores in one: the paper's, and the boundary-detection benchmarks'."""

from __future__ import annotations

from torch import Tensor

from densemtl_core.metrics.base import Metric, State
from densemtl_core.metrics.boundary import BoundaryF1
from densemtl_core.metrics.boundary_detection import BoundaryDetection

__all__ = ["BoundaryScores"]


class BoundaryScores(Metric):
    """Macro F1 without tolerance, as the paper publishes, beside odsF, oisF and AP with it.

    Args:
        exact: the score without tolerance; it judges a model.
        tolerant: the scores with it. Matching takes tens to hundreds of times longer than counting pixels: `quick`
            leaves it out.
    """

    primary = BoundaryF1.primary
    higher_is_better = BoundaryF1.higher_is_better

    def __init__(self, exact: BoundaryF1, tolerant: BoundaryDetection) -> None:
        self._parts: dict[str, Metric] = {"exact": exact, "tolerant": tolerant}

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add edge probabilities and labels in {0, 1}, ``(B, 1, H, W)`` both; a NaN label is unknown."""
        for part in self._parts.values():
            part.update(prediction, label)

    def state(self) -> dict[str, Tensor]:
        """The states of both, as ``exact.`` and ``tolerant.`` names."""
        return {f"{name}.{key}": t for name, part in self._parts.items() for key, t in part.state().items()}

    def load(self, state: State) -> None:
        """Take the counts of another."""
        for name, part in self._parts.items():
            own = f"{name}."
            part.load({key.removeprefix(own): t for key, t in state.items() if key.startswith(own)})

    def quick(self) -> Metric:
        """Macro F1 alone."""
        return self._parts["exact"].quick()

    def compute(self) -> dict[str, float]:
        """The figures of `BoundaryF1`, then those of `BoundaryDetection`."""
        return {key: figure for part in self._parts.values() for key, figure in part.compute().items()}
