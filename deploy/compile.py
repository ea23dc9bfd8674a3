"""Turn a checkpoint into a bundle that a robot can load: export, quantise, judge, time, write.

python deploy/compile.py --int8                                     # the network that ships, for this machine
python deploy/compile.py --checkpoint runs/latest --int8 --calibration drive.mp4 --out build/mine.bundle
python deploy/compile.py --preset densemtl_edge_s --backend onnx --dry-run

Exit status: 0 written; 1 written nothing, because a task lost more accuracy than the gate allows; 2 refused.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Run as a file, Python looks for imports beside it first; the packages lie one level up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from deploy.installed import COMPILER, require

    require("deploy/compile.py", COMPILER, "deploy")

import numpy as np
import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.models import PRESETS, DenseMTL, ModelDescription
from densemtl_core.runtime import Predictor, default_bundle
from densemtl_core.runtime.bundle import require_replaceable
from densemtl_core.runtime.signature import read_private_key
from deploy import tensorrt
from deploy.accuracy import Drop, labelled_street
from deploy.agreement import agreement_of, told
from deploy.bundling import package
from deploy.calibration import COUNT, CalibrationSet, calibration_set
from deploy.compilation import PRECISIONS, Compilation, Compiled
from deploy.held_out import held_out_frames, left_to_calibrate
from deploy.image_size import image_size
from deploy.latency import interleaved, percentiles
from deploy.untrained import untrained_network

__all__ = ["main"]

PREFERRED = ("tensorrt", "onnx", "eager")
"""What ``auto`` compiles for, the first that this machine can; OpenVINO has to be asked for."""

FEW = 16
"""Labelled frames below which the gate may be passed, or not, by chance."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    given = _arguments(arguments)
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        return _compile(given)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ninterrupted: {given.out} is as it was before", file=sys.stderr)
        return 130


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python deploy/compile.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--checkpoint", type=Path, help="folder with model.safetensors and model.json; default: shipped"
    )
    source.add_argument("--preset", help=f"an untrained network, for timing: {', '.join(PRESETS)}")
    parser.add_argument("--num-classes", type=int, default=19, help="with --preset (default: %(default)s)")
    parser.add_argument("--backend", choices=("auto", *PRECISIONS), default="auto", help="default: %(default)s")
    precision = parser.add_mutually_exclusive_group()
    for name in ("int8", "fp16", "bf16", "fp32"):
        precision.add_argument(f"--{name}", dest="precision", action="store_const", const=name)
    parser.set_defaults(precision="fp32")
    parser.add_argument("--calibration", metavar="PATH", help="frames for INT8: a folder, a video or a rosbag2")
    parser.add_argument("--calibration-frames", type=int, default=COUNT, metavar="N", help="default: %(default)s")
    parser.add_argument("--input", metavar="HxW", help="working size, default that of training")
    parser.add_argument("--fixed", action="store_true", help="compile for exactly that size instead of every aspect")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images at a time, TensorRT (default: 1)")
    parser.add_argument("--judge", type=int, default=32, metavar="N", help="labelled frames (default: %(default)s)")
    parser.add_argument("--strict", action="store_true", help="leave nothing at a higher precision than asked for")
    parser.add_argument("--allow-accuracy-drop", action="store_true", help="write the bundle whatever it loses")
    parser.add_argument("--card", type=Path, help="model card to put into the bundle")
    parser.add_argument(
        "--sign", type=Path, metavar="KEY", help="private Ed25519 key (PEM) to sign with: docs/signing.md"
    )
    parser.add_argument("--out", type=Path, default=Path("build/densemtl.bundle"), help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    return parser.parse_args(arguments)


def _compile(given: argparse.Namespace) -> int:
    model, description = _network(given)
    backend = _backend(given.backend, given.precision)
    if given.batch != 1 and (backend != "tensorrt" or given.batch < 1):
        raise InputError(
            f"--batch {given.batch} is for TensorRT engines, at least 1; other graphs take any number of images"
        )
    if given.judge < 0:
        raise InputError(f"--judge is {given.judge}; give a number of frames, or 0 to judge nothing")
    require_replaceable(given.out)  # a place that is taken is told before the long work, not after it
    _print_plan(given, model, description, backend)
    if given.dry_run:
        return 0
    card = _card(given.card) if given.card else None
    judged = backend != "eager" and not given.preset and given.judge > 0
    if judged and given.judge < FEW:
        print(
            f"warning: --judge {given.judge} is too few for the gate to mean much: give at least {FEW}", file=sys.stderr
        )
    if given.sign:
        read_private_key(given.sign)  # a bad key is told before the long work, not after it
    calibration = _calibration(given, description)
    if backend == "eager":
        compiled = Compiled.nothing()
    else:
        compilation = Compilation(
            model,
            description,
            backend,
            given.precision,
            calibration,
            fixed=given.fixed,
            batch=given.batch,
            tell=print,
        )
        samples = labelled_street(description.input_size, given.judge, description.tasks) if judged else []
        compiled = compilation.run(samples, retreat=not given.strict)
    _print_drops(compiled.drops, f"{backend} {given.precision}")
    compared = {}
    if calibration is not None and not calibration.synthetic and backend != "eager":
        compared = _compare_on_own_frames(given, calibration, model, description, compiled, backend)
    if not compiled.passes and not given.allow_accuracy_drop:
        lost = ", ".join(drop.task for drop in compiled.drops if not drop.passes)
        print(
            f"error: {lost} lost more than the gate allows; nothing was written. More frames may help, to calibrate "
            "with (--calibration-frames) and to judge on (--judge); or accept it: --allow-accuracy-drop",
            file=sys.stderr,
        )
        return 1
    accuracy = {**_accuracy(given, compiled), **compared}
    bundle = package(
        model, description, given.out, contents=compiled.contents, accuracy=accuracy, card=card, sign_with=given.sign
    )
    size = sum(f.size for f in bundle.manifest.files.values()) / 1e6
    print(f"written   {given.out}: {size:.1f} MB, weights sha256 {bundle.manifest.sha256[:12]}")
    try:
        _print_latency(given.out, description.input_size, backend)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {given.out} is written, only its times are missing", file=sys.stderr)
        return 130
    return 0


def _calibration(given: argparse.Namespace, description: ModelDescription) -> CalibrationSet | None:
    """Frames for INT8; with one's own, some of them are left for `_compare_on_own_frames`."""
    if given.precision != "int8":
        if given.calibration:
            raise InputError(f"--calibration {given.calibration} is for --int8; leave it out, or ask for --int8")
        return None
    count = given.calibration_frames
    if given.calibration and count > 0:
        count = left_to_calibrate(given.calibration, count)
    calibration = calibration_set(given.calibration, description.input_size, count=count)
    advice = "; your own camera's frames are better: --calibration PATH" if calibration.synthetic else ""
    print(f"calibrated on {calibration.source}{advice}")
    return calibration


def _compare_on_own_frames(
    given: argparse.Namespace,
    calibration: CalibrationSet,
    model: DenseMTL,
    description: ModelDescription,
    compiled: Compiled,
    backend: str,
) -> dict[str, Any]:
    """How far the engine is from fp32 on frames of one's own camera, which have no labels to judge it with.

    Returns:
        For the manifest's ``accuracy``; nothing where no frame was left.
    """
    if compiled.drops:
        print(
            "The gate is judged on the street world, whose frames have labels, not on your footage: it tells what INT8 "
            "costs there."
        )
    frames = held_out_frames(given.calibration, calibration.frames, description.input_size)
    name = Path(given.calibration).name
    if not frames:
        print(f"All frames of {name} were calibrated on: give more of them to learn how far INT8 is from fp32 there.\n")
        return {}
    with tempfile.TemporaryDirectory(prefix="densemtl-trial-") as folder:
        trial = Path(folder) / "trial.bundle"
        package(model, description, trial, contents=compiled.contents)
        found = agreement_of(trial, backend, description.tasks, frames)
    print(f"On {len(frames)} frames of {name} that were not calibrated on, {backend} int8 beside eager fp32 (no gate):")
    for task, figures in found.items():
        print(f"{task:<12}{', '.join(told(name, value) for name, value in figures.items())}")
    print()
    return {"agreement": {"source": name, "frames": len(frames), "with": "eager fp32", "scores": found}}


def _card(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"--card {file} is not text in UTF-8; give a Markdown file") from None


def _network(given: argparse.Namespace) -> tuple[DenseMTL, ModelDescription]:
    size = image_size("--input", given.input) if given.input else None
    if not given.preset:
        model, description = load_checkpoint(given.checkpoint or default_bundle())
        return model, ModelDescription(description.preset, description.tasks, size or description.input_size)
    network = untrained_network(given.preset, size, given.num_classes)
    print(f"warning: {given.preset} has RANDOM weights: for timing only", file=sys.stderr)
    return network


def _backend(asked: str, precision: str) -> str:
    """The backend to compile for; one that this machine cannot build is refused before anything is done."""
    candidates = [name for name in PREFERRED if precision in PRECISIONS[name]] if asked == "auto" else [asked]
    lacking = {name: _lacks(name) for name in candidates}
    able = [name for name in candidates if not lacking[name]]
    if asked == "auto" and lacking.get("tensorrt") and torch.cuda.is_available():
        print(f"auto      not tensorrt: {lacking['tensorrt']}")
    if able:
        return able[0]
    others = [name for name, known in PRECISIONS.items() if precision in known and name not in candidates]
    advice = f"; {precision} is also of --backend {' or '.join(others)}" if others else ""
    raise InputError("; ".join(f"backend {name}: {lacks}" for name, lacks in lacking.items()) + advice)


def _lacks(backend: str) -> str:
    """What is missing for a backend, empty where nothing is."""
    if backend == "tensorrt":
        return tensorrt.missing()
    library, extra = {"onnx": ("onnxruntime", "deploy"), "openvino": ("openvino", "openvino")}.get(
        backend, ("torch", "eager")
    )
    if importlib.util.find_spec(library):
        return ""
    return f"needs {library}; install it with: pip install 'densemtl-core[{extra}]'"


def _accuracy(given: argparse.Namespace, compiled: Compiled) -> dict[str, Any]:
    """What was measured just now, or else what training measured, if the checkpoint's folder tells."""
    if compiled.after:
        return {
            "dataset": f"procedural street world, real style, {given.judge} frames",
            "scores": compiled.after,
            "scores_fp32": compiled.before,
        }
    file = given.checkpoint / "metrics.json" if given.checkpoint else None
    if file is None or not file.is_file():
        return {}
    try:
        metrics = json.loads(file.read_text())
        return {"dataset": metrics["dataset"], "scores": metrics["scores"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged ({error!r}); remove it to pack the checkpoint without scores") from None


def _print_plan(given: argparse.Namespace, model: DenseMTL, description: ModelDescription, backend: str) -> None:
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    tasks = ", ".join(t.name for t in description.tasks)
    height, width = description.input_size
    aspect = "exactly" if given.fixed else "and every aspect of about as many pixels"
    print(f"network   {description.preset}, {parameters:.2f} M parameters: {tasks}")
    print(f"input     {height}x{width} {aspect}")
    print(f"engine    {backend}, {given.precision}")
    print(f"bundle    {given.out}{' (dry run: not written)' if given.dry_run else ''}")


def _print_drops(drops: Sequence[Drop], engine: str) -> None:
    if not drops:
        return
    width = 2 + max(len(engine), len("eager fp32"))
    print(f"\n{'task':<12}{'metric':<10}{'eager fp32':>{width}}{engine:>{width}}{'lost':>10}{'allowed':>10}")
    for drop in drops:
        if math.isnan(drop.before):
            print(f"{drop.task:<12}{drop.metric:<10} not judged: the street world has no labels for it")
            continue
        verdict = "" if drop.passes else "  TOO MUCH"
        scores = "".join(f"{value:>{width}.4f}" for value in (drop.before, drop.after))
        print(f"{drop.task:<12}{drop.metric:<10}{scores}{drop.lost:>10.4f}{drop.allowed:>10.4f}{verdict}")
    print()


def _print_latency(bundle: Path, size: tuple[int, int], backend: str) -> None:
    names = list(dict.fromkeys([backend, "eager"]))
    predictors = {name: Predictor(bundle, backend=name) for name in names}
    image = np.full((*size, 3), 127, np.uint8)
    times = interleaved(predictors, image)
    eager = float(np.median(times["eager"]["total"]))
    print(f"\n{'engine':<12}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'of eager':>10}   device")
    for name, predictor in predictors.items():
        row = "".join(f"{value:>10.1f}" for value in percentiles(times[name]["total"]).values())
        ratio = float(np.median(times[name]["total"])) / eager
        print(f"{name:<12}{row}{ratio:>10.2f}   {predictor.device}")
        predictor.close()


if __name__ == "__main__":
    raise SystemExit(main())
