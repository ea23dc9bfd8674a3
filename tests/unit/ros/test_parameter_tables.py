"""One table of each node's fixed parameters: code and documentation agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from densemtl_ros.parameter_tables import TABLES, as_markdown
from densemtl_ros.replay_parameters import REPLAY_PARAMETERS

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize("node", TABLES)
def test_the_document_holds_the_table_and_no_other_parameter(node):
    document = (DOCS / f"{node}.md").read_text()
    assert as_markdown(TABLES[node]) in document, f"write it anew: python -m densemtl_ros.parameter_tables {node}"
    rows = [line for line in document.splitlines() if line.startswith("| `")]
    assert len(rows) == len(TABLES[node])


def test_defaults_are_allowed_and_texts_are_sentences():
    for declaration in (d for table in TABLES.values() for d in table):
        assert declaration.problem(declaration.default) is None
        assert declaration.text.endswith(".")
        assert declaration.read_only


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("rate", -1.0, "rate: -1.0 is not allowed, must be 0.0 to 1000.0"),
        ("reliability", "perhaps", "reliability: 'perhaps' is not allowed, must be one of reliable, best_effort"),
        ("loop", "yes", "loop: 'yes' is a str, must be a bool"),
    ],
)
def test_a_wrong_value_of_replay_is_refused_with_the_reason(name, value, text):
    (declaration,) = [d for d in REPLAY_PARAMETERS if d.name == name]
    assert declaration.problem(value) == text


def test_command_line_writes_the_tables():
    command = [sys.executable, "-m", "densemtl_ros.parameter_tables"]
    done = subprocess.run([*command, "replay"], capture_output=True, text=True, check=True)
    assert done.stdout == as_markdown(REPLAY_PARAMETERS)
    wrong = subprocess.run([*command, "camera"], capture_output=True, text=True)
    assert wrong.returncode != 0
    assert "replay|viewer" in wrong.stderr
