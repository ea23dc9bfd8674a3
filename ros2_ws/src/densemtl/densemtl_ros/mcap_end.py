"""Give an .mcap file whose recorder was killed an end: ``python -m densemtl_ros.mcap_end FILE NEW``. No ROS needed.

Whole messages reach the file in pieces of about a megabyte; only what follows the last whole piece is lost.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from densemtl_core.errors import InputError

__all__ = ["end_in_place", "main", "mend", "whole_bytes"]

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _CHUNK, _DATA_END = 0x02, 0x06, 0x0F
_RECORD = struct.Struct("<BQ")
"""Every record begins with its kind and the number of bytes that follow."""
_END = (
    _RECORD.pack(_DATA_END, 4)
    + bytes(4)  # a checksum that is not given
    + _RECORD.pack(_FOOTER, 20)
    + bytes(20)  # no summary: readers then go through the file
    + _MAGIC
)


def whole_bytes(path: Path) -> int:
    """Find where the last whole record of the data ends.

    Args:
        path: an .mcap file.

    Returns:
        Bytes from the file's beginning.

    Raises:
        InputError: no .mcap file, one that has its end, or one without a piece of data.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise InputError(f"{path} is no .mcap file; give the one in the recorder's unfinished folder")
        whole, chunks = len(_MAGIC), 0
        while len(head := file.read(_RECORD.size)) == _RECORD.size:
            kind, length = _RECORD.unpack(head)
            if kind == _DATA_END:
                raise InputError(f"{path} has its end: nothing to mend")
            if file.tell() + length > size:
                break
            file.seek(length, os.SEEK_CUR)
            whole = file.tell()
            chunks += kind == _CHUNK
    if not chunks:
        raise InputError(f"{path} was killed before anything reached it; nothing to mend")
    return whole


def mend(path: Path, new: Path) -> int:
    """Write a copy that ends properly.

    Args:
        path: the .mcap file without an end; left as it is.
        new: the file to write.

    Returns:
        Bytes that were cut off.

    Raises:
        InputError: as `whole_bytes`; or ``new`` exists, or cannot be written.
    """
    whole = whole_bytes(path)
    try:
        with path.open("rb") as source, new.open("xb") as target:
            shutil.copyfileobj(source, target)
            target.truncate(whole)
            target.seek(whole)
            target.write(_END)
    except FileExistsError:
        raise InputError(f"{new} exists; give the name of a new file") from None
    except OSError as error:
        new.unlink(missing_ok=True)
        raise InputError(f"{new} cannot be written ({error.strerror}); give another place") from None
    return path.stat().st_size - whole


def end_in_place(path: Path) -> None:
    """Cut a file after its last whole record and end it there: what a full disk still has room for.

    Args:
        path: the .mcap file without an end; nothing else writes into it any more.

    Raises:
        InputError: as `whole_bytes`.
        OSError: not even that can be written.
    """
    whole = whole_bytes(path)
    with path.open("r+b") as file:
        file.truncate(whole)
        file.seek(whole)
        file.write(_END)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; exit status 0, or 2 after one line about what cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m densemtl_ros.mcap_end", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the .mcap file without an end")
    parser.add_argument("new", type=Path, help="the file to write")
    options = parser.parse_args(arguments)
    try:
        if not options.file.is_file():
            raise InputError(f"{options.file} is not there; give the .mcap file of a recording that was killed")
        lost = mend(options.file, options.new)
    except InputError as error:
        print(f"mcap_end: {error}", file=sys.stderr)
        return 2
    print(f"{options.new}: {options.new.stat().st_size} bytes; {lost} that followed the last whole piece are lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
