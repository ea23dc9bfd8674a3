"""What a metric is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["Metric", "State", "join_states"]

State = Mapping[str, Tensor]
"""What a metric has gathered: integer tensors are counts, floating ones have a row an image (see `join_states`)."""


class Metric(ABC):
    """An accumulator over a data set.

    Several processes may each judge a part of a set: `state` is plain tensors, `join_states` puts those of all parts
    together, `load` takes the whole, and `compute` then gives to the last bit what one process would have found.

    Attributes:
        primary: the key of `compute` that judges a model.
        higher_is_better: the direction of the primary figure.
    """

    primary: str
    higher_is_better: bool

    @abstractmethod
    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add a batch; both tensors have a leading batch dimension. Unknown label pixels do not count."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The scores over all that was added; NaN where nothing was."""

    def state(self) -> dict[str, Tensor]:
        """Everything `compute` reads, as copies on the CPU: int64 counts of fixed shape, float64 rows one an image.

        Raises:
            NotImplementedError: this metric cannot judge in parts.
        """
        raise NotImplementedError(f"{type(self).__name__} has no state(): judge with one process, or write it")

    def load(self, state: State) -> None:
        """Replace everything that was added by a state; the inverse of `state`.

        Raises:
            NotImplementedError: this metric cannot judge in parts.
        """
        raise NotImplementedError(f"{type(self).__name__} has no load(): judge with one process, or write it")

    def merge(self, other: Metric) -> None:
        """Add what another metric of the same making has gathered."""
        self.load(join_states([self.state(), other.state()]))

    def quick(self) -> Metric:
        """This metric without the scores that take long, for judging during training; itself where none do."""
        return self


def join_states(states: Sequence[State]) -> dict[str, Tensor]:
    """Put the states of all parts of a set together.

    Integer tensors are summed; floating ones are concatenated along their first dimension, in the order given. Scores
    do not depend on that order: sums over rows are exact (`math.fsum`).

    Args:
        states: at least one; all of the same metric.

    Raises:
        ValueError: no state, or states of different metrics.
    """
    if not states:
        raise ValueError("join_states: no state given; give one a process")
    if any(set(state) != set(states[0]) for state in states):
        raise ValueError(f"join_states: states of different metrics: {[sorted(state) for state in states]}")
    joined: dict[str, Tensor] = {}
    for name, tensor in states[0].items():
        parts = [state[name] for state in states]
        if len({part.shape[1:] if part.is_floating_point() else part.shape for part in parts}) != 1:
            raise ValueError(f"join_states: {name} has shapes {[tuple(part.shape) for part in parts]}; they must agree")
        joined[name] = torch.cat(parts) if tensor.is_floating_point() else torch.stack(parts).sum(0)
    return joined
