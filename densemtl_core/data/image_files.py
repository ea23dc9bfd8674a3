"""Image files from disk: colour, 16-bit and label images, and clear words when one is missing or broken."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densemtl_core.errors import InputError

__all__ = [
    "IMAGE_SUFFIXES",
    "glance",
    "image_names",
    "neighbour_label",
    "read_labels",
    "read_rgb",
    "read_uint16",
    "require_files",
    "require_folder",
    "to_image",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_TAIL = 4096
"""Bytes of a file's end in which a whole JPEG or PNG says so, padding behind it included."""


def _fault(data: bytes) -> str:
    """What is wrong with a PNG's or JPEG's bytes, or nothing.

    Some OpenCV versions fill the missing rest of a truncated file with grey and only warn, so it is looked for here.
    """
    if not data:
        return "the file is empty"
    if data.startswith(_JPEG) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        return "the JPEG ends early"
    if not data.startswith(_PNG):
        return ""
    at = len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            return f"the PNG's checksum is wrong at byte {at}"
        if data[at + 4 : at + 8] == b"IEND":
            return ""
        at = end
    return "the PNG ends early"


def _refused(path: Path, fault: str) -> InputError:
    return InputError(f"{path}: not a readable image ({fault}); copy the file again")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions")


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; unpack the dataset again") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if fault := _fault(data):
        raise _refused(path, fault)
    return data


def glance(path: Path) -> str:
    """What a look at a file's two ends shows to be wrong, in the words in which reading it would refuse; or nothing.

    Quick enough for thousands of files. It finds what is empty or was cut off, not what was damaged in the middle.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(len(_PNG))
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            tail = file.read()
        whole = bool(head)
        if head.startswith(_JPEG):
            whole = b"\xff\xd9" in tail
        elif head == _PNG:
            whole = b"IEND" in tail
        if not whole:
            _read(path)
    except OSError as error:
        return str(_unreadable(path, error))
    except InputError as error:
        return str(error)
    return ""


def _decode(path: Path, flags: int) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(_read(path), np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise _refused(path, "OpenCV cannot decode it")
    decoded: NDArray[Any] = pixels
    return decoded


def to_image(rgb: NDArray[np.uint8]) -> Tensor:
    """``(H, W, 3)`` uint8 RGB to ``(3, H, W)`` float32 RGB in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float().div_(255)


def read_rgb(path: Path) -> Tensor:
    """``(3, H, W)`` float32 RGB in [0, 1]; a grey image gets three equal channels (``InputError``: not readable)."""
    rgb: Any = cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return to_image(rgb)


def read_labels(path: Path) -> NDArray[Any]:
    """A label image just as stored: ``(H, W)`` or ``(H, W, 3)`` in RGB order, uint8 or uint16, alpha dropped.

    Raises:
        InputError: the file cannot be read.
    """
    pixels = _decode(path, cv2.IMREAD_UNCHANGED)
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., 2::-1])


def read_uint16(path: Path) -> NDArray[np.float32]:
    """A 16-bit measurement (depth, disparity) in its stored unit, as ``(H, W)`` float32, exact.

    Three equal channels are accepted as one.

    Raises:
        InputError: the file cannot be read, or does not hold one 16-bit value a pixel.
    """
    pixels = read_labels(path)
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        found = f"{channels} channel(s) of {pixels.dtype}"
        raise InputError(f"{path}: holds {found}, expected one channel of uint16; use the dataset's original file")
    return pixels.astype(np.float32)


def require_folder(dataset: str, folder: Path, hint: str = "check root") -> Path:
    """The folder, or an ``InputError`` that says what was looked for and where."""
    if not folder.is_dir():
        raise InputError(f"{dataset}: looked for the folder {folder}, it is not there; {hint}")
    return folder


def image_names(dataset: str, folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """Sorted names of the images in a folder; none at all is an ``InputError``."""
    require_folder(dataset, folder)
    names = sorted(e.name for e in os.scandir(folder) if e.name.lower().endswith(tuple(suffixes)))
    if not names:
        raise InputError(f"{dataset}: looked for {', '.join(suffixes)} images in {folder}, there are none; check root")
    return names


def require_files(dataset: str, what: str, files: Sequence[Path]) -> None:
    """An ``InputError`` when some files of a dataset are absent, with their number and the first one."""
    missing = [f for f in files if not f.is_file()]
    if missing:
        raise InputError(
            f"{dataset}: {len(missing)} of {len(files)} {what} files are missing, first {missing[0]}; "
            f"unpack its {what} archive completely, or do not ask for it"
        )


def neighbour_label(offset: int) -> str:
    """The label name of the picture ``offset`` frames later: ``image-1``, ``image+1``; ``(3, H, W)`` like the image."""
    return f"image{offset:+d}"
