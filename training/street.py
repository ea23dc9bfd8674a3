"""The procedural street world on disk: drives in a real dataset's native layout, or a picture to look at.

python -m training.street --layout vkitti2 --out data/street --frames 50 --sequences 4
python -m training.street --layout cityscapes --out data/street --frames 30 --split val --style real
python -m training.street --sheet street.png
python -m training.street --further further.jpg --sequences 4
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from densemtl_core import render
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.street.export import LAYOUTS, export
from densemtl_core.data.street.sheet import contact_sheet, sequence_strip
from densemtl_core.data.street.world import FPS, FURTHER
from densemtl_core.errors import InputError
from densemtl_core.tasks import make_tasks
from training.panels import label_array
from training.picture_files import encoded

__all__ = ["further_sheet", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.street", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--layout", choices=list(LAYOUTS), help="write drives like this dataset's (needs --out)")
    what.add_argument("--sheet", type=Path, metavar="FILE", help="write a contact sheet: a row a street, with labels")
    what.add_argument("--further", type=Path, metavar="FILE", help="the same, with the labels of further tasks")
    what.add_argument("--strip", type=Path, metavar="FILE", help="write a strip of one drive: a column a frame")
    parser.add_argument("--out", type=Path, help="folder of the dataset; drives that are there are never overwritten")
    parser.add_argument("--frames", type=int, default=6, help="of each drive (default: %(default)s)")
    parser.add_argument("--sequences", type=int, help="drives (default: 1), or rows of the sheet (default: 6)")
    parser.add_argument("--first", type=int, default=0, help="first street of a picture (default: %(default)s)")
    parser.add_argument("--fps", type=float, default=FPS, help="frames a second (default: %(default)s)")
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--size", help="HEIGHTxWIDTH (default: 256x512; of a picture's cells 128x256)")
    parser.add_argument("--style", choices=("sim", "real", "mixed"), default="mixed")
    parser.add_argument("--seed", type=int, default=0, help="which world (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        if given.layout:
            _drives(given)
        else:
            _picture(given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: drives that were complete are kept, the one in work is not", file=sys.stderr)
        return 130
    return 0


def _drives(given: argparse.Namespace) -> None:
    if given.out is None:
        raise InputError("--layout needs --out, the folder to write to")
    sequences = 1 if given.sequences is None else given.sequences
    size = _size(given.size or "256x512")
    world = StreetWorld(given.seed, given.split, size, given.style, length=max(sequences, 1))
    with _progress(sequences * given.frames) as step:
        made = export(world, given.layout, given.out, sequences, given.frames, given.fps, step)
    print(f"{sequences} drives of {given.frames} frames in {given.out}:")
    for place in made:
        print(f"  {place}")


def _picture(given: argparse.Namespace) -> None:
    size = _size(given.size or "128x256")
    rows = 6 if given.sequences is None else given.sequences
    if rows < 1 or given.frames < 1 or given.first < 0:
        raise InputError("--sequences and --frames must be at least 1, --first at least 0")
    indices = range(given.first, given.first + rows)
    if given.sheet:
        picture = contact_sheet(indices, given.seed, given.split, size)
    elif given.further:
        world = StreetWorld(given.seed, given.split, size, given.style, given.first + rows, further=FURTHER)
        picture = further_sheet(world, indices)
    else:
        style = given.style
        picture = sequence_strip(given.first, given.frames, given.seed, given.split, size, style, given.fps)
    file = given.sheet or given.further or given.strip
    try:
        file.write_bytes(encoded(picture, file.suffix))
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}); give another file") from None
    print(f"{file}: {picture.shape[1]}x{picture.shape[0]} pixels")


def further_sheet(world: StreetWorld, indices: Sequence[int]) -> render.Picture:
    """One row a street: its picture, then the labels of the further tasks as those paint them.

    Args:
        world: made with all `FURTHER` labels.
        indices: which samples.

    Returns:
        ``(H', W', 3)`` uint8 RGB.
    """
    tasks = make_tasks(("albedo", *FURTHER))
    cells: list[tuple[str, render.Picture]] = []
    for index in indices:
        sample = world[index]
        cells.append((f"street {index}", render.rgb(sample.image.permute(1, 2, 0).numpy())))
        cells += [(task.name, task.paint(label_array(task, sample.labels[task.name]))) for task in tasks]
    return render.panel(cells, columns=1 + len(tasks), width=world.size[1])


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise InputError(f"--size is {text!r}; give HEIGHTxWIDTH, e.g. 256x512")
    return int(height), int(width)


@contextmanager
def _progress(frames: int) -> Iterator[Callable[[], object]]:
    """A bar on a terminal, nothing elsewhere; gives what is to be called after each frame."""
    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("frames", total=frames)
        yield lambda: bar.advance(task)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: a sequence is whole or not there
    raise SystemExit(main())
