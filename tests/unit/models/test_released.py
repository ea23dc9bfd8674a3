"""The authors' released names load, and then the network gives the numbers of the authors' own modules.

``released_golden.json`` holds sampled figures of those modules' outputs (float64, evaluation mode, 14 classes,
ResNet-101) for weights that are made here from the key names alone.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.models import build_model, load_released
from densemtl_core.models.released import RELEASED_TASKS, from_released

GOLDEN = json.loads(Path(__file__).with_name("released_golden.json").read_text())


def norm_shapes(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    fields = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{prefix}.{f}": (channels,) for f in fields}, f"{prefix}.num_batches_tracked": ()}


def resnet101_shapes(prefix: str) -> dict[str, tuple[int, ...]]:
    shapes = {f"{prefix}.conv1.weight": (64, 3, 7, 7), **norm_shapes(f"{prefix}.bn1", 64)}
    inputs = 64
    for layer, (blocks, width) in enumerate(zip((3, 4, 23, 3), (64, 128, 256, 512), strict=True), start=1):
        for block in range(blocks):
            at = f"{prefix}.layer{layer}.{block}"
            for index, (i, o, k) in enumerate(((inputs, width, 1), (width, width, 3), (width, 4 * width, 1)), start=1):
                shapes[f"{at}.conv{index}.weight"] = (o, i, k, k)
                shapes |= norm_shapes(f"{at}.bn{index}", o)
            if block == 0:
                shapes[f"{at}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                shapes |= norm_shapes(f"{at}.downsample.1", 4 * width)
            inputs = 4 * width
    return shapes


def head_shapes(task: str, outputs: int) -> dict[str, tuple[int, ...]]:
    at = f"heads.{task}.decoder"
    shapes: dict[str, tuple[int, ...]] = {}
    for branch, kernel in enumerate((1, 3, 3, 3)):
        shapes[f"{at}.0.convs.{branch}.0.weight"] = (256, 2048, kernel, kernel)
        shapes |= norm_shapes(f"{at}.0.convs.{branch}.1", 256)
    shapes[f"{at}.0.convs.4.1.weight"] = (256, 2048, 1, 1)
    shapes |= norm_shapes(f"{at}.0.convs.4.2", 256)
    shapes[f"{at}.0.project.0.weight"] = (256, 1280, 1, 1)
    shapes |= norm_shapes(f"{at}.0.project.1", 256)
    for index, inputs, width in (
        (2, 1280, 256), (3, 256, 256), (5, 768, 256), (6, 256, 128), (8, 384, 128),
        (9, 128, 128), (11, 192, 128), (12, 128, 64), (13, 64, 64),
    ):  # fmt: skip
        shapes[f"{at}.{index}.block.0.conv.weight"] = (width, inputs, 3, 3)
        shapes[f"{at}.{index}.block.0.conv.bias"] = (width,)
    for index, inputs in ((14, 64), (15, 128)):
        shapes[f"{at}.{index}.weight"], shapes[f"{at}.{index}.bias"] = (outputs, inputs, 1, 1), (outputs,)
    return shapes


def exchange_shapes(target: str, sources: list[str]) -> dict[str, tuple[int, ...]]:
    at = f"m.{target}.1"
    shapes: dict[str, tuple[int, ...]] = {}
    for j in sources:
        shapes[f"{at}.extract_{j}.0.weight"], shapes[f"{at}.extract_{j}.0.bias"] = (128, 128, 3, 3), (128,)
        shapes[f"{at}.SA_{j}.attention.0.weight"] = shapes[f"{at}.SA_{j}.conv.weight"] = (64, 128, 3, 3)
        shapes[f"{at}.SxTAM_{j}.alpha"] = (1, 128, 1, 1)
        for name in ("conv_b", "conv_c", "conv_d"):
            shapes[f"{at}.SxTAM_{j}.{name}.0.weight"] = (128, 128, 1, 1)
            shapes |= norm_shapes(f"{at}.SxTAM_{j}.{name}.1", 128)
        shapes[f"{at}.proj_{j}.0.weight"] = (128, 192, 1, 1)
        shapes |= norm_shapes(f"{at}.proj_{j}.1", 128)
    shapes[f"{at}.post.0.weight"] = (128, 128 * len(sources), 1, 1)
    shapes |= norm_shapes(f"{at}.post.1", 128)
    return shapes


def released_shapes(tasks: dict[str, int]) -> dict[str, tuple[int, ...]]:
    shapes = resnet101_shapes("backbone.encoder")
    for task, outputs in tasks.items():
        shapes |= head_shapes(task, outputs)
        shapes |= exchange_shapes(task, [t for t in tasks if t != task])
    return shapes


def seeded(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor that both sides of the comparison make from a key's name."""
    random = np.random.RandomState(zlib.crc32(key.encode()))
    normal = random.standard_normal(shape)
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.tensor(0)
    if last == "running_mean":
        value = 0.1 * normal
    elif last == "running_var" or (len(shape) == 1 and last == "weight"):
        value = 0.75 + 0.5 * random.random_sample(shape)
    elif last == "alpha":
        value = 0.5 * normal
    elif len(shape) == 1:
        value = 0.05 * normal
    else:
        value = normal * np.sqrt(2 / np.prod(shape[1:])) * (0.6 if key.startswith("backbone") else 1.0)
    return torch.from_numpy(np.asarray(value))


