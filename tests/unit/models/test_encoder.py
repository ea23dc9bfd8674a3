from __future__ import annotations

import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.models.encoder import Encoder


def test_published_encoder_has_output_stride_16():
    encoder = Encoder("resnet18", output_stride=16).eval()
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 64, 96))
    assert encoder.strides == [2, 4, 8, 16, 16]
    assert [tuple(m.shape[-2:]) for m in maps] == [(32, 48), (16, 24), (8, 12), (4, 6), (4, 6)]


def test_own_names_load():
    source, target = Encoder("mobilenetv2_100").eval(), Encoder("mobilenetv2_100").eval()
    target.load_backbone(source.body.state_dict(), "memory")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(source(image), target(image), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_torchvision_names_load_and_give_torchvisions_features():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2(weights=None).eval()
    for name, buffer in theirs.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    ours = Encoder("mobilenetv2_100").eval()
    ours.load_backbone(theirs.state_dict(), "memory")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.features[:18](image)  # all blocks, without the last 1x1 convolution
        torch.testing.assert_close(ours(image)[-1], expected, rtol=1e-4, atol=1e-5)


def test_weights_of_another_architecture_are_refused_whole():
    target = Encoder("resnet18")
    before = {k: v.clone() for k, v in target.body.state_dict().items()}
    with pytest.raises(InputError, match="not weights of this encoder"):
        target.load_backbone(Encoder("mobilenetv2_100").body.state_dict(), "memory")
    assert all(torch.equal(v, before[k]) for k, v in target.body.state_dict().items())


def test_unknown_backbone_is_named():
    with pytest.raises(InputError, match="unknown encoder 'resnet1o1'"):
        Encoder("resnet1o1")
