"""Calibration frames: where they come from, how they are chosen, and that they are told apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from densemtl_core.errors import InputError
from deploy.calibration import calibration_set


def folder_of(path, count, size=(48, 96)):
    path.mkdir()
    for number in range(count):
        cv2.imwrite(str(path / f"{number:03d}.png"), np.full((*size, 3), number * 10, np.uint8))
    return path


def test_synthetic_frames_repeat_and_say_so():
    one, two = (calibration_set(None, (64, 96), count=2) for _ in range(2))
    assert one.synthetic
    assert "street world" in one.source
    assert one.sha256 == two.sha256
    assert [frame.shape for frame in one.frames] == [(64, 96, 3)] * 2
    assert one.frames[0].std() > 5
    assert calibration_set(None, (64, 96), count=1).sha256 != one.sha256


def test_a_folder_is_sampled_evenly_from_end_to_end(tmp_path):
    found = calibration_set(str(folder_of(tmp_path / "drive", 11)), (64, 96), count=3)
    assert [int(frame.mean()) for frame in found.frames] == [0, 50, 100]
    assert not found.synthetic
    assert found.source == "3 of 11 frames of drive"


def test_frames_come_at_the_working_size_of_their_own_aspect(tmp_path):
    wide = calibration_set(str(folder_of(tmp_path / "wide", 1, (60, 240))), (64, 96))
    assert wide.frames[0].shape == (32, 160, 3)
    exact = calibration_set(str(tmp_path / "wide"), (64, 96), resize="stretch")
    assert exact.frames[0].shape == (64, 96, 3)


@pytest.mark.parametrize(("source", "count", "match"), [("/nowhere", 4, "no such file or folder"), (None, 0, "none")])
def test_refusals(source, count, match):
    with pytest.raises(InputError, match=match):
        calibration_set(source, (64, 96), count=count)
