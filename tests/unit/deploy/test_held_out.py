"""Frames that are compared on were not calibrated on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from densemtl_core.errors import InputError
from deploy.calibration import calibration_set
from deploy.held_out import HELD_OUT, held_out_frames, left_to_calibrate

SIZE = (32, 64)


def footage(folder: Path, count: int, *, still: bool = False) -> str:
    for k in range(count):
        pixels = np.full((32, 64, 3), 9 if still else 2 * k, np.uint8)
        cv2.imwrite(str(folder / f"{k:03d}.png"), pixels)
    return str(folder)


@pytest.mark.parametrize(
    ("there", "wanted", "left"), [(1, 64, 1), (4, 64, 4), (10, 64, 8), (70, 64, 56), (100, 64, 64), (10, 3, 3)]
)
def test_a_fifth_is_kept_where_there_are_few(there, wanted, left):
    assert left_to_calibrate(there, wanted) == left


@pytest.mark.parametrize(("there", "expected"), [(10, 2), (100, HELD_OUT), (4, 0)])
def test_none_was_calibrated_on(tmp_path, there, expected):
    source = footage(tmp_path, there)
    used = calibration_set(source, SIZE, count=left_to_calibrate(there, 64)).frames
    held = held_out_frames(source, used, SIZE)
    assert len(held) == expected
    values = {int(frame[0, 0, 0]) for frame in held}
    assert len(values) == expected
    assert not values & {int(frame[0, 0, 0]) for frame in used}
    assert all(frame.shape == (*SIZE, 3) for frame in held)
    if expected == HELD_OUT:
        assert min(values) < 40, "from the start of the drive"
        assert max(values) > 160, "and from its end"


def test_the_same_picture_again_is_not_another_one(tmp_path):
    source = footage(tmp_path, 10, still=True)
    used = calibration_set(source, SIZE, count=2).frames
    assert held_out_frames(source, used, SIZE) == []
    assert len(held_out_frames(source, [], SIZE)) == 1


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        held_out_frames(str(tmp_path / "gone"), [], SIZE)
