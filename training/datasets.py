"""From settings to samples: which data set, which labels, how they are prepared."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from densemtl_core import __version__
from densemtl_core.data.cached import CachedDataset, PreparedDataset
from densemtl_core.data.camvid import CamVid
from densemtl_core.data.cityscapes import TRAIN_IDS, Cityscapes
from densemtl_core.data.class_lists import ClassMap
from densemtl_core.data.derived_labels import EdgeRule
from densemtl_core.data.folder import ImageFolder
from densemtl_core.data.image_files import neighbour_label
from densemtl_core.data.kitti import Kitti
from densemtl_core.data.nyudv2 import Nyudv2
from densemtl_core.data.readable_frames import ReadableFrames
from densemtl_core.data.rosbag import Rosbag
from densemtl_core.data.sample import Sample, collate
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.street.world import FURTHER
from densemtl_core.data.synthia import Synthia
from densemtl_core.data.transforms import Augmentation, TransformedDataset, resize
from densemtl_core.data.video import Video
from densemtl_core.data.vkitti2 import Vkitti2
from densemtl_core.errors import InputError, did_you_mean
from training.settings import DataSettings

__all__ = ["DATASETS", "Source", "batches", "make_dataset"]


@dataclass(frozen=True)
class Source:
    """A data set that settings can name.

    Attributes:
        make: its class.
        labels: the labels it can give.
        classes: class list of its own labels, None where it has no classes.
        validation: the split that judges, None where there are no labels to judge by.
    """

    make: Callable[..., Dataset[Sample]]
    labels: tuple[str, ...]
    classes: str | None
    validation: str | None = "val"


FOUR = ("semantic", "depth", "normals", "edges")

DATASETS: Mapping[str, Source] = {
    "street": Source(StreetWorld, (*FOUR, "albedo", "instance", *FURTHER), "cityscapes19"),
    "camvid": Source(CamVid, ("semantic", "edges"), "camvid11"),
    "cityscapes": Source(Cityscapes, FOUR, "cityscapes19"),
    "folder": Source(ImageFolder, (), None, None),
    "kitti": Source(Kitti, ("depth",), None),
    "nyudv2": Source(Nyudv2, FOUR, "nyud40"),
    "rosbag": Source(Rosbag, (), None, None),
    "synthia": Source(Synthia, FOUR, "cityscapes16"),
    "video": Source(Video, (), None, None),
    "vkitti2": Source(Vkitti2, FOUR, "vkitti14"),
}
"""Every data set by name; docs/datasets.md has their layouts."""

STREET_FRAMES, STREET_VALIDATION = 10_000, 64


def make_dataset(data: DataSettings, tasks: Sequence[str], classes: str, split: str = "train") -> Dataset[Sample]:
    """The samples of one split, ready to be batched.

    Args:
        data: which data set, and how it is prepared.
        tasks: names of the labels that are wanted; those which the data set has are given.
        classes: class list in which classes are counted.
        split: ``train`` (augmented) or ``val`` (only resized).

    Raises:
        InputError: unknown data set or option, no folder, files missing: what, where and what to do.
    """
    if data.dataset not in DATASETS:
        hint = did_you_mean(data.dataset, DATASETS)
        raise InputError(f"data.dataset is {data.dataset!r}; {hint}known: {', '.join(DATASETS)}")
    for name, given in (("size", data.size), ("crop", data.crop)):
        if given is not None and (len(given) != 2 or min(given) < 32):
            raise InputError(f"data.{name} is {given}; give [height, width] of at least 32 pixels each")
    if data.size and data.crop and (data.crop[0] > data.size[0] or data.crop[1] > data.size[1]):
        raise InputError(f"data.crop is {data.crop}, larger than data.size {data.size}; crop less, or resize to more")
    for name, value in (("flip", data.flip), ("colour", data.colour)):
        if not 0 <= value <= 1:
            raise InputError(f"data.{name} is {value}; it must be in 0..1")
    if split != "train":
        data = replace(data, frames=[])  # neighbours teach, they do not judge
    source = DATASETS[data.dataset]
    wanted = [name for name in tasks if name in source.labels]
    judged, video = split == "val" and source.validation, split == "train" and data.frames
    if tasks and not wanted and (judged or not video):  # frames teach depth without any label
        has = ", ".join(source.labels) or "none"
        raise InputError(f"data.dataset {data.dataset} has no label of {', '.join(tasks)}; it has {has}")
    if data.crop and "instance_center" in wanted:
        raise InputError(f"data.crop is {data.crop}, but instance_center is of the whole image; leave one of them out")
    count = data.train if split == "train" else data.validation
    if count is not None and count < 1:
        raise InputError(f"data.{'train' if split == 'train' else 'validation'} is {count}; give at least 1, or null")
    made = _open(data, source, wanted, classes, split, count)
    kept = {*wanted, *(neighbour_label(k) for k in data.frames), *(f"pose{k:+d}" for k in data.frames)}
    size = None if data.size is None else (data.size[0], data.size[1])
    samples: Dataset[Sample] = PreparedDataset(made, partial(_prepare, size=size, kept=frozenset(kept)), count)
    if data.cache:
        samples = CachedDataset(samples, Path(data.cache) / _key(data, wanted, classes, split, count))
    if split != "train":
        return samples
    c = data.colour
    crop = None if data.crop is None else (data.crop[0], data.crop[1])
    change = Augmentation(None, crop, data.flip, c, c, c, 0.2 * math.pi * c)
    return TransformedDataset(samples, change)


def batches(dataset: Dataset[Sample], size: int) -> Iterator[Sample]:
    """All samples of a data set in order, batched; the last batch may be smaller."""
    length = len(dataset)  # type: ignore[arg-type]
    for first in range(0, length, size):
        yield collate([dataset[i] for i in range(first, min(first + size, length))])


def _open(
    data: DataSettings, source: Source, labels: Sequence[str], classes: str, split: str, count: int | None
) -> Dataset[Sample]:
    accepted = inspect.signature(source.make).parameters
    street = data.dataset == "street"
    ours = {"root", "split", "labels", "class_list", "frames", "size", "length", "device", "further"}
    options = dict(data.options)
    unknown = [name for name in options if name in ours or name not in accepted]
    if unknown:
        known = sorted(set(accepted) - ours)
        hint = did_you_mean(unknown[0], known)
        raise InputError(
            f"data.options.{unknown[0]} is no option of {data.dataset}; {hint}known: {', '.join(known) or 'none'}"
        )
    if "edges" in options:
        options["edges"] = _edge_rule(options["edges"])
    if data.frames:
        if "frames" not in accepted:
            raise InputError(f"data.frames is {data.frames}, but {data.dataset} has no sequences; leave it out")
        options["frames"] = tuple(data.frames)
    if street:
        if data.size is None:
            raise InputError("data.size is null; the street world needs one: [height, width] in pixels")
        length = count or (STREET_FRAMES if split == "train" else STREET_VALIDATION)
        further = [name for name in labels if name in FURTHER]  # what is not asked for costs nothing
        world = StreetWorld(split=split, size=(data.size[0], data.size[1]), length=length, further=further, **options)
        if classes == source.classes or "semantic" not in labels:
            return world
        return PreparedDataset(world, partial(_translate, ids=TRAIN_IDS.to(classes, strict=False)))
    if data.root is None:
        raise InputError(f"data.root is missing: the folder of {data.dataset}; docs/datasets.md has its layout")
    if Path(data.root).is_file() and data.dataset not in ("video", "rosbag"):
        raise InputError(f"data.root {data.root} is a file; give the folder of {data.dataset}: docs/datasets.md")
    given = {
        "split": source.validation if split == "val" else (split if source.validation else "all"),
        "labels": tuple(labels),
        "class_list": classes,
    }
    made = source.make(root=data.root, **{n: v for n, v in given.items() if n in accepted}, **options)
    if source.labels:
        return made
    return ReadableFrames(made, made.broken() if isinstance(made, ImageFolder) else ())


def _edge_rule(given: Any) -> EdgeRule:
    try:
        return EdgeRule(**given)
    except TypeError:
        known = ", ".join(EdgeRule.__dataclass_fields__)
        raise InputError(f"data.options.edges is {given!r}; give some of {known}") from None


def _translate(sample: Sample, ids: ClassMap) -> Sample:
    """Street labels, which are Cityscapes' 19 train ids, as ids of another list; what that has not is unlabelled."""
    translated = ids(sample.labels["semantic"].numpy(), sample.name)
    return replace(sample, labels={**sample.labels, "semantic": translated})


def _prepare(sample: Sample, size: tuple[int, int] | None, kept: frozenset[str]) -> Sample:
    sample = replace(sample, labels={n: x for n, x in sample.labels.items() if n in kept})
    return sample if size is None else resize(sample, size)


def _key(data: DataSettings, labels: Sequence[str], classes: str, split: str, count: int | None) -> str:
    """Names what a cached sample depends on, so that no two preparations share a folder."""
    parts = [__version__, data.dataset, data.root, data.size, data.frames, data.options, list(labels), classes, count]
    return f"{data.dataset}_{split}_{hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]}"
