"""Whole networks: shapes, sizes, order of tasks, parameter counts."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.models import PRESETS, build_model

ALL = ("semantic", "depth", "normals", "edges")
CHANNELS = {"semantic": 7, "depth": 1, "normals": 3, "edges": 2}


def millions(module: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f}"


def test_parameter_counts_of_the_published_network():
    model = build_model("densemtl_r101", ALL, num_classes=40)
    assert millions(model) == "135.39"
    assert millions(model.encoder) == "42.50"
    assert millions(model.decoders["depth"]) == "22.06"
    assert millions(model.exchange) == "4.64"


@pytest.mark.parametrize(
    ("tasks", "expected"), [(("semantic", "depth"), "87.40"), (("semantic", "depth", "normals"), "111.01")]
)
def test_parameter_counts_of_the_published_task_sets(tasks, expected):
    assert millions(build_model("densemtl_r101", tasks, num_classes=14)) == expected


@pytest.mark.parametrize("preset", ["densemtl_edge_s", "densemtl_r18"])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (75, 43), (33, 32)])
def test_any_size_and_batch(preset, size):
    model = build_model(preset, ALL, num_classes=7).eval()
    with torch.no_grad():
        outputs = model(torch.rand(2, 3, *size))
    assert tuple(outputs) == ALL
    for task, (final,) in outputs.items():
        assert final.shape[:2] == (2, CHANNELS[task])
        assert torch.isfinite(final).all()
        if preset == "densemtl_r18":
            assert final.shape[-2:] == size


@pytest.mark.parametrize("preset", ["densemtl_edge_s", "densemtl_r18"])
def test_training_returns_both_scales_and_reaches_every_parameter(preset):
    model = build_model(preset, ALL, num_classes=7).train()
    for parameter in (p for p in model.parameters() if not p.any()):
        # alpha, and the last normalisation of a residual block, start at zero and rightly keep gradients back
        parameter.data.fill_(0.1)
    outputs = model(torch.rand(2, 3, 64, 96))
    assert all(len(scales) == 2 for scales in outputs.values())
    sum(o.square().mean() for scales in outputs.values() for o in scales).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("preset", ["densemtl_edge_s", "densemtl_r18"])
def test_order_of_tasks_is_only_the_order_of_outputs(preset):
    torch.manual_seed(0)
    one = build_model(preset, ("semantic", "depth", "normals"), num_classes=7).eval()
    torch.manual_seed(0)
    other = build_model(preset, ("normals", "semantic", "depth"), num_classes=7).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        a, b = one(image), other(image)
    assert tuple(b) == ("normals", "semantic", "depth")
    for task in a:
        torch.testing.assert_close(a[task][0], b[task][0], rtol=0, atol=0)


def test_wanted_tasks_equal_those_of_the_full_set():
    model = build_model("densemtl_edge_s", ALL, num_classes=7).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        full, some = model(image), model(image, wanted=("depth",))
    assert tuple(some) == ("depth",)
    torch.testing.assert_close(some["depth"][0], full["depth"][0], rtol=0, atol=0)


def test_a_batch_equals_its_images_one_by_one():
    model = build_model("densemtl_edge_s", ("semantic", "depth"), num_classes=7).eval()
    images = torch.rand(3, 3, 64, 96)
    with torch.no_grad():
        together = model(images)
        for index in range(3):
            alone = model(images[index : index + 1])
            for task in together:
                torch.testing.assert_close(together[task][0][index], alone[task][0][0], rtol=1e-4, atol=1e-5)


def test_normalisation_is_inside_and_not_in_the_state():
    model = build_model("densemtl_r18", ("depth",))
    assert model.mean.flatten().tolist() == pytest.approx([0.45] * 3)
    assert model.std.flatten().tolist() == pytest.approx([0.225] * 3)
    assert not {"mean", "std"} & set(model.state_dict())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_tasks(count):
    tasks = [{"kind": "depth", "name": f"depth_{i}"} for i in range(count)]
    model = build_model("densemtl_edge_s", tasks).eval()
    with torch.no_grad():
        assert len(model(torch.rand(1, 3, 64, 64))) == count


def test_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'densemtl_edge_s'"):
        build_model("densemtl_edge", ("depth",))


def test_semantic_without_classes_says_so():
    with pytest.raises(InputError, match="num_classes"):
        build_model("densemtl_edge_s", ("semantic",))


@pytest.mark.parametrize("bad", [(), ("depth", "depth"), ("flow",)])
def test_bad_task_lists_are_refused(bad):
    with pytest.raises(InputError):
        build_model("densemtl_edge_s", bad)


def test_an_image_of_the_wrong_shape_is_refused():
    model = build_model("densemtl_edge_s", ("depth",))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        model(torch.rand(1, 1, 64, 64))


def test_every_preset_describes_itself():
    assert all(preset.text for preset in PRESETS.values())


def test_edge_heads_start_without_a_checkerboard():
    model = build_model("densemtl_edge_s", ("semantic",), num_classes=5).eval()
    with torch.no_grad():
        (raw,) = model(torch.rand(1, 3, 64, 96))["semantic"]
    cells = raw.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert (cells.amax(-1) - cells.amin(-1)).max() < 1e-5
    assert raw.std() > 1e-3
