"""What a path on the command line is: images, a video, a bag, or a labelled data set in its native layout."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2

from densemtl_core.data.image_files import IMAGE_SUFFIXES
from densemtl_core.data.rosbag import BAG_SUFFIXES
from densemtl_core.errors import InputError
from training.datasets import DATASETS

__all__ = ["sniff"]

_LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "cityscapes": ("leftImg8bit/",),
    "vkitti2": ("Scene[0-9]*/",),
    "synthia": ("RGB/", "GT/"),
    "nyudv2": ("gt_sets/", "images/"),
    "camvid": ("train.txt", "train/"),
    "kitti": ("calib.txt", "image_*/"),
}
"""What a data set's folder holds; together, these are in no other's. A slash at the end is a folder."""

_VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
"""Looked for in a folder, to name one; which file is a video says OpenCV."""


def sniff(path: str) -> tuple[str, str]:
    """Decide what a path is.

    Args:
        path: a folder or a file, or ``NAME:PATH`` with a key of `training.datasets.DATASETS` to say what it is.

    Returns:
        The key of `DATASETS`, and the path without the name: ``data.dataset`` and ``data.root``.

    Raises:
        InputError: nothing is there, or nothing that is known.
    """
    name, colon, rest = path.partition(":")
    named = bool(colon) and name in DATASETS
    place = Path(rest if named else path).expanduser()
    if not (rest if named else path):
        raise InputError(f"target {path!r} is without a path; give a folder or a file, or NAME:PATH")
    if named and name == "street":
        raise InputError(f"target {path}: the street world is made, not read; give a folder or a file")
    if not place.exists():
        near = difflib.get_close_matches(name, list(DATASETS), n=1) if colon and not named else []
        hint = f"did you mean {near[0]}:{rest}? " if near else ""
        raise InputError(f"target: looked for the file or folder {place}, it is not there; {hint}check the path")
    if named:
        return name, str(place)
    return (_sniff_folder(place) if place.is_dir() else _sniff_file(place)), str(place)


def _sniff_file(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix in BAG_SUFFIXES:
        return "rosbag"
    if suffix in IMAGE_SUFFIXES:
        raise InputError(f"target {file} is one image; give the folder of all of them: {file.parent}")
    if suffix == ".bag":
        raise InputError(f"target {file} is a bag of ROS 1; convert it first: rosbags-convert --src {file} --dst NEW")
    if file.name == "metadata.yaml":
        raise InputError(f"target {file} describes a bag; give the bag's folder {file.parent}")
    capture = cv2.VideoCapture(str(file))
    video = capture.isOpened() and capture.grab()
    capture.release()
    if not video:
        bags = " or ".join(BAG_SUFFIXES)
        raise InputError(f"target {file} is neither a video that OpenCV can play nor a bag ({bags}); give one of them")
    return "video"


def _sniff_folder(folder: Path) -> str:
    described = folder / "metadata.yaml"
    if described.is_file() and b"rosbag2_bagfile_information" in described.read_bytes():
        return "rosbag"
    for name, marks in _LAYOUTS.items():
        if all(any(p.is_dir() == mark.endswith("/") for p in folder.glob(mark.rstrip("/"))) for mark in marks):
            return name
    if _first(folder.iterdir(), IMAGE_SUFFIXES):
        return "folder"
    if not any(folder.iterdir()):
        raise InputError(f"target {folder} is an empty folder; give one with images, a video or a bag")
    film = _first(folder.iterdir(), (*BAG_SUFFIXES, *_VIDEO_SUFFIXES))
    if film:
        raise InputError(f"target {folder} has no images, but {film.name}; give that file: {film}")
    inner = _first((*folder.glob("*/*"), *folder.glob("*/*/*")), IMAGE_SUFFIXES)
    if inner:
        raise InputError(f"target {folder} has no images itself, but its sub-folder {inner.parent} has; give that one")
    raise InputError(
        f"target {folder} has no images, and is no data set in a known layout ({', '.join(_LAYOUTS)}); "
        "give another folder, or NAME:PATH to say what it is"
    )


def _first(files: Iterable[Path], suffixes: tuple[str, ...]) -> Path | None:
    """The first file by name, of sub-folders in the order of theirs."""
    found = (f for f in files if f.suffix.lower() in suffixes and f.is_file())
    return min(found, key=lambda f: (len(f.parts), f), default=None)
