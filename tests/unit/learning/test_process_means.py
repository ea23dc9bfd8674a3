"""One process alone; two are in test_distributed."""

from __future__ import annotations

import torch
from lightning.fabric import Fabric

from densemtl_core.learning.process_means import process_means


def test_one_process_keeps_its_own():
    figures = {"loss": torch.tensor(2.5), "depth": torch.tensor(0.5)}
    assert process_means(Fabric(accelerator="cpu", devices=1), figures) == {"loss": 2.5, "depth": 0.5}
