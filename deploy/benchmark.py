"""How long a frame takes: bundles and engines side by side in one process, frame by frame in turns.

python deploy/benchmark.py robot.bundle                                          # each of its engines that runs here
python deploy/benchmark.py old.bundle new.bundle --backends onnx,eager --camera 720x1280
python deploy/benchmark.py --preset densemtl_edge_s --input 256x512 384x768 --int8
python deploy/benchmark.py robot.bundle --against other.onnx --json times.json --markdown times.md
python deploy/benchmark.py --presets all --plot docs/benchmarks/pareto.png      # our networks in one table

Milliseconds hold for this machine as it was meanwhile; the ratio to the first row is taken turn by turn, and is what to
rely on. Exit status: 0 timed; 2 refused; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

if __name__ == "__main__":
    # Run as a file, Python looks for imports beside it first; the packages lie one level up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from deploy.installed import ROBOT, require

    require("deploy/benchmark.py", ROBOT, "cpu")

import cv2
import numpy as np

from densemtl_core.errors import InputError, did_you_mean
from densemtl_core.runtime import Predictor, default_bundle
from densemtl_core.runtime.backends import BACKENDS
from deploy.benchmark_report import Report
from deploy.comparison import compare
from deploy.conditions import Disturbance, conditions, warning
from deploy.image_size import image_size
from deploy.latency import interleaved
from deploy.lineup import Wanted, line_up

__all__ = ["main"]

INPUT = (256, 512)
SECONDS = 120.0
GREY = 127


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = _arguments(arguments)
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        if given.presets is not None:
            _compare_presets(given, _command(arguments))
        else:
            _benchmark(given, _command(arguments))
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was written", file=sys.stderr)
        return 130
    return 0


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python deploy/benchmark.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("bundles", nargs="*", type=Path, metavar="BUNDLE", help="default: the one that ships, unless --preset is given")
    add("--backends", metavar="A,B", help=f"of {', '.join(BACKENDS)}; default: all that a bundle has and that run here")
    add(
        "--preset",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="untrained networks in the table of bundles",
    )
    add(
        "--input",
        action="extend",
        nargs="+",
        default=[],
        metavar="HxW",
        help="working sizes of --preset (default: 256x512)",
    )
    add("--int8", action="store_true", help="also compile --preset in INT8")
    add("--against", type=Path, metavar="FILE.onnx", help="time a foreign graph in the same turns")
    add("--camera", metavar="HxW", help="size of the image, default the largest working size")
    add("--threads", type=int, metavar="N", help="CPU threads of each engine, default its own choice")
    add("--presets", metavar="A,B", help="our presets by name, or all: which one to take")
    add("--plot", type=Path, metavar="FILE.png", help="of --presets: accuracy against time and arithmetic")
    add("--seconds", type=float, metavar="N", help="of --presets: for the turns of one (default: 120), after compiling")
    add("--street", type=Path, metavar="FILE", help="of --presets: a compare.json of training.compare instead of ours")
    add("--camvid", type=Path, metavar="FILE", help="of --presets: such a file for CamVid")
    add("--runs", type=int, default=30, metavar="N", help="timed frames each (default: %(default)s)")
    add("--warm-up", type=int, default=3, metavar="N", help="frames before, not timed (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--markdown", type=Path, metavar="FILE", help="write what is printed")
    return parser.parse_intermixed_args(arguments)  # options may stand between bundles


def _benchmark(given: argparse.Namespace, command: str) -> None:
    backends = _checked(given)
    sizes = [image_size("--input", text) for text in given.input] or [INPUT]
    camera = image_size("--camera", given.camera, 1) if given.camera else None
    told = conditions(given.threads)
    with tempfile.TemporaryDirectory(prefix="densemtl-benchmark-") as folder:
        wanted = Wanted(
            bundles=given.bundles or ([] if given.preset else [default_bundle()]),
            presets=given.preset,
            sizes=sizes,
            precisions=("fp32", "int8") if given.int8 else ("fp32",),
            backends=backends,
            against=given.against,
            threads=given.threads,
        )
        engines, left_out, camera = line_up(wanted, camera, Path(folder))
        image = np.full((*camera, 3), GREY, np.uint8)
        # of a predictor, the timing needs no more than what a foreign graph has too
        predictors = {engine.name: cast("Predictor", engine.predictor) for engine in engines}
        with Disturbance() as others:
            times = interleaved(predictors, image, runs=given.runs, warm_up=given.warm_up)
        for engine in engines:
            engine.predictor.close()
    told["other_processes_cores"] = None if others.cores is None else round(others.cores, 2)
    notes = [line for line in (warning(told["load_average"], others.cores),) if line]
    if any(engine.random_weights for engine in engines):
        notes.append("networks of --preset have RANDOM weights: as fast as trained ones, and their output is noise")
    notes += [f"left out: {line}" for line in left_out]
    report = Report(compare(engines, times), told, notes, camera, given.runs, given.warm_up, command)
    print(report.markdown())
    _write(given, "Latency", report.markdown(), report.data())


def _compare_presets(given: argparse.Namespace, command: str) -> None:
    _checked(given)
    try:
        from deploy.presets import Timing, chosen_presets, time_presets
        from deploy.presets_accuracy import CAMVID, STREET, accuracies
        from deploy.presets_report import PresetsReport
    except ImportError as error:
        raise InputError(
            f"--presets compiles, which needs {error.name or error}; install it with: "
            "pip install 'densemtl-core[deploy]'"
        ) from None
    size = image_size("--input", given.input[0]) if given.input else INPUT
    camera = image_size("--camera", given.camera, 1) if given.camera else size
    presets = chosen_presets(given.presets)
    timing = Timing(size, camera, given.threads, given.runs, given.seconds or SECONDS, given.warm_up)
    street = accuracies(given.street or STREET, "the street world", presets)
    camvid = accuracies(given.camvid or CAMVID, "CamVid", presets)
    told = conditions(given.threads)
    with tempfile.TemporaryDirectory(prefix="densemtl-benchmark-") as folder:
        timed = time_presets(presets, timing, Path(folder), lambda line: print(line, file=sys.stderr))
    others = max((preset.other_cores for preset in timed if preset.other_cores is not None), default=None)
    told["other_processes_cores"] = None if others is None else round(others, 2)
    warnings = [line for line in (warning(told["load_average"], others),) if line]
    report = PresetsReport(timed, street, camvid, timing, told, warnings, command)
    print(report.markdown())
    _write(given, "Presets", report.markdown(), report.data())
    if given.plot:
        if all(preset.fastest is None for preset in timed):
            raise InputError(f"--plot {given.plot} is not drawn: no engine beside eager was timed")
        _, encoded = cv2.imencode(".png", report.picture()[..., ::-1])
        given.plot.write_bytes(encoded.tobytes())


def _write(given: argparse.Namespace, title: str, markdown: str, data: dict[str, Any]) -> None:
    if given.markdown:
        given.markdown.write_text(f"# {title}\n\n{markdown}\n")
    if given.json:
        given.json.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")


def _checked(given: argparse.Namespace) -> list[str]:
    """Everything that can be refused before the work; gives the backends asked for."""
    for name, least, most in (("runs", 1, 10**6), ("warm_up", 0, 10**6), ("threads", 1, 1024)):
        value = getattr(given, name)
        if value is not None and not least <= value <= most:
            raise InputError(f"--{name.replace('_', '-')} is {value}; give {least} to {most}")
    for option, file in (("--json", given.json), ("--markdown", given.markdown), ("--plot", given.plot)):
        if file:
            _writable(option, file)
    _fitting(given)
    backends = [name.strip() for name in given.backends.split(",")] if given.backends is not None else []
    for name in backends:
        if name not in BACKENDS:
            hint = did_you_mean(name, BACKENDS)
            raise InputError(f"--backends has {name!r}, which is none; {hint}known: {', '.join(BACKENDS)}")
    return list(dict.fromkeys(backends))


def _writable(option: str, file: Path) -> None:
    """Refuse now what could not be written after minutes of timing."""
    parent = file.absolute().parent
    if not parent.is_dir():
        raise InputError(f"{option} {file}: there is no folder {parent}; create it first")
    if file.is_dir():
        raise InputError(f"{option} {file} is a folder; give a file in it")
    if not os.access(file if file.exists() else parent, os.W_OK):
        raise InputError(f"{option} {file} cannot be written; choose another place, or change its permissions")


def _fitting(given: argparse.Namespace) -> None:
    """Refuse options that mean nothing together."""
    if given.presets is None:
        for option in ("plot", "seconds", "street", "camvid"):
            if getattr(given, option) is not None:
                raise InputError(f"--{option} is for --presets; give --presets all, or leave it out")
        for option in ("input", "int8"):
            if getattr(given, option) and not given.preset:
                raise InputError(
                    f"--{option} is for --preset: a bundle was compiled already; give --preset, or leave it out"
                )
        return
    if given.bundles:
        raise InputError(f"--presets times no bundle; leave {given.bundles[0]} out, or --presets")
    for option in ("preset", "int8", "against", "backends"):
        if getattr(given, option):
            raise InputError(
                f"--{option} does not go with --presets, which times every engine; leave one of the two out"
            )
    if len(given.input) > 1:
        raise InputError(f"--input has {len(given.input)} sizes ({' '.join(given.input)}); --presets takes one")
    if given.plot and given.plot.suffix.lower() != ".png":
        raise InputError(f"--plot {given.plot} is no PNG file; give a name that ends in .png")
    if given.seconds is not None and not 0 < given.seconds < float("inf"):
        raise InputError(f"--seconds is {given.seconds:g}; give more than 0")
    for option, file in (("--street", given.street), ("--camvid", given.camvid)):
        if file and not file.is_file():
            raise InputError(f"{option} {file} is no file; give one, or leave the option out")


def _command(arguments: Sequence[str]) -> str:
    """What repeats the measurement."""
    set_here = [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS",) if name in os.environ]
    return shlex.join([*set_here, "python", "deploy/benchmark.py", *map(str, arguments)])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: no temporary folder stays behind
    raise SystemExit(main())
