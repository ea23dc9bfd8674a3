"""Files that appear whole or not at all; what stops one from being written, a full disk say, is told in one line."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from densemtl_core.errors import InputError

__all__ = ["UnwritableError", "write_through", "write_whole", "writing"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


class UnwritableError(InputError):
    """Something cannot be written; the message says what, why, and how much room there is."""


@contextmanager
def writing(path: Path, size: int | None = None) -> Iterator[None]:
    """Name the file or folder in what the system says while it is written: of a full disk it names none itself.

    Args:
        path: what is written.
        size: of all of it in bytes, where that is known.

    Raises:
        UnwritableError: in place of any `OSError`.
    """
    try:
        yield
    except OSError as error:
        reason, fix = error.strerror or str(error), "check the folder and its permissions"
        if error.errno in _FULL:
            place = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
            needed = "" if size is None else f" of {size / 1e6:.1f} MB needed"
            reason += f", {shutil.disk_usage(place).free / 1e6:.1f} MB are free{needed}"
            fix = "make room"
        raise UnwritableError(f"{path} cannot be written ({reason}); {fix}") from None


def write_through(path: Path, data: bytes) -> None:
    """Write a file through to the disk: else a power cut may leave the name and nothing in it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file that appears whole or not at all; text in UTF-8.

    Args:
        path: its folder is made if it does not exist; an older file stays until the new one is complete.
        data: all of it.

    Raises:
        UnwritableError: it cannot be.
    """
    # Several processes may write the same file.
    partial = path.with_name(f".part.{os.getpid()}.{path.name}")
    content = data.encode() if isinstance(data, str) else data
    with writing(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_through(partial, content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