def released_state(tasks: dict[str, int]) -> dict[str, torch.Tensor]:
    state = {key: seeded(key, shape) for key, shape in released_shapes(tasks).items()}
    # the release stores every head and exchange tensor a second time
    again = {
        f"params.{k.split('.')[1]}.{0 if k[0] == 'h' else 1}": v for k, v in state.items() if k[:2] in ("he", "m.")
    }
    return {**state, **again}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["release_sd", "release_sdn"])
def test_golden_outputs_of_the_authors_modules(name):
    golden = GOLDEN[name]
    tasks = golden["tasks"]
    model = build_model("densemtl_r101", [RELEASED_TASKS[t] for t in tasks], num_classes=tasks["semseg"])
    model = model.double().eval()
    load_released(model, released_state(tasks), golden["fusion_source_order"])
    image = torch.from_numpy(np.random.RandomState(7).random_sample((1, 3, 64, 96)))
    with torch.no_grad():
        outputs = model(image, intermediate=True)
    for task in tasks:
        for scale, ours in enumerate(outputs[RELEASED_TASKS[task]]):
            expected = golden["outputs"][f"{task}_{scale}"]
            assert list(ours.shape) == expected["shape"]
            values = torch.tensor(expected["values"], dtype=torch.float64)
            error = (ours.flatten()[expected["at"]] - values).norm() / values.norm()
            assert error < 1e-5, f"{task} scale {scale}: relative error {float(error):.2e}"
            assert float(ours.norm()) == pytest.approx(expected["norm"], rel=1e-5)


def small_state() -> dict[str, torch.Tensor]:
    """Right names, one element each where the shape is free: enough to test the translation of names."""
    return {k: torch.zeros(s) for k, s in exchange_shapes("semseg", ["depth", "normals"]).items()} | {
        "heads.semseg.decoder.14.bias": torch.zeros(2),
        "heads.depth.decoder.14.bias": torch.zeros(1),
        "heads.normals.decoder.14.bias": torch.zeros(3),
    }


def test_source_order_permutes_the_fusion_weights():
    state = small_state()
    state["m.semseg.1.post.0.weight"] = torch.cat([torch.full((128, 128, 1, 1), v) for v in (1.0, 2.0)], dim=1)
    key = "exchange.fusion.semantic.0.weight"
    straight = from_released(state, {"semseg": ["depth", "normals"]})[key]
    turned = from_released(state, {"semseg": ["normals", "depth"]})[key]
    assert straight[0, 0] == 1
    assert straight[0, -1] == 2
    assert turned[0, 0] == 2
    assert turned[0, -1] == 1


def test_a_wrong_source_order_is_refused():
    with pytest.raises(InputError, match="must hold exactly depth, normals"):
        from_released(small_state(), {"semseg": ["depth", "edge"]})


def test_a_foreign_key_is_refused():
    with pytest.raises(InputError, match="not a key of the released weights"):
        from_released({"heads.semseg.classifier.weight": torch.zeros(1)})


def test_other_tasks_are_refused():
    model = build_model("densemtl_r18", ("depth",))
    with pytest.raises(InputError, match="tasks are depth"):
        load_released(model, {k: torch.zeros(s) for k, s in head_shapes("depth", 1).items()})
