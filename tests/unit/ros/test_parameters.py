"""Node, parameter file, schema and documentation say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from densemtl_ros import parameters
from densemtl_ros.outputs import OUTPUTS, POINTS
from densemtl_ros.parameters import PARAMETERS, PARAMETERS_BY_NAME

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "ros2_ws" / "src" / "densemtl" / "config"
HOW = "write it anew: python -m densemtl_ros.parameters"


def flat(tree: dict, prefix: str = "") -> dict:
    out = {}
    for key, value in tree.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def file_parameters() -> dict:
    return yaml.safe_load((CONFIG / "perception.yaml").read_text())


def schema() -> dict:
    return json.loads((CONFIG / "perception.schema.json").read_text())


def test_yaml_holds_every_parameter_with_its_default_and_nothing_else():
    values = flat(file_parameters()["/**"]["ros__parameters"])
    assert values == {declaration.name: declaration.default for declaration in PARAMETERS}
    assert {name: type(value) for name, value in values.items()} == {d.name: d.type for d in PARAMETERS}


def test_yaml_schema_and_documentation_are_current():
    assert (CONFIG / "perception.yaml").read_text() == parameters.as_yaml(), f"{HOW} yaml"
    assert schema() == parameters.as_schema(), f"{HOW} schema"
    assert parameters.as_markdown() in (ROOT / "docs" / "ros_node.md").read_text(), f"{HOW} markdown"


def test_yaml_passes_the_schema():
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(file_parameters(), schema())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_rate", -1.0),
        ("input_reliability", "maybe"),
        ("bundle", 3),
        ("bundle_public_key", 3),
        ("output_scale", 0.3),
        ("max_rat", 1.0),
        ("cameras", "front"),
        ("cameras", ["front", "front"]),
        ("cameras", ["1st"]),
        ("cameras", [f"c{n}" for n in range(17)]),
        ("max_batch", 17),
        ("output_reliability", "auto"),
    ],
)
def test_schema_refuses_what_the_node_refuses(name, value):
    content = file_parameters()
    content["/**"]["ros__parameters"][name] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema())


def test_every_output_has_its_switch_and_every_switch_its_output():
    switches = {declaration.name for declaration in PARAMETERS if declaration.name.startswith("publish.")}
    assert {output.switch for output in (*OUTPUTS, POINTS)} == switches
    for output in (*OUTPUTS, POINTS):
        assert f"~/{output.topic} " in PARAMETERS_BY_NAME[output.switch].text


@pytest.mark.parametrize("declaration", PARAMETERS, ids=lambda declaration: declaration.name)
def test_defaults_are_allowed_and_texts_are_sentences(declaration):
    assert declaration.problem(declaration.default) is None
    assert declaration.text.endswith(".")
    assert (declaration.low is None) == (declaration.high is None)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("confidence_threshold", 1.5, "confidence_threshold: 1.5 is not allowed, must be 0.0 to 1.0"),
        ("max_rate", float("nan"), "max_rate: nan is not allowed, must be 0.0 to 1000.0"),
        ("max_overruns", 0, "max_overruns: 0 is not allowed, must be 1 to 100000"),
        ("max_overruns", True, "max_overruns: True is a bool, must be a int"),
        ("image_transport", "h264", "image_transport: 'h264' is not allowed, must be one of raw, compressed"),
        ("publish.depth", "yes", "publish.depth: 'yes' is a str, must be a bool"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(name, value, text):
    assert PARAMETERS_BY_NAME[name].problem(value) == text


@pytest.mark.parametrize("names", [[], ["front"], ["front", "rear_2", "A"], [f"camera{n}" for n in range(16)]])
def test_names_of_cameras(names):
    assert PARAMETERS_BY_NAME["cameras"].problem(names) is None
    content = file_parameters()
    content["/**"]["ros__parameters"]["cameras"] = names
    jsonschema.validate(content, schema())


@pytest.mark.parametrize(
    "names",
    [
        ["front", ""], ["2nd"], ["front rear"], ["front/left"], ["~"], ["_hidden"], ["a__b"], ["a_"], ["é"], ["a\n"],
        ["a", "a"], ["{camera}"], [3], [f"camera{n}" for n in range(17)],
    ],
)  # fmt: skip
def test_what_cannot_name_cameras_is_refused_with_the_rule(names):
    problem = PARAMETERS_BY_NAME["cameras"].problem(names)
    assert problem.startswith(f"cameras: {names!r} is not allowed, must be at most 16 different names: letters")
    assert "\n" not in problem


def test_an_empty_list_may_come_as_no_value_at_all():
    cameras = PARAMETERS_BY_NAME["cameras"]
    assert cameras.convert(None) == cameras.convert(()) == cameras.convert([]) == []
    assert cameras.convert(["front"]) == ["front"]
    assert cameras.problem(cameras.convert("front,rear")) == ("cameras: 'front,rear' is a str, must be a list of names")


def test_the_public_key_is_fixed_at_start_and_not_demanded_by_default():
    key = PARAMETERS_BY_NAME["bundle_public_key"]
    assert (key.default, key.read_only) == ("", True)
    assert "shipped" in key.text, "the shipped bundle is unsigned: whoever sets a key must know"


def test_a_whole_number_is_taken_for_a_floating_point_parameter_only():
    assert PARAMETERS_BY_NAME["max_rate"].convert(15) == 15.0
    assert type(PARAMETERS_BY_NAME["max_rate"].convert(15)) is float
    assert type(PARAMETERS_BY_NAME["max_rate"].convert(True)) is bool
    assert type(PARAMETERS_BY_NAME["max_overruns"].convert(15)) is int


def test_an_unknown_name_is_answered_with_the_nearest():
    assert parameters.unknown_name("max_rat") == "unknown parameter 'max_rat' is ignored; did you mean 'max_rate'?"
    assert parameters.unknown_name("zzzzz") == "unknown parameter 'zzzzz' is ignored"
    assert parameters.unknown_name("use_sim_time") is None
    assert parameters.unknown_name("qos_overrides./image.subscription.depth") is None


def test_command_line_writes_the_files(tmp_path):
    out = subprocess.run(
        [sys.executable, "-m", "densemtl_ros.parameters", "schema"], capture_output=True, text=True, check=True
    )
    assert json.loads(out.stdout) == parameters.as_schema()
    wrong = subprocess.run([sys.executable, "-m", "densemtl_ros.parameters", "toml"], capture_output=True, text=True)
    assert wrong.returncode != 0
    assert "yaml|schema|markdown" in wrong.stderr
