"""A small bundle with random weights, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from densemtl_core.models import ModelDescription, build_model
from densemtl_core.tasks import make_tasks
from deploy.bundling import package


@pytest.fixture(scope="session")
def pristine_bundle(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    tasks = make_tasks(
        ["semantic", {"kind": "depth", "encoding": "log"}, "normals", "edges"],
        class_names=("road", "sky", "car", "tree", "person"),
    )
    description = ModelDescription("densemtl_edge_s", tasks, (64, 96))
    path = tmp_path_factory.mktemp("bundles") / "small.bundle"
    return package(build_model("densemtl_edge_s", tasks), description, path).path


@pytest.fixture
def bundle(pristine_bundle, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(pristine_bundle, tmp_path / "small.bundle"))
