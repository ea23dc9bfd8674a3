"""Networks with random weights, for timing."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.errors import InputError
from deploy.untrained import untrained_network


def test_the_same_weights_every_time():
    (one, description), (other, _) = (untrained_network("densemtl_edge_s", (64, 96), classes=5) for _ in range(2))
    assert description.input_size == (64, 96)
    assert [task.name for task in description.tasks] == ["semantic", "depth", "normals", "edges"]
    assert len(description.tasks[0].class_names) == 5
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@torch.no_grad()
def test_rounding_does_not_grow_from_layer_to_layer():
    # With batch normalisation that has seen nothing, this network's values reach tens of thousands.
    model, _ = untrained_network("densemtl_edge_l", (64, 96))
    image = torch.rand(1, 3, 64, 96)
    found = model.eval()(image)
    exact = model.double()(image.double())
    assert {norm.momentum for norm in model.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {0.1}
    for task, (raw,) in exact.items():
        assert raw.abs().max() < 200
        assert (found[task][0] - raw).abs().max() < 5e-5 * raw.abs().max()


def test_an_unknown_preset_is_one_line():
    with pytest.raises(InputError, match="--preset 'densemtl_edge' is unknown; did you mean 'densemtl_edge_s'"):
        untrained_network("densemtl_edge")
