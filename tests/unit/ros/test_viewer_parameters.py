"""One table of the viewer's parameters: code and documentation agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from densemtl_ros.viewer_parameters import VIEWER_PARAMETERS
from densemtl_ros.viewer_pictures import Look

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "viewer.md").read_text()


@pytest.mark.parametrize("declaration", VIEWER_PARAMETERS, ids=lambda d: d.name)
def test_the_document_has_every_parameter_as_it_is(declaration):
    cells = (
        f"`{declaration.name}`", declaration.type.__name__, f"`{json.dumps(declaration.default)}`",
        declaration.constraint, declaration.text,
    )  # fmt: skip
    assert f"| {' | '.join(cells)} |" in DOCUMENT


def test_the_document_has_no_other():
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| `")]
    assert len(rows) == len(VIEWER_PARAMETERS)


def test_defaults_are_allowed_and_those_of_the_pictures():
    defaults = {declaration.name: declaration.default for declaration in VIEWER_PARAMETERS}
    assert [declaration.problem(declaration.default) for declaration in VIEWER_PARAMETERS] == [None] * len(defaults)
    look = Look()
    for name in ("width", "quality", "depth_near", "depth_far"):
        assert defaults[name] == getattr(look, name)
    assert defaults["host"] == "127.0.0.1"
