"""The pose network, and depth heads on coarser maps."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.models import build_model
from densemtl_core.models.encoder import Encoder
from densemtl_core.models.pose import PoseNetwork

TINY = "mobilenetv3_small_050"


class TestPoseNetwork:
    def test_gives_a_small_motion_a_pair_whatever_the_size(self):
        torch.manual_seed(0)
        network = PoseNetwork(TINY).eval()
        for size in ((64, 96), (65, 97)):
            axis_angle, translation = network(torch.rand(2, 3, *size), torch.rand(2, 3, *size))
            assert axis_angle.shape == translation.shape == (2, 3)
            assert max(axis_angle.abs().max(), translation.abs().max()) < 0.05

    def test_the_order_of_time_matters_and_gradients_reach_everything(self):
        torch.manual_seed(0)
        network = PoseNetwork(TINY)
        a, b = torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)
        with torch.no_grad():
            network.eval()
            assert not torch.equal(network(a, b)[1], network(b, a)[1])
        network.train()
        (torch.cat(network(a, b), dim=1) * torch.arange(1.0, 7.0)).sum().backward()
        silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert silent == []

    def test_the_published_one_has_six_channels_in_and_out(self):
        network = PoseNetwork()
        shapes = {n: tuple(p.shape) for n, p in network.named_parameters() if p.ndim == 4}
        assert shapes["body.conv1.weight"] == (64, 6, 7, 7)
        assert [s for n, s in shapes.items() if n.startswith("decoder")] == [
            (256, 512, 1, 1),
            (256, 256, 3, 3),
            (256, 256, 3, 3),
            (6, 256, 1, 1),
        ]

    def test_a_backbone_of_single_pictures_sees_two_equal_ones_as_one(self):
        torch.manual_seed(0)
        single, network = Encoder(TINY).eval(), PoseNetwork(TINY).eval()
        network.load_backbone(single.body.state_dict(), "test")
        image = torch.rand(1, 3, 64, 96)
        with torch.no_grad():
            expected = single(image)[-1]
            found = network.body(torch.cat([image, image], dim=1))[-1]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_other_weights_and_unknown_names_are_refused(self):
        with pytest.raises(InputError, match="not weights of this encoder"):
            PoseNetwork(TINY).load_backbone(Encoder("resnet18").body.state_dict(), "test")
        with pytest.raises(InputError, match="unknown pose backbone 'resnet'"):
            PoseNetwork("resnet")


class TestSideOutputs:
    @pytest.mark.parametrize(
        ("preset", "count", "sizes"),
        [
            ("densemtl_r18", 2, [(64, 96), (32, 48), (16, 24), (8, 12)]),
            ("densemtl_edge_s", 1, [(32, 48), (8, 12), (4, 6)]),
        ],
    )
    def test_training_gives_them_and_inference_does_not(self, preset, count, sizes):
        torch.manual_seed(0)
        model = build_model(preset, ["normals", {"kind": "depth", "side_outputs": count}])
        outputs = model(torch.rand(2, 3, 64, 96))
        assert [tuple(raw.shape) for raw in outputs["depth"]] == [(2, 1, *size) for size in sizes]
        assert len(outputs["normals"]) == 2
        outputs["depth"][-1].sum().backward()
        assert model.decoders["depth"].side_heads[-1].weight.grad.abs().sum() > 0
        assert model.encoder.training
        assert len(model.eval()(torch.rand(1, 3, 64, 96))["depth"]) == 1

    def test_the_other_weights_and_outputs_stay_what_they_were(self):
        models = []
        for side_outputs in (0, 2):
            torch.manual_seed(0)
            models.append(build_model("densemtl_r18", [{"kind": "depth", "side_outputs": side_outputs}]).eval())
        without, with_sides = models
        added = set(with_sides.state_dict()) - set(without.state_dict())
        assert added == {f"decoders.depth.side_heads.{i}.{p}" for i in (0, 1) for p in ("weight", "bias")}
        with_sides.load_state_dict(without.state_dict(), strict=False)
        image = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(with_sides(image)["depth"][0], without(image)["depth"][0], rtol=0, atol=0)

    @pytest.mark.parametrize(("preset", "most"), [("densemtl_r18", 3), ("densemtl_edge_s", 1)])
    def test_too_many_are_refused(self, preset, most):
        with pytest.raises(
            InputError, match=f"side_outputs is 5; this network's decoders have maps for at most {most}"
        ):
            build_model(preset, [{"kind": "depth", "side_outputs": 5}])
        with pytest.raises(InputError, match="side_outputs is -1"):
            build_model(preset, [{"kind": "depth", "side_outputs": -1}])
