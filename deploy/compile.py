"""Turn a checkpoint into a bundle that a robot can load: export, quantise, judge, time, write.

python deploy/compile.py --int8                                               # the network that ships
python deploy/compile.py --checkpoint RUN --int8 --calibration YOUR_FRAMES    # your own: the line to use
python deploy/compile.py --preset densemtl_edge_s --backend onnx --dry-run

INT8 is what a CPU computes fastest, and the ranges to which it rounds are read from frames: give your own camera's.
Exit status: 0 written; 1 written nothing, because a task lost more accuracy than the gate allows; 2 refused.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
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

from densemtl_core.errors import InputError
from densemtl_core.models import PRESETS
from densemtl_core.runtime import Bundle, Predictor, default_bundle
from deploy.accuracy import labelled_street, street_frames
from deploy.agreement import agreement_of, told
from deploy.benchmark_report import cores_and_threads
from deploy.bundling import package
from deploy.calibration import COUNT, CalibrationSet, calibration_set
from deploy.comparison import ratio
from deploy.compilation import PRECISIONS, Compilation, Compiled
from deploy.compile_plan import CLASSES, JUDGED, CompilePlan, compile_plan
from deploy.conditions import Disturbance, conditions, warning
from deploy.gate_table import beside_shipped, gate_table
from deploy.held_out import held_out_frames, left_to_calibrate
from deploy.latency import interleaved, percentiles
from deploy.progress import Progress

__all__ = ["main"]

FEW = 16
"""Frames below which the gate may be passed, or not, by chance, and ranges for INT8 are those of single pictures."""

RUNS, WARM_UP = 30, 3
"""Frames of the times at the end, and those before that do not count."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    try:
        given = _arguments(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.getLogger("torch").setLevel(logging.ERROR)
    progress = Progress(sys.stdout)
    try:
        plan = compile_plan(given)
        _print_plan(given, plan)
        return 0 if given.dry_run else _compile(given, plan, progress)
    except (InputError, OSError) as error:
        progress.clear()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.clear()
        print(f"\ninterrupted: {given.out} is as it was before", file=sys.stderr)
        return 130


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python deploy/compile.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", help="folder with model.safetensors and model.json; default: shipped")
    source.add_argument("--preset", help=f"an untrained network, for timing: {', '.join(PRESETS)}")
    parser.add_argument("--num-classes", type=int, metavar="N", help=f"with --preset (default: {CLASSES})")
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
    parser.add_argument("--slim", action="store_true", help="without the files that the chosen engine does not load")
    parser.add_argument("--judge", type=int, metavar="N", help=f"labelled frames (default: {JUDGED}; eager: none)")
    parser.add_argument("--strict", action="store_true", help="leave nothing at a higher precision than asked for")
    parser.add_argument("--allow-accuracy-drop", action="store_true", help="write the bundle whatever it loses")
    parser.add_argument("--card", help="model card to put into the bundle")
    parser.add_argument("--sign", metavar="KEY", help="private Ed25519 key (PEM) to sign with: docs/signing.md")
    parser.add_argument("--out", default="build/densemtl.bundle", help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    given = parser.parse_args(arguments)
    for name in ("checkpoint", "preset", "input", "calibration", "card", "sign", "out"):
        value = getattr(given, name)
        if value is not None and not value.strip():
            raise InputError(f"--{name} is empty, as of a shell variable that is not set; give a value or leave it out")
    for name in ("checkpoint", "card", "sign", "out"):
        value = getattr(given, name)
        setattr(given, name, None if value is None else Path(value))
    return given


def _compile(given: argparse.Namespace, plan: CompilePlan, progress: Progress) -> int:
    if 0 < plan.judge < FEW:
        print(
            f"warning: --judge {plan.judge} is too few for the gate to mean much: give at least {FEW}", file=sys.stderr
        )
    if 0 < plan.calibrate < FEW:
        print(
            f"warning: {plan.calibrate} frames are too few to calibrate INT8 with: give at least {FEW}", file=sys.stderr
        )
    calibration = _calibrated(given, plan, progress)
    compiled = _compiled(given, plan, calibration, progress)
    if not compiled.drops and plan.backend != "eager":
        print("nothing was judged: how much accuracy this engine loses is not known")
    if compiled.drops:
        print(f"\n{gate_table(compiled.drops, f'{plan.backend} {plan.precision}')}")
        _print_beside_shipped(given, plan, compiled)
        print()
    compared = {}
    if calibration is not None and not calibration.synthetic:
        compared = _compare_on_own_frames(given, plan, calibration, compiled, progress)
    if not compiled.passes and not given.allow_accuracy_drop:
        lost = ", ".join(drop.task for drop in compiled.drops if not drop.passes)
        print(
            f"error: {lost} lost more than the gate allows; nothing was written. {_advice(plan)}; "
            "or accept it: --allow-accuracy-drop",
            file=sys.stderr,
        )
        return 1
    bundle = package(
        plan.model,
        plan.description,
        given.out,
        contents=compiled.contents,
        accuracy={**_accuracy(given, plan, compiled), **compared},
        card=plan.card,
        sign_with=given.sign,
    )
    size = sum(f.size for f in bundle.manifest.files.values()) / 1e6
    print(f"written   {given.out}: {size:.1f} MB, weights sha256 {bundle.manifest.sha256[:12]}")
    try:
        progress.stage(f"time {' and '.join(dict.fromkeys([plan.backend, 'eager']))}, turn by turn")
        _print_latency(given.out, plan.description.input_size, plan.backend)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {given.out} is written, only its times are missing", file=sys.stderr)
        return 130
    return 0


def _advice(plan: CompilePlan) -> str:
    """What may bring an engine within the gate; more frames only where there are more."""
    wanted = ["to judge on (--judge)"]
    if plan.calibrate and not plan.footage_frames:
        wanted.insert(0, "to calibrate with (--calibration-frames)")
    elif plan.calibrate and left_to_calibrate(plan.footage_frames, plan.footage_frames) > plan.calibrate:
        wanted.insert(0, f"of the {plan.footage_frames} there are to calibrate with (--calibration-frames)")
    elif plan.calibrate:
        wanted.insert(0, "to calibrate with, recorded first as all that there are were taken (--calibration)")
    return f"More frames may help, {' and '.join(wanted)}"


def _calibrated(given: argparse.Namespace, plan: CompilePlan, progress: Progress) -> CalibrationSet | None:
    """Frames for INT8; with one's own, some of them are left for `_compare_on_own_frames`."""
    if not plan.calibrate:
        return None
    progress.stage("read frames to calibrate with", min(plan.calibrate, plan.footage_frames or plan.calibrate))
    calibration = calibration_set(
        given.calibration, plan.description.input_size, count=plan.calibrate, done=progress.done
    )
    advice = "; your own camera's frames are better: --calibration PATH" if calibration.synthetic else ""
    progress.tell(f"calibrated on {calibration.source}{advice}")
    return calibration


def _compiled(
    given: argparse.Namespace, plan: CompilePlan, calibration: CalibrationSet | None, progress: Progress
) -> Compiled:
    samples = []
    if plan.judge:
        progress.stage(f"make {plan.judge} labelled frames of the street world to judge on")
        samples = labelled_street(plan.description.input_size, plan.judge, plan.description.tasks)
    compilation = Compilation(
        plan.model,
        plan.description,
        plan.backend,
        plan.precision,
        calibration,
        fixed=given.fixed,
        batch=given.batch,
        slim=given.slim,
        tell=progress.tell,
        progress=progress,
    )
    compiled = compilation.run(samples, retreat=not given.strict)
    progress.clear()
    return compiled


def _compare_on_own_frames(
    given: argparse.Namespace,
    plan: CompilePlan,
    calibration: CalibrationSet,
    compiled: Compiled,
    progress: Progress,
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
    progress.stage("compare INT8 with fp32 on frames of your own that were not calibrated on")
    frames = held_out_frames(given.calibration, calibration.frames, plan.description.input_size)
    name = Path(given.calibration).name
    if not frames:
        print(f"All frames of {name} were calibrated on: give more of them to learn how far INT8 is from fp32 there.\n")
        return {}
    tasks, backend = plan.description.tasks, plan.backend
    with tempfile.TemporaryDirectory(prefix="densemtl-trial-") as folder:
        trial = Path(folder) / "trial.bundle"
        package(plan.model, plan.description, trial, contents=compiled.contents)
        found = agreement_of(trial, backend, tasks, frames)
    print(f"On {len(frames)} frames of {name} that were not calibrated on, {backend} int8 beside eager fp32 (no gate):")
    for task, figures in found.items():
        print(f"{task:<12}{', '.join(told(name, value) for name, value in figures.items())}")
    print()
    return {"agreement": {"source": name, "frames": len(frames), "with": "eager fp32", "scores": found}}


def _accuracy(given: argparse.Namespace, plan: CompilePlan, compiled: Compiled) -> dict[str, Any]:
    """What was measured just now, or else what training measured, if the checkpoint's folder tells."""
    if compiled.after:
        return {
            "dataset": street_frames(plan.description.input_size, plan.judge),
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


def _print_plan(given: argparse.Namespace, plan: CompilePlan) -> None:
    if given.preset:
        print(f"warning: {given.preset} has RANDOM weights: for timing only", file=sys.stderr)
    parameters = sum(p.numel() for p in plan.model.parameters()) / 1e6
    tasks = ", ".join(t.name for t in plan.description.tasks)
    height, width = plan.description.input_size
    aspect = "exactly" if given.fixed else "and every aspect of about as many pixels"
    print(f"network   {plan.description.preset}, {parameters:.2f} M parameters: {tasks}")
    print(f"input     {height}x{width} {aspect}")
    print(f"engine    {plan.backend}, {plan.precision}")
    if plan.footage_frames:
        print(f"frames    {plan.calibrate} of {plan.footage_frames} frames of {given.calibration} to calibrate with")
    place = f"{given.out} -> {plan.out}" if plan.out != given.out else f"{given.out}"
    print(f"bundle    {place}, about {plan.size / 1e6:.0f} MB{' (dry run: not written)' if given.dry_run else ''}")


def _print_beside_shipped(given: argparse.Namespace, plan: CompilePlan, compiled: Compiled) -> None:
    """How good the network itself is, beside the one that ships; nothing where it is that one."""
    if given.checkpoint is None or not compiled.before:
        return
    frames = street_frames(plan.description.input_size, plan.judge)
    line = beside_shipped(plan.description.tasks, compiled.before, frames, Bundle(default_bundle()).manifest)
    if line:
        print(line)


def _print_latency(bundle: Path, size: tuple[int, int], backend: str) -> None:
    here = conditions(None)  # before an engine sets what it needs
    names = list(dict.fromkeys([backend, "eager"]))
    predictors = {name: Predictor(bundle, backend=name) for name in names}
    with Disturbance() as others:
        times = interleaved(predictors, np.full((*size, 3), 127, np.uint8), runs=RUNS, warm_up=WARM_UP)
    print(f"\n{'engine':<12}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'of eager':>10}{'10-90 %':>12}   device")
    for name, predictor in predictors.items():
        row = "".join(f"{value:>10.1f}" for value in percentiles(times[name]["total"]).values())
        turns = ratio(times[name]["total"], times["eager"]["total"])
        spread = f"{turns['p10']:.2f}-{turns['p90']:.2f}"
        print(f"{name:<12}{row}{turns['p50']:>10.2f}{spread:>12}   {predictor.device}")
        predictor.close()
    print(
        f"camera {size[0]}x{size[1]}; {RUNS} frames each, in turns, after {WARM_UP} others; "
        f"{cores_and_threads(here)}\n"
        "of eager: the time over eager's of the same turn of this run, median of the turns; "
        "10-90 %: where 80 % of the turns lie"
    )
    if disturbed := warning(None, others.cores):  # before, this command was itself at work
        print(f"warning: {disturbed}", file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: no temporary folder stays behind
    raise SystemExit(main())
