"""One small network, exported once, for all tests of this folder."""

from __future__ import annotations

import onnx
import pytest
import torch

from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks
from deploy.graph import DeployedNetwork
from deploy.onnx_export import export_onnx

SIZE = (64, 96)


@pytest.fixture(scope="session")
def description() -> ModelDescription:
    tasks = make_tasks(("semantic", "depth", "normals", "edges"), num_classes=19)
    return ModelDescription("densemtl_edge_s", tuple(tasks), SIZE)


@pytest.fixture(scope="session")
def model(description):
    torch.manual_seed(0)
    return build_model(description.preset, description.tasks).eval()


@pytest.fixture(scope="session")
def network(model, description) -> DeployedNetwork:
    return DeployedNetwork(model, description.tasks).eval()


@pytest.fixture(scope="session")
def exported(network) -> onnx.ModelProto:
    return export_onnx(network, SIZE)
