"""One small network, exported once, for all tests of this folder."""

from __future__ import annotations

import onnx
import pytest
import torch

from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks
from deploy.graph import DeployedNetwork, example, output_names
from deploy.onnx_export import export_onnx

SIZE = (64, 96)


@pytest.fixture(scope="session")
def description() -> ModelDescription:
    # of a network that has learnt nothing inverse depth is beyond its range nearly everywhere: nothing to compare
    tasks = make_tasks(("semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges"), num_classes=19)
    return ModelDescription("densemtl_edge_s", tuple(tasks), SIZE)


@pytest.fixture(scope="session")
def model(description):
    torch.manual_seed(0)
    return build_model(description.preset, description.tasks).eval()


@pytest.fixture(scope="session")
def network(model, description) -> DeployedNetwork:
    made = DeployedNetwork(model, description.tasks).eval()
    noise = torch.randint(0, 256, (1, *SIZE, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for pixels in (example(SIZE), noise):
        with torch.inference_mode():
            found = dict(zip(output_names(description.tasks), made(pixels), strict=True))
        for name in ("depth", "normals"):
            assert found[name].isfinite().float().mean() > 0.9, f"{name}: too few pixels to compare anything by"
    return made


@pytest.fixture(scope="session")
def exported(network) -> onnx.ModelProto:
    return export_onnx(network, SIZE)
