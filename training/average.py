"""A network between two: what one learnt after the other, in part.

python -m training.average runs/my_camera/source_only runs/my_camera/adapted --out runs/my_camera/between
python -m training.average shipped runs/my_camera/adapted --share 0.3 --out runs/my_camera/between

Fine-tuning gains where it looks and forgets elsewhere. Of two networks on one path (the second began at the first, or
both at a third), the weights in between keep most of both (Wortsman et al. 2022, arXiv 2109.01903).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint, save_checkpoint
from densemtl_core.learning.written_files import write_whole
from densemtl_core.models import ModelDescription
from training.provenance import provenance
from training.starting_weights import start_folder

__all__ = ["between", "main"]


def between(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """``(1 - share) * before + share * after``, statistics of batch normalisation included; whole numbers of `after`.

    Args:
        before: a network's state.
        after: another's of the same names and shapes.
        share: of `after`, 0 to 1.
    """
    return {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() else value
        for name, value in after.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.average", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", help="run folder, bundle, or 'shipped'")
    parser.add_argument("after", help="run folder or bundle that began there")
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1 (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new one; must not exist")
    given = parser.parse_args(arguments)
    try:
        _average(given.before, given.after, given.share, given.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _average(before: str, after: str, share: float, out: Path) -> None:
    if not 0 <= share <= 1:
        raise InputError(f"--share is {share}; give a number from 0 (all of {before}) to 1 (all of {after})")
    if out.exists():
        raise InputError(f"--out {out} exists already; give another folder")
    first, described = load_checkpoint(start_folder(before))
    second, description = load_checkpoint(start_folder(after))
    if described.preset != description.preset or described.tasks != description.tasks:
        raise InputError(
            f"between networks that differ there is none: {before} is {_differing(described, description)}, {after} is "
            f"{_differing(description, described)}; give two of one path"
        )
    second.load_state_dict(between(first.state_dict(), second.state_dict(), share))
    save_checkpoint(out, second, description)
    made_of = {"before": before, "after": after, "share": share}
    write_whole(out / "provenance.json", json.dumps({"average": made_of, **provenance()}, indent=1) + "\n")
    print(f"written   {out}: {share:.0%} of {after}, the rest of {before}")


def _differing(one: ModelDescription, other: ModelDescription) -> str:
    """What the one has and the other has not."""
    told = [one.preset] if one.preset != other.preset else []
    others = {task.name: task for task in other.tasks}
    for task in one.tasks:
        twin = others.get(task.name)
        own = {field.name: getattr(task, field.name) for field in fields(task)}
        differing = {k: v for k, v in own.items() if type(twin) is type(task) and getattr(twin, k) != v}
        if differing:
            told.append(f"{task.name} with " + ", ".join(f"{k} {v}" for k, v in differing.items()))
        elif type(twin) is not type(task):
            told.append(f"of a task {task.name}")
    return " and ".join(told) or "without these"


if __name__ == "__main__":
    raise SystemExit(main())
