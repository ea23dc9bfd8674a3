"""Judge a bundle on a labelled data set: exactly what a robot would run, at the images' own resolution.

python -m training.evaluate --dataset street --size 192x320 --every 4
python -m training.evaluate --bundle my.bundle --dataset camvid --root data/camvid
python -m training.evaluate --dataset kitti --root data/drive --out scores.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from densemtl_core.data.camvid import CamVid
from densemtl_core.data.cityscapes import TRAIN_IDS, Cityscapes
from densemtl_core.data.class_lists import ClassMap, class_list
from densemtl_core.data.kitti import Kitti
from densemtl_core.data.nyudv2 import Nyudv2
from densemtl_core.data.sample import Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.synthia import Synthia
from densemtl_core.data.vkitti2 import Vkitti2
from densemtl_core.errors import InputError
from densemtl_core.metrics import DepthError, MeanIoU, Metric
from densemtl_core.models import ModelDescription
from densemtl_core.runtime import Bundle, Predictor, default_bundle
from densemtl_core.tasks import Task, from_config

__all__ = ["evaluate_bundle", "main"]

# data set -> (how it is opened, the class list of its labels)
DATASETS: Mapping[str, tuple[Callable[..., Dataset[Sample]], str | None]] = {
    "camvid": (CamVid, "camvid11"),
    "cityscapes": (Cityscapes, "cityscapes19"),
    "kitti": (Kitti, None),
    "nyudv2": (Nyudv2, "nyud40"),
    "synthia": (Synthia, "cityscapes16"),
    "vkitti2": (Vkitti2, "vkitti8"),
}


def evaluate_bundle(bundle: Bundle, samples: Iterable[Sample], labels_in: str | None) -> dict[str, dict[str, Any]]:
    """Score every task that both the bundle and the samples have.

    Args:
        bundle: verified.
        samples: unbatched, labelled.
        labels_in: class list of the labels of tasks with classes. The bundle's classes must be that list, or
            Cityscapes' 19, which are translated.

    Returns:
        Task name to scores; beside a depth task's a second row, ``..._median_scaled``: each prediction times the ratio
        of the medians, for judging shape where scale cannot be known.

    Raises:
        InputError: the classes cannot be compared.
    """
    predictor = Predictor(bundle.path)
    description = ModelDescription.from_json(bundle.read("model.json"), f"bundle {bundle.path}")
    tasks = {task.name: task for task in description.tasks}
    translations: dict[str, ClassMap] = {}
    metrics: dict[str, Metric] = {}
    for sample in samples:
        image = (sample.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        wanted = [name for name in tasks if name in sample.labels]
        if not wanted:
            continue
        predictions = predictor.predict(image, tasks=wanted)
        for name in wanted:
            if name not in metrics and predictor.manifest.tasks[name].class_names:
                tasks[name], translations[name] = _in_the_labels_classes(tasks[name], labels_in)
            found = predictions[name]
            decoded = translations[name](found, sample.name) if name in translations else torch.from_numpy(found)
            decoded = decoded if decoded.ndim == 2 else decoded.permute(2, 0, 1)
            metric = metrics.setdefault(name, tasks[name].metric())
            label = sample.labels[name][None]
            tasks[name].score(metric, {name: decoded[None]}, label)
            if isinstance(metric, DepthError):
                scaled = metrics.setdefault(f"{name}_median_scaled", tasks[name].metric())
                tasks[name].score(scaled, {name: (decoded * _median_ratio(decoded, label[0, 0], metric))[None]}, label)
    predictor.close()
    scores: dict[str, dict[str, Any]] = {name: dict(metric.compute()) for name, metric in metrics.items()}
    for name, metric in metrics.items():
        if isinstance(metric, MeanIoU):
            classes = class_list(labels_in or "").classes
            scores[name]["IoU"] = dict(zip(classes, metric.per_class().tolist(), strict=True))
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="folder; default: the one that ships")
    parser.add_argument("--dataset", required=True, choices=["street", *DATASETS])
    parser.add_argument("--root", type=Path, help="the data set's folder (docs/datasets.md); not for street")
    parser.add_argument("--split", help="default: val (kitti: all)")
    parser.add_argument("--size", default="192x320", help="of the street world's frames (default: %(default)s)")
    parser.add_argument("--style", default="mixed", help="of the street world's frames (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take every n-th sample (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write the scores as JSON")
    given = parser.parse_args(arguments)
    try:
        if given.every < 1:
            raise InputError(f"--every is {given.every}; it must be at least 1")
        bundle = Bundle(given.bundle or default_bundle())
        manifest = bundle.manifest
        dataset, labels_in, split = _open(given)
        indices = range(0, len(dataset), given.every)  # type: ignore[arg-type]
        scores = evaluate_bundle(bundle, (dataset[i] for i in indices), labels_in)
        report = {
            "bundle": manifest.name,
            "sha256": manifest.sha256,
            "dataset": given.dataset,
            "split": split,
            "samples": len(indices),
            "every": given.every,
            "classes": labels_in,
            "resolution": "the images' own",
            "scores": scores,
        }
        for task, values in scores.items():
            figures = "  ".join(f"{k} {v:.4f}" for k, v in values.items() if isinstance(v, float))
            print(f"{task:<20} {figures}")
            for name, value in values.get("IoU", {}).items():
                print(f"{'':<20} {name:<14} {value:.4f}")
        print(f"{len(indices)} samples of {given.dataset} {split}, bundle {manifest.name}")
        if given.out:
            given.out.write_text(json.dumps(report, indent=1).replace("NaN", "null") + "\n")
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _open(given: argparse.Namespace) -> tuple[Dataset[Sample], str | None, str]:
    if given.dataset == "street":
        height, _, width = given.size.partition("x")
        if not (height.isdigit() and width.isdigit()):
            raise InputError(f"--size is {given.size!r}; give HEIGHTxWIDTH, e.g. 192x320")
        split = given.split or "val"
        world = StreetWorld(seed=0, split=split, size=(int(height), int(width)), style=given.style, length=128)
        return world, "cityscapes19", split
    if given.root is None:
        raise InputError(
            f"--dataset {given.dataset} needs --root, the data set's folder; docs/datasets.md has its layout"
        )
    make, labels_in = DATASETS[given.dataset]
    split = given.split or ("all" if given.dataset == "kitti" else "val")
    options = {"class_list": labels_in} if labels_in else {}
    return make(root=given.root, split=split, **options), labels_in, split


def _in_the_labels_classes(task: Task, labels_in: str | None) -> tuple[Task, ClassMap]:
    """A task with classes as it would be with those of the labels, and the translation of its ids into theirs."""
    names = task.config()["class_names"]
    if labels_in is None:
        raise InputError(f"the labels of task {task.name!r} are of no known class list")
    target = class_list(labels_in)
    if tuple(names) == target.classes:
        translation = ClassMap("the bundle", {i: i for i in range(len(names))}, strict=False)
    elif tuple(names) == class_list("cityscapes19").classes:
        translation = TRAIN_IDS.to(labels_in, strict=False)
    else:
        raise InputError(f"the bundle's {len(names)} classes are neither {labels_in} nor cityscapes19: not comparable")
    return from_config({**task.config(), "class_names": target.classes, "palette": target.palette}), translation


def _median_ratio(found: Tensor, label: Tensor, metric: DepthError) -> Tensor:
    known = (label >= metric.min_depth) & (label <= metric.max_depth)
    if not known.any():
        return torch.ones(())
    return label[known].median() / found[known].clamp(max=metric.max_depth).median()


if __name__ == "__main__":
    raise SystemExit(main())
