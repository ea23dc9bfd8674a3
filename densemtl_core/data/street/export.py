"""The street world on disk, in the native layout of a real dataset: a drive at a time, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from densemtl_core.data.street.world import FPS, StreetWorld
from densemtl_core.data.street.write_cityscapes import cityscapes_places, write_cityscapes
from densemtl_core.data.street.write_vkitti2 import vkitti2_places, write_vkitti2
from densemtl_core.errors import InputError

__all__ = ["LAYOUTS", "export"]

_Places = Callable[[Path, str, int], dict[str, Path]]
_Write = Callable[[StreetWorld, int, int, float, Path, Callable[[], object]], None]

LAYOUTS: Mapping[str, tuple[_Places, _Write]] = {
    "vkitti2": (vkitti2_places, write_vkitti2),
    "cityscapes": (cityscapes_places, write_cityscapes),
}


def export(
    world: StreetWorld,
    layout: str,
    root: Path,
    sequences: int,
    frames: int,
    fps: float = FPS,
    wrote: Callable[[], object] = lambda: None,
) -> list[Path]:
    """Write drives through the world's first streets.

    Every drive is written under a temporary name in ``root`` and renamed when it is complete: whenever this stops,
    nothing half-written is found under a final name.

    Args:
        world: the street world; its split is the one written.
        layout: a key of `LAYOUTS`.
        root: folder of the dataset, made if it is not there; other drives may lie in it.
        sequences: number of drives.
        frames: of each drive.
        fps: frames a second.
        wrote: called after each frame.

    Returns:
        The folders made, in the order of drives.

    Raises:
        InputError: a number is out of range, a drive is there already, or the disk refuses.
    """
    if layout not in LAYOUTS:
        raise InputError(f"street world: layout {layout!r} is unknown; use one of {', '.join(LAYOUTS)}")
    for name, value in (("sequences", sequences), ("frames", frames), ("fps", fps)):
        if value <= 0:
            raise InputError(f"street world: {name} {value} is not positive; give 1 or more")
    find, write = LAYOUTS[layout]
    all_places = [find(root, world.split, sequence) for sequence in range(sequences)]
    for place in (p for places in all_places for p in places.values()):
        if place.exists():
            raise InputError(f"{place} is there already and is not overwritten; remove it, or give another folder")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for sequence, places in enumerate(all_places):
            with TemporaryDirectory(dir=root, prefix=".writing-") as name:
                folder = Path(name)
                write(world, sequence, frames, fps, folder, wrote)
                for made, place in places.items():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    (folder / made).rename(place)
    except OSError as error:
        where = error.filename or root
        raise InputError(f"{where}: cannot be written ({error.strerror}); free space, or give another folder") from None
    return [place for places in all_places for place in places.values()]
