from __future__ import annotations

from pathlib import Path

import pytest

import training
from densemtl_core.errors import InputError
from training.settings import read_settings

CONFIGS = sorted(
    path
    for path in (Path(training.__file__).parent / "configs").glob("*.yaml")
    if not path.name.startswith("compare_")  # training.compare reads those
)
STREET = next(path for path in CONFIGS if path.name == "street_first.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_configuration_reads(path):
    settings = read_settings(path)
    assert settings.run.steps > 0
    assert settings.preset


def test_a_size_that_is_no_list_is_told_how_to_be_one():
    with pytest.raises(InputError, match=r"data\.size: wants a list; write data\.size=\[first,second\]"):
        read_settings(STREET, ["data.size=64x128"])


def test_overrides_reach_every_depth():
    settings = read_settings(STREET, ["run.steps=3", "data.size=[64,96]", "optimisation.lr=0.5"])
    assert (settings.run.steps, settings.data.size, settings.optimisation.lr) == (3, [64, 96], 0.5)


def test_an_unknown_key_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"stepz.*Did you mean: 'steps'"):
        read_settings(STREET, ["run.stepz=3"])


def test_a_wrong_type_is_refused():
    with pytest.raises(InputError, match="steps"):
        read_settings(STREET, ["run.steps=many"])


def test_a_missing_file_lists_those_there_are(tmp_path):
    with pytest.raises(InputError, match=r"configuration not found: .*street_first\.yaml"):
        read_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["{", "- a list", "run: [1"])
def test_what_is_no_configuration_is_refused(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml"):
        read_settings(tmp_path / "bad.yaml")


def test_options_of_another_data_set_go_when_the_command_names_one():
    other = read_settings(STREET, ["data.dataset=kitti", "data.root=x"])
    assert other.data.options == {}
    assert read_settings(STREET, ["data.dataset=street"]).data.options == {"style": "mixed"}
    told = read_settings(STREET, ["data.dataset=vkitti2", "data.options.variation=clone"])
    assert told.data.options == {"variation": "clone"}


def test_weights_of_other_tasks_go_when_the_command_names_tasks():
    published = STREET.with_name("vkitti2_sdn.yaml")
    assert read_settings(published, ["tasks=[depth]"]).weights == {"depth": 1}
    assert set(read_settings(published).weights) == {"semantic", "depth", "normals"}
