"""From settings to samples."""

from __future__ import annotations

import native_layouts
import pytest
import torch

from densemtl_core.data import class_list
from densemtl_core.errors import InputError
from training.datasets import DATASETS, batches, make_dataset
from training.settings import DataSettings

FOUR = ["semantic", "depth", "normals", "edges"]
NATIVE = {"camvid": 1, "cityscapes": 1, "nyudv2": 1, "synthia": 5, "vkitti2": 6}
"""Data set to the length of its validation split."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    for name in NATIVE:
        (folder / name).mkdir()
        getattr(native_layouts, f"write_{name}")(folder / name)
    return folder


@pytest.mark.parametrize("name", NATIVE)
def test_every_native_layout_gives_what_it_says(roots, name):
    source = DATASETS[name]
    data = DataSettings(dataset=name, root=str(roots / name), size=[32, 48])
    samples = make_dataset(data, FOUR, source.classes, "val")
    assert len(samples) == NATIVE[name]
    sample = samples[0]
    assert sample.image.shape == (3, 32, 48)
    assert set(sample.labels) == set(source.labels)
    assert all(label.shape[-2:] == (32, 48) for label in sample.labels.values())
    ids = sample.labels["semantic"]
    assert ids[ids != 255].max() < len(class_list(source.classes))
    assert len(make_dataset(data, FOUR, source.classes, "train")) > 0


def test_only_what_is_wanted_comes(roots):
    data = DataSettings(dataset="vkitti2", root=str(roots / "vkitti2"), frames=[1])
    sample = make_dataset(data, ["depth", "albedo"], "vkitti14", "train")[0]
    assert set(sample.labels) == {"depth", "image+1", "pose+1"}
    assert sample.image.shape == (3, 12, 20)  # the files' own size
    judged = make_dataset(data, ["depth", "albedo"], "vkitti14", "val")[0]
    assert set(judged.labels) == {"depth"}, "neighbours teach, they do not judge"


def test_augmentation_is_for_training_alone(roots):
    data = DataSettings(
        dataset="camvid", root=str(roots / "camvid"), size=[64, 96], crop=[32, 40], flip=1.0, colour=0.5
    )
    train, val = (make_dataset(data, ["semantic"], "camvid11", split)[0] for split in ("train", "val"))
    assert train.image.shape == (3, 32, 40)
    assert val.image.shape == (3, 64, 96)
    whole = DataSettings(dataset="street", size=[32, 48], flip=1.0, train=2)
    plain = DataSettings(dataset="street", size=[32, 48], flip=0.0, train=2)
    mirrored, straight = (make_dataset(d, ["depth"], "cityscapes19")[0] for d in (whole, plain))
    assert torch.equal(mirrored.labels["depth"], straight.labels["depth"].flip(-1))


def test_numbers_of_samples(roots):
    data = DataSettings(dataset="vkitti2", root=str(roots / "vkitti2"), train=2, validation=4)
    assert [len(make_dataset(data, ["depth"], "vkitti14", s)) for s in ("train", "val")] == [2, 4]
    names = [s.name.split("/")[0] for s in make_dataset(data, ["depth"], "vkitti14", "val")]
    assert names == ["Scene02", "Scene02", "Scene18", "Scene18"]
    street = DataSettings(dataset="street", size=[32, 48], train=7, validation=3)
    assert [len(make_dataset(street, ["depth"], "cityscapes19", s)) for s in ("train", "val")] == [7, 3]


def test_the_street_in_other_classes():
    data = DataSettings(dataset="street", size=[48, 64], validation=2)
    own = make_dataset(data, ["semantic"], "cityscapes19", "val")[0].labels["semantic"]
    other = make_dataset(data, ["semantic"], "camvid11", "val")[0].labels["semantic"]
    sky = class_list("cityscapes19").id("sky")
    assert (own == sky).any()
    assert torch.equal(own == sky, other == class_list("camvid11").id("sky"))
    with pytest.raises(InputError, match="nyud40"):
        make_dataset(data, ["semantic"], "nyud40", "val")


def test_a_cache_gives_the_same_and_is_apart_for_every_preparation(roots, tmp_path):
    def made(**changes):
        settings = {"dataset": "vkitti2", "root": str(roots / "vkitti2"), "size": [32, 48], "flip": 0.0, **changes}
        return make_dataset(DataSettings(**settings), ["semantic", "depth"], "vkitti14", "train")

    plain, cached = made(), made(cache=str(tmp_path))
    for _ in range(2):
        assert torch.equal(cached[3].image, plain[3].image)
        assert torch.equal(cached[3].labels["semantic"], plain[3].labels["semantic"])
    assert [len(list(folder.iterdir())) for folder in tmp_path.iterdir()] == [1]
    for changes in ({"size": [32, 64]}, {"train": 3}, {"frames": [1]}, {"options": {"val_scenes": ["Scene01"]}}):
        made(cache=str(tmp_path), **changes)
    make_dataset(
        DataSettings(dataset="vkitti2", root=str(roots / "vkitti2"), size=[32, 48], cache=str(tmp_path)),
        ["semantic", "depth"],
        "vkitti8",
        "train",
    )
    assert len(list(tmp_path.iterdir())) == 6


def test_flips_are_drawn_after_the_cache(roots, tmp_path):
    data = DataSettings(dataset="synthia", root=str(roots / "synthia"), size=[32, 48], flip=0.5, cache=str(tmp_path))
    samples = make_dataset(data, ["semantic"], "cityscapes16", "train")
    centres = set()
    for epoch in range(8):
        samples.set_epoch(epoch)
        centres.add(round(samples[0].intrinsics[0, 2].item(), 3))
    assert len(centres) == 2, "mirrored in some epochs, straight in others"


def test_an_edge_rule_from_settings(roots):
    def edges(**rule):
        data = DataSettings(dataset="vkitti2", root=str(roots / "vkitti2"), options={"edges": rule})
        return make_dataset(data, ["edges"], "vkitti14", "val")[0].labels["edges"]

    by_class, by_depth = edges(depth_step=None), edges(classes=False)
    assert by_class[0, 6, 5] == 1  # a car's only pixel, at the depth of what is around it
    assert by_depth[0, 6, 5] == 0
    with pytest.raises(InputError, match=r"data\.options\.edges is .*; give some of classes, depth_step"):
        edges(colour=True)


def test_batches_in_order_with_a_smaller_last_one(roots):
    data = DataSettings(dataset="synthia", root=str(roots / "synthia"))
    samples = make_dataset(data, ["depth"], "cityscapes16", "val")
    assert [batch.image.shape[0] for batch in batches(samples, 2)] == [2, 2, 1]
    assert ", ".join(batch.name for batch in batches(samples, 2)) == ", ".join(s.name for s in samples)
