"""Turn a checkpoint into a bundle that a robot can load.

python deploy/compile.py --checkpoint runs/latest --out build/mine.bundle
python deploy/compile.py --preset densemtl_edge_s --num-classes 19 --dry-run
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.models import PRESETS, DenseMTL, ModelDescription, build_model
from densemtl_core.runtime import Predictor
from densemtl_core.tasks import make_tasks
from deploy.packaging import package

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python deploy/compile.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help="folder with model.safetensors and model.json")
    source.add_argument("--preset", help=f"an untrained network, for timing: {', '.join(PRESETS)}")
    parser.add_argument("--num-classes", type=int, default=19, help="with --preset (default: %(default)s)")
    parser.add_argument("--input", metavar="HxW", help="working size, default that of training")
    parser.add_argument("--card", type=Path, help="model card to put into the bundle")
    parser.add_argument("--out", type=Path, default=Path("build/densemtl.bundle"), help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    given = parser.parse_args(arguments)
    try:
        model, description = _network(given)
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        tasks = ", ".join(t.name for t in description.tasks)
        height, width = description.input_size
        print(f"network   {description.preset}, {parameters:.2f} M parameters: {tasks}")
        print(f"input     {height}x{width}, fp32, backend eager")
        print(f"bundle    {given.out}{' (dry run: not written)' if given.dry_run else ''}")
        if given.dry_run:
            return 0
        card = given.card.read_text() if given.card else None
        bundle = package(model, description, given.out, accuracy=_accuracy(given.checkpoint), card=card)
        predictor = Predictor(bundle.path)
        predictor.warm_up(frames=1)
        predictor.close()
        size = sum(f.size for f in bundle.manifest.files.values()) / 1e6
        print(f"written   {size:.1f} MB, weights sha256 {bundle.manifest.sha256[:12]}; loaded and run once")
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _network(given: argparse.Namespace) -> tuple[DenseMTL, ModelDescription]:
    size = _size(given.input) if given.input else None
    if given.checkpoint:
        model, description = load_checkpoint(given.checkpoint)
        return model, ModelDescription(description.preset, description.tasks, size or description.input_size)
    torch.manual_seed(0)
    tasks = make_tasks(("semantic", "depth", "normals", "edges"), num_classes=given.num_classes)
    model = build_model(given.preset, tasks)
    print(f"warning: {given.preset} has RANDOM weights: for timing only", file=sys.stderr)
    return model, ModelDescription(given.preset, tasks, size or (256, 512))


def _accuracy(checkpoint: Path | None) -> dict[str, Any]:
    """What training measured, if the checkpoint's folder tells."""
    file = checkpoint / "metrics.json" if checkpoint else None
    if file is None or not file.is_file():
        return {}
    try:
        metrics = json.loads(file.read_text())
        return {"dataset": metrics["dataset"], "scores": metrics["scores"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged ({error!r}); remove it to pack the checkpoint without scores") from None


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) >= 32 and int(p) % 32 == 0 for p in parts):
        raise InputError(f"--input is {text!r}; give HEIGHTxWIDTH, both multiples of 32, e.g. 256x512")
    return int(parts[0]), int(parts[1])


if __name__ == "__main__":
    raise SystemExit(main())
