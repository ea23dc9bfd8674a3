"""The graph that is deployed: the same predictions as the model and its tasks give, step by step."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.tasks import decode
from deploy.graph import example, output_names


def test_names_and_shapes_are_those_of_the_manifest(network):
    outputs = network(example((64, 96), batch=2))
    assert output_names(network.tasks) == ["semantic", "semantic_confidence", "depth", "normals", "edges"]
    shapes = [tuple(value.shape) for value in outputs]
    assert shapes == [(2, 64, 96), (2, 64, 96), (2, 64, 96), (2, 64, 96, 3), (2, 64, 96)]
    assert outputs[0].dtype == torch.uint8
    assert all(value.dtype == torch.float32 for value in outputs[1:])


def test_equals_the_model_and_the_tasks_one_after_the_other(network, model, description):
    pixels = example((64, 96))
    with torch.inference_mode():
        found = dict(zip(output_names(network.tasks), network(pixels), strict=True))
        raw = model(pixels.permute(0, 3, 1, 2).float() / 255, intermediate=False)
        full = {task.name: task.resize(raw[task.name][0], (64, 96)) for task in description.tasks}
        expected = decode(description.tasks, full)
    assert (found["semantic"] == expected["semantic"]).float().mean() > 0.999
    torch.testing.assert_close(found["depth"], expected["depth"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        found["normals"].permute(0, 3, 1, 2), expected["normals"], rtol=1e-4, atol=1e-4, equal_nan=True
    )
    # decoded at the heads' size and then enlarged, which is the other way round
    for name in ("edges", "semantic_confidence"):
        assert (found[name] - expected[name]).abs().mean() < 0.01


def test_the_model_itself_is_left_as_it_was(network, model):
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(("size", "batch"), [((32, 64), 1), ((64, 32), 3)])
def test_example_pixels_hold_every_value(size, batch):
    pixels = example(size, batch)
    assert pixels.shape == (batch, *size, 3)
    assert pixels.dtype == torch.uint8
    assert len(pixels.unique()) == 256
