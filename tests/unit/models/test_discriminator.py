"""The network that tells simulator from real: its size, its Lipschitz bound, its mirroring, its gradients."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from densemtl_core.errors import InputError
from densemtl_core.models.discriminator import PatchDiscriminator


def largest_gain(weight: torch.Tensor) -> float:
    """Of the matrix that a kernel is, by a full decomposition."""
    return torch.linalg.svdvals(weight.detach().flatten(1))[0].item()


def test_published_size():
    """2.8 M parameters: five 4x4 kernels with biases, counted by hand for 16 classes."""
    widths = [16, 64, 128, 256, 512, 1]
    by_hand = sum(16 * a * b + b for a, b in pairwise(widths))
    counted = sum(p.numel() for p in PatchDiscriminator(16).parameters())
    assert counted == by_hand
    assert counted == pytest.approx(2.8e6, rel=0.01)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (100, 130)])
@pytest.mark.parametrize("channels", [1, 3, 16])
def test_one_logit_for_32_pixels(channels, size):
    verdict = PatchDiscriminator(channels, width=2)(torch.rand(2, channels, *size))
    assert verdict.shape == (2, 1, size[0] // 32, size[1] // 32)


def test_no_width_is_refused():
    with pytest.raises(InputError, match=r"width 0: it must be at least 1"):
        PatchDiscriminator(1, width=0)


def test_a_judgement_against_its_formula():
    """Leaky ReLU of 0.2 between the layers and none behind the last, kernels divided by their gain."""
    torch.manual_seed(0)
    judge, picture = PatchDiscriminator(2, width=3).eval(), torch.randn(2, 2, 64, 64)
    x = picture
    for index, layer in enumerate(judge.layers):
        kernel = layer.parametrizations.weight
        u, v = kernel[0]._u, kernel[0]._v
        original = kernel.original
        x = F.conv2d(x, original / (u @ original.flatten(1) @ v), layer.bias, stride=2, padding=1)
        if index < 4:
            x = torch.where(x > 0, x, 0.2 * x)
    torch.testing.assert_close(judge(picture), x)


def test_no_layer_gains_more_than_one_while_it_learns():
    torch.manual_seed(0)
    judge = PatchDiscriminator(3, width=4)
    optimiser = torch.optim.Adam(judge.parameters(), lr=1e-2)
    for _ in range(30):
        optimiser.zero_grad()
        fake, real = judge(torch.rand(4, 3, 32, 32)), judge(torch.rand(4, 3, 32, 32) ** 2)
        (F.softplus(fake).mean() + F.softplus(-real).mean()).backward()
        optimiser.step()
    judge(torch.rand(1, 3, 32, 32))  # one step of the power iteration at the weights as they are now
    originals = [largest_gain(layer.parametrizations.weight.original) for layer in judge.layers]
    assert max(originals) > 1.2, "the steps have moved the weights that are normalised"
    judge.eval()
    for layer in judge.layers:
        assert largest_gain(layer.weight) == pytest.approx(1.0, abs=0.02)


def test_mirrored_half_of_the_time_and_only_in_training():
    torch.manual_seed(0)
    judge, picture = PatchDiscriminator(2, width=2).eval(), torch.rand(64, 2, 32, 64)
    upright, mirrored = judge(picture), judge(picture.flip(-1))
    assert not torch.allclose(upright, mirrored, atol=1e-4)
    assert torch.equal(judge(picture), upright), "no draw, no power iteration"
    judge.training = True  # of the layers none: their normalisation stays as it is
    seen = judge(picture)
    is_mirrored = torch.isclose(seen, mirrored).flatten(1).all(dim=1)
    is_upright = torch.isclose(seen, upright).flatten(1).all(dim=1)
    assert torch.equal(is_mirrored, ~is_upright), "each picture wholly one or the other"
    assert 16 <= int(is_mirrored.sum()) <= 48
    assert not torch.equal(judge(picture), seen), "drawn anew"


def test_frozen_it_hands_gradients_on_and_keeps_none():
    judge, picture = PatchDiscriminator(2, width=2), torch.rand(2, 2, 32, 32, requires_grad=True)
    judge.requires_grad_(False)
    judge(picture).sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())


def test_gradcheck():
    torch.manual_seed(0)
    judge = PatchDiscriminator(1, width=2).double().eval()
    picture = torch.randn(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(judge, [picture], fast_mode=True)
