"""A run's folder: one process at a time writes to it, and what it says of its settings is true."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from densemtl_core.errors import InputError
from densemtl_core.learning.run_files import checkpoints
from densemtl_core.learning.written_files import write_whole, writing
from training.provenance import provenance
from training.settings import Settings

__all__ = ["claimed", "flat", "open_run", "refuse_unfit", "tell_changes", "write_settings"]

log = logging.getLogger("densemtl.train")

CONFIG = "config.yaml"


@contextlib.contextmanager
def claimed(folder: Path, name: str) -> Iterator[bool]:
    """Whether this process has the folder to itself; the claim ends with the process, however it ends.

    Args:
        folder: made if it does not exist.
        name: of the hidden file that is locked; claims of different names do not see each other.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        claim = open(folder / name, "w")  # noqa: SIM115  (closed by the next line)
    with claim as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextlib.contextmanager
def open_run(out: Path, fresh: bool) -> Iterator[None]:
    """Have a run folder to oneself.

    Args:
        out: the folder; see `refuse_unfit`.
        fresh: a new run; what an attempt without a checkpoint left there is removed.

    Raises:
        InputError: another process is training into it.
    """
    with claimed(out, ".training") as ours:
        if not ours:
            raise InputError(f"another process is training into {out}; wait for it, or give another --out")
        refuse_unfit(out, fresh)  # once more: another run may have ended there since
        if fresh:
            (out / "history.jsonl").unlink(missing_ok=True)
            shutil.rmtree(out / "tensorboard", ignore_errors=True)
        yield


def refuse_unfit(out: Path, fresh: bool) -> None:
    """Refuse a folder that cannot become this run's, before anything is loaded; nothing is written.

    Raises:
        InputError: it is a file or the current directory, or holds a run although a new one begins.
    """
    if str(out) in ("", "."):
        raise InputError("--out is the current directory; give a folder of its own, such as runs/mine")
    if any(parent.is_file() for parent in (out, *out.parents)):
        raise InputError(f"--out {out} is a file, or lies below one; give a folder")
    if fresh and checkpoints(out):
        raise InputError(f"{out} holds a run already; go on with --resume last, or give another --out")


def write_settings(out: Path, settings: Settings) -> None:
    """Say in the folder with what the run is made, from now on."""
    write_whole(out / CONFIG, OmegaConf.to_yaml(OmegaConf.structured(settings)))
    write_whole(out / "provenance.json", json.dumps(provenance(), indent=1) + "\n")


def tell_changes(settings: Settings, out: Path) -> None:
    """A resumed run may differ from what it was begun with, but not in silence."""
    if not (out / CONFIG).is_file():
        return
    before, now = flat(OmegaConf.load(out / CONFIG)), flat(OmegaConf.structured(settings))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            log.warning("resumed with another setting: %s was %s, is now %s", key, before.get(key), now.get(key))


def flat(config: Any) -> dict[str, Any]:
    """An OmegaConf configuration as dotted key to value; lists stay whole."""

    def walk(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                yield from walk(inner, f"{prefix}.{key}" if prefix else str(key))
        else:
            yield prefix, value

    return dict(walk(OmegaConf.to_container(config), ""))
