from __future__ import annotations

import pytest
import torch
from torch import nn

from densemtl_core.models import build_model
from densemtl_core.models.folding import fold_batch_norm


@pytest.mark.parametrize("preset", ["densemtl_edge_s", "densemtl_r18"])
def test_the_same_numbers_without_batch_norm(preset):
    torch.manual_seed(0)
    model = build_model(preset, num_classes=5).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    folded = fold_batch_norm(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()), "the original was changed"
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before, after = model(image), folded(image)
    for task in before:
        torch.testing.assert_close(after[task][0], before[task][0], rtol=1e-4, atol=1e-5)


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
