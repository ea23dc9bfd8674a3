"""What only the eager engine does; what every engine does is in `test_predictor`."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from densemtl_core.runtime.backends import eager
from densemtl_core.runtime.bundle import Bundle

cudnn = torch.backends.cudnn


def setting() -> tuple[object, ...]:
    tf32 = cudnn.conv.fp32_precision if hasattr(cudnn, "conv") else cudnn.allow_tf32
    return tf32, cudnn.enabled, cudnn.benchmark, cudnn.deterministic


@pytest.fixture
def tf32(monkeypatch):
    """As on a GPU where nothing was set, but for `benchmark`, which must survive."""
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    monkeypatch.setattr(cudnn, "benchmark", True)
    return setting()


def test_convolutions_on_a_gpu_are_in_float32_and_nothing_else_changes(tf32):
    with eager.full_float32("cuda:0"):
        assert setting()[0] in ("ieee", False)
        assert setting()[1:] == tf32[1:]
        # how a convolution asks for the setting does not depend on the device
        torch.nn.functional.conv2d(torch.rand(1, 3, 8, 8), torch.rand(4, 3, 3, 3))
    assert setting() == tf32
    with pytest.raises(ZeroDivisionError), eager.full_float32("cuda"):
        raise ZeroDivisionError
    assert setting() == tf32
    assert cudnn.allow_tf32 is True


def test_on_a_cpu_no_setting_is_touched(tf32):
    with eager.full_float32("cpu"):
        assert setting() == tf32


@pytest.mark.skipif(not hasattr(cudnn, "conv"), reason="PyTorch before 2.9")
def test_what_was_set_for_convolutions_alone_is_kept(tf32):
    """Where the settings of two operations differ, PyTorch refuses to say whether TF32 is allowed."""
    cudnn.conv.fp32_precision = "ieee"
    try:
        with eager.full_float32("cuda"):
            assert setting()[0] == "ieee"
        assert setting()[0] == "ieee"
    finally:
        cudnn.conv.fp32_precision = tf32[0]


def test_the_network_runs_inside(pristine_bundle, monkeypatch):
    engine = eager.load(Bundle(pristine_bundle), None)
    events = []

    @contextmanager
    def recorded(device):
        events.append(device)
        yield
        events.append("left")

    monkeypatch.setattr(eager, "full_float32", recorded)
    engine._model.register_forward_pre_hook(lambda *_: events.append("network"))
    engine.run([np.zeros((64, 96, 3), np.uint8)], ["depth"], [(64, 96)])
    assert events == [engine.device, "network", "left"]
