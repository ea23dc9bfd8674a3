"""Every parameter of the perception node in one table.

The node's declarations and descriptors, the check of a new value, `config/perception.yaml`, its JSON schema and the
table in the documentation all follow from `PARAMETERS`. To write one of the files anew:
``python -m densemtl_ros.parameters yaml|schema|markdown``.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PARAMETERS", "PARAMETERS_BY_NAME", "Declaration", "as_markdown", "as_schema", "as_yaml", "unknown_name"]

Value = bool | int | float | str | list[str]
_ROS_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
_NAME = "^[A-Za-z](_?[A-Za-z0-9])*$"
"""What ROS takes as a part of a topic's name, hidden ones and ``__`` left out."""
_ANY_NODE = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares on every node."""


@dataclass(frozen=True)
class Declaration:
    """One parameter.

    Attributes:
        name: its name; dots group.
        default: the value when nobody sets it; its type is the parameter's type.
        text: what it does, with its unit.
        low: smallest value of a number.
        high: largest value of a number.
        choices: the only values allowed; empty = any.
        most: of a list: how many names it may have.
        read_only: fixed when the node starts.
    """

    name: str
    default: Value
    text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Value, ...] = ()
    most: int = 0
    read_only: bool = False

    @property
    def type(self) -> type:
        """`bool`, `int`, `float`, `str`, or `list` of names."""
        return type(self.default)

    @property
    def type_name(self) -> str:
        """The type in words."""
        return "list of names" if self.type is list else self.type.__name__

    @property
    def constraint(self) -> str:
        """What is allowed, in words; empty when everything is."""
        if self.type is list:
            return f"at most {self.most} different names: letters and digits, single _ between them, a letter first"
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        return "" if self.low is None else f"{self.low} to {self.high}"

    def convert(self, value: Any) -> Any:
        """Give a value the parameter's type, where ROS or a person's hand gave it another.

        Nobody writes ``15.0`` where ``15`` says it, and ROS reads an empty list as no value at all.
        """
        if self.type is list:
            return [] if value is None else list(value) if isinstance(value, tuple) else value
        return float(value) if self.type is float and type(value) is int else value

    def problem(self, value: Any) -> str | None:
        """Say in one line why a value cannot be used; None when it can."""
        if type(value) is not self.type:
            quoted = f"; write it as '\"{value}\"'" if self.type is str else ""
            return f"{self.name}: {value!r} is a {type(value).__name__}, must be a {self.type_name}{quoted}"
        if self.type is list:
            names = all(isinstance(name, str) and re.fullmatch(_NAME, name) for name in value)
            wrong = not names or len(value) > self.most or len(set(value)) < len(value)
            return f"{self.name}: {value!r} is not allowed, must be {self.constraint}" if wrong else None
        wrong = bool(self.choices) and value not in self.choices
        if self.low is not None and self.high is not None:
            # NaN fails both comparisons, and so is refused too.
            wrong = wrong or not self.low <= value <= self.high or (self.type is float and not math.isfinite(value))
        return f"{self.name}: {value!r} is not allowed, must be {self.constraint}" if wrong else None


def _switch(name: str, topic: str, default: bool = True) -> Declaration:
    return Declaration(f"publish.{name}", default, f"Offer ~/{topic} (computed only while somebody subscribes).")


PARAMETERS: tuple[Declaration, ...] = (
    Declaration(
        "bundle", "", "Folder of the bundle to run; empty = the bundle that the package ships.", read_only=True
    ),
    Declaration(
        "bundle_public_key",
        "",
        "PEM file of an Ed25519 public key: only a bundle that its owner signed runs, so not the shipped one, which is "
        "unsigned; empty = signatures are not looked at.",
        read_only=True,
    ),
    Declaration("backend", "auto", "Inference backend by name; auto = the best that loads here.", read_only=True),
    Declaration("threads", 0, "CPU threads for inference; 0 = the backend's own choice.", 0, 1024, read_only=True),
    Declaration(
        "autostart",
        False,
        "Configure and activate at start; false = wait for a lifecycle manager or a launch file.",
        read_only=True,
    ),
    Declaration(
        "cameras",
        [],
        "Names of several cameras: each reads NAME/image and NAME/camera_info, and publishes below ~/NAME; empty = one "
        "camera, whose topics are without a name.",
        most=16,
        read_only=True,
    ),
    Declaration(
        "max_batch",
        0,
        "Most frames of different cameras that go through the network at once; 0 = as many as the engine gains by, "
        "on a CPU 1.",
        0,
        16,
        read_only=True,
    ),
    Declaration(
        "image_transport",
        "raw",
        "Input topic: raw = image (sensor_msgs/Image), compressed = image/compressed (JPEG or PNG).",
        choices=("raw", "compressed"),
        read_only=True,
    ),
    Declaration(
        "input_reliability",
        "auto",
        "Reliability of the image subscription; auto = reliable only if every publisher offers it.",
        choices=("auto", "best_effort", "reliable"),
        read_only=True,
    ),
    Declaration(
        "output_reliability",
        "reliable",
        "Reliability of every output but the labels; best_effort never waits for a subscriber.",
        choices=("reliable", "best_effort"),
        read_only=True,
    ),
    Declaration(
        "output_scale",
        1.0,
        "Size of every output relative to the input image.",
        choices=(1.0, 0.5, 0.25),
        read_only=True,
    ),
    Declaration(
        "max_pixels",
        33177600,
        "Larger input images are rejected; the default is 7680 x 4320.",
        1,
        2**30,
        read_only=True,
    ),
    Declaration(
        "confidence_threshold", 0.0, "A pixel whose class probability is lower becomes 255 = unlabelled.", 0.0, 1.0
    ),
    Declaration("max_rate", 0.0, "Most frames of each camera to process in a second; 0 = no limit.", 0.0, 1000.0),
    Declaration("overlay_opacity", 0.5, "Opacity of the class colours on ~/overlay/image.", 0.0, 1.0),
    Declaration(
        "budget_ms",
        200.0,
        "Diagnostics warn when a frame takes longer, decoding to publishing; 0 = never.",
        0.0,
        60000.0,
    ),
    Declaration(
        "max_overruns", 10, "Diagnostics report an error after so many frames over budget in a row.", 1, 100000
    ),
    Declaration(
        "input_timeout",
        2.0,
        "Diagnostics report an error after so many seconds without a usable frame, or in one inference.",
        0.1,
        3600.0,
    ),
    Declaration(
        "max_inference_failures",
        5,
        "After so many failed inferences in a row the node leaves through the error transition and exits.",
        1,
        100000,
    ),
    _switch("semantic", "semantic/image"),
    _switch("semantic_confidence", "semantic/confidence"),
    _switch("semantic_color", "semantic/color"),
    _switch("depth", "depth/image"),
    _switch("normals", "normals/image"),
    _switch("normals_color", "normals/color"),
    _switch("edges", "edges/image"),
    _switch("overlay", "overlay/image"),
    _switch("points", "points", default=False),
)
PARAMETERS_BY_NAME: Mapping[str, Declaration] = {declaration.name: declaration for declaration in PARAMETERS}


def unknown_name(name: str) -> str | None:
    """Say in one line that no parameter has this name, with the nearest that has; None if one has."""
    if name in PARAMETERS_BY_NAME or name in _ANY_NODE or name.startswith("qos_overrides."):
        return None
    nearest = difflib.get_close_matches(name, PARAMETERS_BY_NAME, n=1, cutoff=0.5)
    return f"unknown parameter {name!r} is ignored" + (f"; did you mean {nearest[0]!r}?" if nearest else "")


def as_yaml() -> str:
    """Write the commented parameter file with every default."""
    lines = [
        "# Parameters of the perception node, with their defaults.",
        "# `/**` matches the node under any name and namespace. Checked by perception.schema.json.",
        "/**:",
        "  ros__parameters:",
    ]
    group = ""
    for declaration in PARAMETERS:
        *parents, leaf = declaration.name.split(".")
        if parents and parents[0] != group:
            group = parents[0]
            lines.append(f"    {group}:")
        indent = "      " if parents else "    "
        remarks = [declaration.constraint, "fixed at start" if declaration.read_only else ""]
        remark = "; ".join(text for text in remarks if text)
        lines.append(f"{indent}# {declaration.text}" + (f" ({remark})" if remark else ""))
        lines.append(f"{indent}{leaf}: {json.dumps(declaration.default)}")
    return "\n".join(lines) + "\n"


def as_schema() -> dict[str, Any]:
    """Build the JSON schema of a parameter file."""
    properties: dict[str, Any] = {"use_sim_time": {"type": "boolean"}, "qos_overrides": {"type": "object"}}
    for declaration in PARAMETERS:
        *parents, leaf = declaration.name.split(".")
        place = properties
        for parent in parents:
            place = place.setdefault(parent, _closed({}))["properties"]
        entry: dict[str, Any] = {
            "type": _ROS_TYPES[declaration.type],
            "default": declaration.default,
            "description": declaration.text,
        }
        if declaration.type is list:
            entry |= {"maxItems": declaration.most, "uniqueItems": True, "items": {"type": "string", "pattern": _NAME}}
        elif declaration.choices:
            entry["enum"] = list(declaration.choices)
        elif declaration.low is not None:
            entry |= {"minimum": declaration.low, "maximum": declaration.high}
        place[leaf] = entry
    node = _closed({"ros__parameters": _closed(properties)}) | {"required": ["ros__parameters"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Parameter file of the DenseMTL perception node",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": node,
    }


def as_markdown() -> str:
    """Write the documentation's table."""
    lines = [
        "| parameter | type | default | allowed | change at run time | what it does |",
        "|---|---|---|---|---|---|",
    ]
    for declaration in PARAMETERS:
        change = "no" if declaration.read_only else "yes"
        cells = [
            f"`{declaration.name}`",
            declaration.type_name,
            f"`{json.dumps(declaration.default)}`",
            declaration.constraint,
            change,
            declaration.text,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


if __name__ == "__main__":
    _FORMS = {"yaml": as_yaml, "schema": lambda: json.dumps(as_schema(), indent=2) + "\n", "markdown": as_markdown}
    if len(sys.argv) != 2 or sys.argv[1] not in _FORMS:
        sys.exit(f"usage: python -m densemtl_ros.parameters {'|'.join(_FORMS)}")
    sys.stdout.write(_FORMS[sys.argv[1]]())
