"""Labels that follow from others: normals from metric depth, edges from class changes and depth steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from densemtl_core.data.sample import IGNORE_CLASS, Sample
from densemtl_core.errors import InputError
from densemtl_core.geometry import normals_from_depth

__all__ = ["EdgeRule", "check_wanted", "derive", "edges_from_labels", "sources"]

_NEEDS = {"semantic": {"semantic"}, "depth": {"depth"}, "normals": {"depth"}, "edges": {"semantic", "depth"}}


@dataclass(frozen=True)
class EdgeRule:
    """What makes an edge.

    Attributes:
        classes: a change of class between two neighbours.
        depth_step: a jump to at least (1 + depth_step) times the nearer depth; None = depth makes no edges.
    """

    classes: bool = True
    depth_step: float | None = 0.08

    def __post_init__(self) -> None:
        if self.depth_step is not None and not self.depth_step > 0:
            raise InputError(f"edges: depth_step {self.depth_step} is not positive; give 0.08, say, or none")
        if not self.classes and self.depth_step is None:
            raise InputError("edges: neither classes nor depth_step is on; turn one of them on")


def sources(wanted: Sequence[str], rule: EdgeRule) -> set[str]:
    """Which of ``semantic`` and ``depth`` must be read from files to give the wanted labels."""
    needed: set[str] = set().union(*(_NEEDS[name] for name in wanted if name != "edges"))
    if "edges" in wanted:
        needed |= ({"semantic"} if rule.classes else set()) | ({"depth"} if rule.depth_step is not None else set())
    return needed


def check_wanted(dataset: str, wanted: Sequence[str], available: Sequence[str]) -> None:
    """An ``InputError`` when a label is asked for that a dataset does not have."""
    for name in wanted:
        if name not in available:
            raise InputError(f"{dataset}: has no label {name!r}; choose from {', '.join(available)}")


def _jump(inverse: Tensor, step: float) -> Tensor:
    """Depth discontinuities between neighbours along the last axis.

    Inverse depth is linear over the image of a plane, however steeply the plane runs away. A discontinuity is a
    difference that neither of the two adjoining differences explains; a crease is explained by one of them. Two pixels
    of equal depth have none, also between two steps or beside one at the border.

    Args:
        inverse: ``(..., n)`` 1 / metres, 0 = no surface, NaN = unknown.
        step: relative depth step.

    Returns:
        ``(..., n - 1)`` bool.
    """
    slope = inverse.diff()
    unknown = torch.full_like(slope[..., :1], torch.nan)
    before = (slope - torch.cat([unknown, slope[..., :-1]], -1)).abs()
    after = (slope - torch.cat([slope[..., 1:], unknown], -1)).abs()
    excess = torch.fmin(before, after)  # ignores NaN
    excess = torch.fmin(excess, slope.abs())
    nearest = torch.maximum(inverse[..., 1:], inverse[..., :-1])
    return (excess > nearest * (step / (1 + step))) & slope.isfinite()


def edges_from_labels(semantic: Tensor | None, depth: Tensor | None, rule: EdgeRule | None = None) -> Tensor:
    """One-pixel edges between 4-neighbours, on the nearer of the two pixels (the left or upper where depth is silent).

    Args:
        semantic: ``(H, W)`` int64 class ids, 255 = unlabelled, or None.
        depth: ``(1, H, W)`` metres, NaN = unknown, +inf = no surface, or None.
        rule: what makes an edge; by default class changes and depth steps of 8 %.

    Returns:
        ``(1, H, W)`` float32 in {0, 1}; NaN where no edge was found and the pixel's or a neighbour's class (without
        classes: depth) is unknown.

    Raises:
        InputError: the rule's sources are both absent.
    """
    rule = rule or EdgeRule()
    classes = semantic if rule.classes else None
    metres = depth[0] if depth is not None and rule.depth_step is not None else None
    first = classes if classes is not None else metres
    if first is None:
        raise InputError("edges: neither the semantic nor the depth label that they follow from is there; ask for one")
    edge = torch.zeros(first.shape, dtype=torch.bool, device=first.device)
    unknown = torch.zeros_like(edge)
    for axis in (0, 1):
        marks, blanks = edge.transpose(axis, 1), unknown.transpose(axis, 1)
        change = torch.zeros_like(marks[:, 1:])
        blank = torch.zeros_like(change)
        if metres is not None and rule.depth_step is not None:
            line = metres.transpose(axis, 1)
            change |= _jump(1 / line, rule.depth_step)
            blank = line[:, 1:].isnan() | line[:, :-1].isnan()
        if classes is not None:
            line = classes.transpose(axis, 1)
            a, b = line[:, :-1], line[:, 1:]
            blank = (a == IGNORE_CLASS) | (b == IGNORE_CLASS)
            change |= (a != b) & ~blank
        second = torch.zeros_like(change)
        if metres is not None:  # the nearer pixel carries the edge, also of a class change
            line = metres.transpose(axis, 1)
            second = line[:, 1:] < line[:, :-1]
        marks[:, :-1] |= change & ~second
        marks[:, 1:] |= change & second
        blanks[:, :-1] |= blank & ~change
        blanks[:, 1:] |= blank & ~change
    return torch.where(edge, 1.0, torch.where(unknown, torch.nan, 0.0))[None]


def derive(sample: Sample, wanted: Sequence[str], rule: EdgeRule | None = None) -> Sample:
    """Add the wanted labels that can be derived, and leave out those of the built-in ones that are not wanted.

    Args:
        sample: unbatched; a label that it already has is kept as it is. All labels have the image's size.
        wanted: names of labels.
        rule: what makes an edge.

    Returns:
        The sample with ``normals`` and ``edges`` where wanted and possible.

    Raises:
        InputError: a label's size is not the image's, or normals are wanted of a camera without intrinsics.
    """
    labels = dict(sample.labels)
    _check_sizes(sample, labels)
    semantic, depth = labels.get("semantic"), labels.get("depth")
    if "normals" in wanted and "normals" not in labels and depth is not None:
        if sample.intrinsics is None:
            raise InputError(
                f"{sample.name}: normals need the camera's intrinsics; give them, or do not ask for normals"
            )
        labels["normals"] = normals_from_depth(depth[None], sample.intrinsics[None])[0]
    if "edges" in wanted and "edges" not in labels:
        labels["edges"] = edges_from_labels(semantic, depth, rule)
    return replace(sample, labels={n: x for n, x in labels.items() if n in wanted or n not in _NEEDS})


def _check_sizes(sample: Sample, labels: Mapping[str, Tensor]) -> None:
    size = tuple(sample.image.shape[-2:])
    for name, label in labels.items():
        if (name in _NEEDS or name.startswith("image")) and tuple(label.shape[-2:]) != size:
            height, width = label.shape[-2:]
            raise InputError(
                f"{sample.name}: {name} is {width}x{height} pixels but the image {size[1]}x{size[0]}; "
                "use files of one size"
            )
