"""Judge a network on a labelled data set: what a robot would run, by default at the images' own resolution.

python -m training.evaluate --dataset street --every 4
python -m training.evaluate --bundle my.bundle --dataset camvid --root data/camvid
python -m training.evaluate --run runs/mine --dataset vkitti2 --root data/vkitti2 --size 320x1024 --out scores.json
python -m training.evaluate --dataset vkitti2 --root data/street --option variation=clone
python -m training.evaluate --run runs/mine --dataset camvid --root data/camvid --classes street7
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from rich.progress import track

from densemtl_core.data import camvid, vkitti2
from densemtl_core.data.cityscapes import TRAIN_IDS
from densemtl_core.data.class_lists import CLASS_LISTS, VKITTI_8_IDS, ClassMap, NativeClasses, class_list
from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.learning.written_files import write_whole
from densemtl_core.metrics import DepthError, MeanIoU, Metric
from densemtl_core.runtime import default_bundle
from densemtl_core.tasks import SemanticTask, Task, from_config
from training.datasets import DATASETS, make_dataset
from training.settings import DataSettings
from training.trained_network import TrainedNetwork

__all__ = ["Protocol", "as_judged", "evaluate_network", "label_protocol", "main"]

STREET_SIZE, STREET_SAMPLES = (192, 320), 128
SHARED = {"vkitti2": "vkitti8"}
"""The list in which a network of Cityscapes' 19 classes is judged where the data set's own has others than these."""

TOLD = {
    "cityscapes19": TRAIN_IDS.lists,
    "camvid11": camvid.CLASSES.lists,
    "vkitti14": vkitti2.CLASSES.lists,
    "vkitti8": VKITTI_8_IDS.lists,
}
"""Class list of a network to what its classes are, by name, in other lists."""

SCALED = "_median_scaled"

log = logging.getLogger("densemtl.evaluate")


@dataclass(frozen=True)
class Protocol:
    """In which classes the labels are counted, and what the network's ids are in them.

    Attributes:
        classes: a class list's name; None where nothing has classes.
        translation: from the network's ids; None where they are those of the list.
    """

    classes: str | None
    translation: ClassMap | None = None


def label_protocol(tasks: Iterable[Task], dataset: str, asked: str | None = None) -> Protocol:
    """Choose the classes to count in.

    The data set's own where the network has these, or has Cityscapes' 19, whose ids can be translated; else the
    network's, if the data set's labels can be told in them. A list that is asked for must be the network's, or one
    whose every class the network can predict. What the network predicts and the list does not have counts as a miss.

    Args:
        tasks: the network's.
        dataset: a key of `training.datasets.DATASETS`.
        asked: a class list that the user wants.

    Raises:
        InputError: the classes cannot be compared.
    """
    named = [task.class_names for task in tasks if isinstance(task, SemanticTask)]
    own = DATASETS[dataset].classes
    if own is None or not named:
        return Protocol(asked or own)
    known = [name for name, listed in CLASS_LISTS.items() if listed.classes == named[0]]
    if known and (asked or own) == known[0]:
        return Protocol(known[0])
    target = asked or SHARED.get(dataset, own)
    if known and (asked or known == ["cityscapes19"]) and (translation := _translation(known[0], target)):
        return Protocol(target, translation)
    told = known and (dataset != "street" or known[0] in TRAIN_IDS.lists)  # real data sets say themselves what they can
    if told and asked is None and known[0] != "cityscapes19":
        return Protocol(known[0])
    described = known[0] if known else f"{len(named[0])} classes of no known list"
    raise InputError(
        f"the network's classes ({described}) cannot be compared with {target}, those of {dataset}; "
        "leave that task out with --tasks"
    )


def evaluate_network(
    network: TrainedNetwork, tasks: Iterable[Task], samples: Iterable[Sample], protocol: Protocol
) -> dict[str, dict[str, Any]]:
    """Score every given task whose label the samples have.

    Args:
        network: that predicts.
        tasks: of the network.
        samples: unbatched, labelled in the protocol's classes.
        protocol: how class ids are compared.

    Returns:
        Task name to scores. Metric depth is also scored with each image scaled to its label's median
        (``..._median_scaled``): its shape, apart from its scale. Classes have their own ``IoU`` each.
    """
    judges = {task.name: as_judged(task, protocol) for task in tasks}
    metrics: dict[str, Metric] = {}
    shapes: dict[str, Metric] = {}
    unknown = 0
    for sample in samples:
        image = (sample.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        wanted = [name for name in judges if name in sample.labels]
        if not wanted:
            continue
        K = None if sample.intrinsics is None else sample.intrinsics.numpy()
        unknown += K is None and any(judges[name].camera_rule() for name in wanted)
        predictions = network.predict(image, wanted, K)
        for name in wanted:
            task, found = judges[name], predictions[name]
            if protocol.translation is not None and isinstance(task, SemanticTask):
                decoded = protocol.translation(found, sample.name)
            else:
                decoded = torch.from_numpy(found)
            decoded = decoded[None] if decoded.ndim == 2 else decoded.permute(2, 0, 1)[None]
            metric = metrics.setdefault(name, task.metric())
            task.score(metric, {name: decoded}, sample.labels[name][None])
            if isinstance(metric, DepthError) and not metric.median_scaling:
                shape = shapes.setdefault(name, DepthError(max_depth=metric.max_depth, median_scaling=True))
                task.score(shape, {name: decoded}, sample.labels[name][None])
    if unknown:
        log.warning("%d samples have no intrinsics: their depth is that of the network's canonical camera", unknown)
    scores: dict[str, dict[str, Any]] = {name: dict(metric.compute()) for name, metric in metrics.items()}
    for name, shape in shapes.items():
        scores[name] |= shape.compute()
    for name, metric in metrics.items():
        if isinstance(metric, MeanIoU):
            classes = judges[name].config()["class_names"]
            scores[name]["IoU"] = dict(zip(classes, metric.per_class().tolist(), strict=True))
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    judged = parser.add_mutually_exclusive_group()
    judged.add_argument("--bundle", type=Path, help="folder; default: the one that ships")
    judged.add_argument("--run", type=Path, help="instead, a run folder of training.train")
    labelled = [name for name, source in DATASETS.items() if source.labels]
    parser.add_argument("--dataset", required=True, choices=labelled)
    parser.add_argument("--root", type=Path, help="the data set's folder (docs/datasets.md); not for street")
    parser.add_argument("--tasks", metavar="NAME,...", help="default: all that the network and the labels share")
    parser.add_argument("--split", help="default: val (kitti: all)")
    parser.add_argument("--classes", help="class list to count in (default: the data set's own where comparable)")
    parser.add_argument("--size", help="HxW, resize images and labels first (default: as they are; street: 192x320)")
    parser.add_argument("--style", help="of the street world's frames (default: mixed)")
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="argument of the data set, as data.options in training; may be repeated (docs/datasets.md has them)",
    )
    parser.add_argument("--every", type=int, default=1, help="take every n-th sample (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write the scores as JSON")
    given = parser.parse_args(arguments)
    try:
        if given.out:
            _require_place(given.out)
        report = _evaluate(given)
        if given.out:
            write_whole(given.out, json.dumps(report, indent=1).replace("NaN", "null") + "\n")
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    for task, values in report["scores"].items():
        figures = {name: value for name, value in values.items() if isinstance(value, float)}
        for ending, title in (("", task), (SCALED, f"{task}, median-scaled")):
            row = [
                f"{k.removesuffix(SCALED)} {v:.4f}" for k, v in figures.items() if k.endswith(SCALED) == bool(ending)
            ]
            if row:
                print(f"{title:<20} {'  '.join(row)}")
        width = max(14, *map(len, values.get("IoU", {})), 0)
        for name, value in values.get("IoU", {}).items():
            print(f"{'':<20} {name:<{width}} {value:.4f}")
    print(
        f"{report['samples']} samples of {report['dataset']} {report['split']}, resolution {report['resolution']}, "
        f"classes {report['classes'] or 'none'}; {report['network']['name']}"
    )
    return 0


def _evaluate(given: argparse.Namespace) -> dict[str, Any]:
    if given.every < 1:
        raise InputError(f"--every is {given.every}; it must be at least 1")
    street = given.dataset == "street"
    if given.root is None and not street:
        raise InputError(
            f"--dataset {given.dataset} needs --root, the data set's folder; docs/datasets.md has its layout"
        )
    if given.style and not street:
        raise InputError(f"--style {given.style} is of the street world; {given.dataset} has none")
    options = _options(given.option)
    if given.style and "style" in options:
        raise InputError(f"--style {given.style} and --option style={options['style']}: give one of them")
    size = _size(given.size) if given.size else STREET_SIZE if street else None
    network = TrainedNetwork(bundle=None if given.run else given.bundle or default_bundle(), run=given.run)
    tasks = network.choose(given.tasks.split(",") if given.tasks else None)
    protocol = label_protocol(tasks, given.dataset, given.classes)
    split = given.split or ("all" if given.dataset == "kitti" else "val")
    data = DataSettings(
        dataset=given.dataset,
        root=None if given.root is None else str(given.root),
        size=None if size is None else list(size),
        flip=0.0,
        train=STREET_SAMPLES if street else None,
        validation=STREET_SAMPLES if street else None,
        options=({"style": given.style or "mixed", "seed": 0} if street else {}) | options,
    )
    dataset = make_dataset(data, [task.name for task in tasks], protocol.classes or "cityscapes19", split)
    indices = range(0, len(dataset), given.every)  # type: ignore[arg-type]
    shown = track(indices, "judging", transient=True, disable=not sys.stderr.isatty())
    scores = evaluate_network(network, tasks, (dataset[i] for i in shown), protocol)
    network.close()
    return {
        "network": network.about,
        "dataset": given.dataset,
        "split": split,
        "samples": len(indices),
        "every": given.every,
        "classes": protocol.classes if any("IoU" in values for values in scores.values()) else None,
        "options": options,
        "resolution": "the images' own" if size is None else f"{size[0]}x{size[1]}",
        "scores": scores,
    }


def as_judged(task: Task, protocol: Protocol) -> Task:
    """A task as it is judged: a semantic one gets the classes of the protocol."""
    if not isinstance(task, SemanticTask) or protocol.classes is None:
        return task
    target = class_list(protocol.classes)
    return from_config({**task.config(), "class_names": target.classes, "palette": target.palette})


def _translation(known: str, target: str) -> ClassMap | None:
    """A network's ids as those of another list; None where it could not predict each of that list's classes."""
    row = TOLD.get(known, {}).get(target, {})
    if set(row.values()) != set(class_list(target).classes):
        return None
    listed = CLASS_LISTS[known].classes
    return NativeClasses(known, dict(enumerate(listed)), {target: row}).to(target, strict=False)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise InputError(f"--size is {text!r}; give HEIGHTxWIDTH, e.g. 192x320")
    return int(height), int(width)


def _options(given: Sequence[str]) -> dict[str, Any]:
    """``name=value``, the value as in a configuration: ``variation=[fog,rain]``, ``edges.depth_step=0.15``."""
    for text in given:
        name, equals, _ = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--option is {text!r}; give NAME=VALUE, e.g. --option variation=clone")
    try:
        read: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(given)), resolve=True)
    except Exception as error:  # OmegaConf's and YAML's own errors come in several types
        raise InputError(f"--option {' '.join(given)}: not a value ({str(error).splitlines()[0]})") from None
    options: dict[str, Any] = read
    return options


def _require_place(out: Path) -> None:
    """An ``InputError`` when a file cannot be written there: told before the work, not after it."""
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give a file, e.g. {out / 'scores.json'}")
    place = out if out.exists() else next(p for p in out.absolute().parents if p.exists())
    if place != out and not place.is_dir():
        raise InputError(f"--out {out}: {place} is no folder; give another file")
    if not os.access(place, os.W_OK):
        raise InputError(f"--out {out}: {place} cannot be written; give another file")


if __name__ == "__main__":
    raise SystemExit(main())
