"""What training minimises: a module, because an objective may have things of its own to learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from densemtl_core.data.sample import Sample

__all__ = ["JointObjective", "Objective"]


class Objective(nn.Module, ABC):
    """Scores what the network gives for a batch.

    Parameters of an objective (a pose network, the uncertainties of tasks) are trained beside the network's, saved
    and resumed with them, and left behind when the network is exported.
    """

    @abstractmethod
    def forward(self, outputs: Mapping[str, Sequence[Tensor]], batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
        """Score a batch.

        Args:
            outputs: task name to raw outputs, the final head first (what the network returns for ``batch.image``).
            batch: any subset of the labels; what is absent adds exactly zero.

        Returns:
            The total to minimise, and its parts by name, detached, for people.
        """


class JointObjective(Objective):
    """The sum of several objectives: supervised segmentation beside self-supervised depth, say.

    Args:
        objectives: name to objective; parts that share a name are told apart by the objective's.
    """

    def __init__(self, objectives: Mapping[str, Objective]) -> None:
        super().__init__()
        self.objectives = nn.ModuleDict(objectives)

    def forward(self, outputs: Mapping[str, Sequence[Tensor]], batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`."""
        total = batch.image.new_zeros(())
        parts: dict[str, Tensor] = {}
        for name, objective in self.objectives.items():
            loss, own = objective(outputs, batch)
            total = total + loss
            parts.update({key if key not in parts else f"{name}/{key}": value for key, value in own.items()})
        return total, parts
