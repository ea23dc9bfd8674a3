from __future__ import annotations

import torch
from torch import nn

from densemtl_core.data.sample import Sample
from densemtl_core.learning.objective import JointObjective, Objective


class Fixed(Objective):
    """A loss of one learnable number."""

    def __init__(self, value: float, name: str) -> None:
        super().__init__()
        self.value, self.name = nn.Parameter(torch.tensor(value)), name

    def forward(self, outputs, batch):
        return self.value * 2, {self.name: self.value.detach()}


def test_the_sum_and_every_part():
    joint = JointObjective({"a": Fixed(1.0, "depth"), "b": Fixed(3.0, "depth"), "c": Fixed(5.0, "pose")})
    total, parts = joint({}, Sample(torch.zeros(1, 3, 4, 4)))
    assert total.item() == 18.0
    assert {k: v.item() for k, v in parts.items()} == {"depth": 1.0, "b/depth": 3.0, "pose": 5.0}
    total.backward()
    assert [p.grad.item() for p in joint.parameters()] == [2.0, 2.0, 2.0]


def test_what_it_learns_is_in_its_state():
    joint = JointObjective({"a": Fixed(1.0, "x")})
    other = JointObjective({"a": Fixed(9.0, "x")})
    other.load_state_dict(joint.state_dict())
    assert other.objectives["a"].value.item() == 1.0
