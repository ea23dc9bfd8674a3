"""``adaptation.keep_aspect``: both domains get the sides of the target's camera."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from densemtl_core.errors import InputError
from densemtl_core.runtime.backends.base import working_size
from training.adaptation import with_target_aspect
from training.settings import read_settings

CONFIG = "training/configs/sim_to_footage.yaml"


@pytest.fixture
def frames(tmp_path):
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((90, 160, 3), np.uint8))
    return tmp_path


def test_sides_are_those_at_which_the_network_will_run(frames):
    settings = with_target_aspect(read_settings(CONFIG, [f"adaptation.target.root={frames}"]))
    expected = list(working_size((90, 160), (192, 256), "aspect"))
    assert settings.data.size == settings.adaptation.target.size == expected == [160, 288]
    assert with_target_aspect(settings) == settings  # done once


def test_other_settings_stay_as_they_are():
    settings = read_settings("training/configs/sim_to_real.yaml")
    assert with_target_aspect(settings) is settings


def test_a_crop_would_lose_the_aspect(frames):
    given = [f"adaptation.target.root={frames}", "data.crop=[96,96]"]
    with pytest.raises(InputError, match=r"keep_aspect needs data.size, and no crop"):
        with_target_aspect(read_settings(CONFIG, given))


@pytest.mark.parametrize("size", ["[0,0]", "[256,16]"])
def test_a_size_that_is_none_is_not_made_one(frames, size):
    given = [f"adaptation.target.root={frames}", f"data.size={size}"]
    with pytest.raises(InputError, match=r"data\.size is \[.*at least 32 each"):
        with_target_aspect(read_settings(CONFIG, given))
