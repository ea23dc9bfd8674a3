"""The rows of ``--sim-to-real``: what they share, and in what alone they differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from densemtl_core.errors import InputError
from training.settings import read_settings
from training.sim_to_real import branches, validation_of

OUT = Path("runs/any")
CONFIGS = "training/configs"


def rows(*overrides: str, config: str = "sim_to_real", wanted=None):
    return {b.name: b for b in branches(read_settings(f"{CONFIGS}/{config}.yaml", overrides), OUT, wanted)}


def test_all_rows_begin_at_the_source_and_are_as_long():
    made = rows("adaptation.source_steps=7", "run.steps=5")
    assert list(made) == ["source", "source_only", "adapted", "target_labels"]
    first, *others = made.values()
    assert (first.settings.start, first.settings.run.steps) == (None, 7)
    assert {(b.settings.start, b.settings.run.steps) for b in others} == {(str(OUT / "source"), 5)}
    assert len({str(b.settings.run) for b in others}) == len({str(b.settings.optimisation) for b in others}) == 1


def test_rows_differ_in_what_they_learn_from():
    made = {name: b.settings for name, b in rows().items()}
    assert replace(made["adapted"], adaptation=None) == made["source_only"]
    assert replace(made["target_labels"], data=made["source_only"].data) == made["source_only"]
    assert made["source_only"].data.options["style"] == "sim"
    assert made["target_labels"].data.options["style"] == "real"
    assert all(s.data.validation == 0 for s in made.values())  # all are judged alike, at the end


def test_rates_are_a_share_of_the_start_s():
    made = rows("adaptation.rate=0.25", "optimisation.lr=0.004", "optimisation.encoder_lr=0.002")
    assert made["source"].settings.optimisation.lr == 0.004
    how = made["adapted"].settings.optimisation
    assert (how.lr, how.encoder_lr) == (0.001, 0.0005)


def test_a_start_that_is_given_is_the_first_row():
    made = rows("start=runs/other", "encoder_weights=some.pth", "adaptation.rate=0.5")
    assert "source" not in made
    assert made["adapted"].settings.start == "runs/other"
    assert made["adapted"].settings.encoder_weights is None  # the start has an encoder
    assert made["adapted"].settings.optimisation.lr == 2e-3  # nothing to take a share of


def test_footage_without_labels_is_adapted_to_and_nothing_else():
    assert list(rows("adaptation.target.root=x", config="sim_to_footage")) == ["adapted"]
    judged = ["adaptation.target.root=x", "adaptation.validation.dataset=camvid", "adaptation.validation.root=y"]
    assert list(rows(*judged, config="sim_to_footage")) == ["source_only", "adapted"]
    with pytest.raises(InputError, match="folder has no labels to train on"):
        rows("adaptation.target.root=x", config="sim_to_footage", wanted=["target_labels"])


def test_whose_labels_judge():
    camvid = read_settings(f"{CONFIGS}/street_to_camvid.yaml", ["adaptation.target.crop=[64,64]"])
    own = validation_of(camvid)
    assert (own.dataset, own.crop, own.flip) == ("camvid", None, 0.0)
    other = ["adaptation.validation.dataset=kitti", "adaptation.validation.root=y"]
    assert validation_of(read_settings(f"{CONFIGS}/street_to_camvid.yaml", other)).dataset == "kitti"
    assert validation_of(read_settings(f"{CONFIGS}/sim_to_footage.yaml")) is None


@pytest.mark.parametrize("wrong", ["adaptation.rate=0", "adaptation.source_steps=-1"])
def test_values_that_cannot_be(wrong):
    with pytest.raises(InputError, match=r"adaptation\.rate is .*, source_steps"):
        rows(wrong)
