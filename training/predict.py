"""Look at images with a trained network: a panel a picture, and on demand the arrays themselves.

python -m training.predict street --out out/street
python -m training.predict drive.mp4 --stride 5 --video --out out/drive
python -m training.predict drive.mp4 --intrinsics 718.9,718.9,607.2,185.2 --out out/metres
python -m training.predict images/ --run runs/mine --raw --tasks semantic,depth --out out/mine
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from densemtl_core.data.frames import Frames, open_frames
from densemtl_core.errors import InputError
from densemtl_core.runtime import default_bundle
from training.prediction_files import PredictionFiles
from training.trained_network import TrainedNetwork

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status: 1 when some pictures could not be read, 2 when nothing could be done."""
    parser = argparse.ArgumentParser(
        prog="python -m training.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="IMAGE|FOLDER|VIDEO|BAG|street", help="what to look at")
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--bundle", type=Path, help="bundle's folder; default: the one that ships")
    network.add_argument("--run", type=Path, help="instead, a run folder of training.train")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    parser.add_argument("--tasks", metavar="NAME,...", help="default: all that the network has")
    parser.add_argument("--raw", action="store_true", help="also write arrays at the images' resolution")
    parser.add_argument(
        "--panel", action=argparse.BooleanOptionalAction, default=True, help="write panels/NAME.png (default: yes)"
    )
    parser.add_argument("--video", action="store_true", help="also write panels.mp4")
    parser.add_argument("--stride", type=int, default=1, help="take every n-th picture (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="at most so many (default: all; 16 of the street world)")
    parser.add_argument("--topic", help="of a rosbag2 with several cameras")
    parser.add_argument(
        "--intrinsics",
        metavar="FX,FY,CX,CY",
        help="camera of files, a video or a bag, in their pixels (default: the bag's camera_info; else unknown); depth "
        "that was learnt with canonical_focal needs it for metres",
    )
    parser.add_argument("--size", metavar="HxW", help="resize pictures first (default: as they are; street: 192x320)")
    parser.add_argument("--threads", type=int, help="CPU threads of the network")
    given = parser.parse_args(arguments)
    try:
        size = _size(given.size)
        frames = open_frames(
            given.inputs,
            stride=given.stride,
            limit=given.limit,
            size=size,
            topic=given.topic,
            intrinsics=_numbers(given.intrinsics),
        )
        if not (given.panel or given.raw or given.video):
            raise InputError("--no-panel leaves nothing to write; add --raw or --video")
        if given.threads is not None and given.threads < 1:
            raise InputError(f"--threads is {given.threads}; it must be at least 1")
        if given.out.exists() and not given.out.is_dir():
            raise InputError(f"--out {given.out} is a file; give a folder")
        if given.out.is_dir() and any(given.out.iterdir()) and not given.force:
            raise InputError(
                f"--out {given.out} is not empty; give another folder, or --force to overwrite files in it"
            )
        if given.threads:
            torch.set_num_threads(given.threads)
        bundle = None if given.run else given.bundle or default_bundle()
        opened = TrainedNetwork(bundle=bundle, run=given.run)
        tasks = opened.choose(given.tasks.split(",") if given.tasks else None)
        files = PredictionFiles(
            given.out,
            tasks,
            opened.about,
            panel=given.panel,
            raw=given.raw,
            video=frames.rate if given.video else None,
        )
        with files:
            _predict(opened, frames, files)
        opened.close()
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; what lies in {given.out} is complete", file=sys.stderr)
        return 130
    done, skipped = len(files.frames), len(files.skipped)
    print(f"{done} of {done + skipped} pictures: {', '.join(t.name for t in tasks)} -> {given.out}")
    return 1 if skipped else 0


def _predict(network: TrainedNetwork, frames: Frames, files: PredictionFiles) -> None:
    wanted = [task.name for task in files.tasks]
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("predicting", total=len(frames))
        for number in range(len(frames)):
            try:
                image, K = frames[number]
            except InputError as error:
                if len(frames) == 1:
                    raise
                print(f"skipped: {error}", file=sys.stderr)
                files.skip(frames.sources[number], str(error))
            else:
                files.add(frames.names[number], frames.sources[number], image, network.predict(image, wanted, K))
            progress.advance(bar)
    if not files.frames:
        raise InputError(f"none of the {len(frames)} pictures can be read; see above")


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"--intrinsics is {text!r}; give FX,FY,CX,CY in pixels, e.g. 500,500,320,240") from None


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and 32 <= min(int(height), int(width)) <= 8192):
        raise InputError(f"--size is {text!r}; give HEIGHTxWIDTH of at least 32 pixels each, e.g. 192x320")
    return int(height), int(width)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: files are completed
    raise SystemExit(main())
