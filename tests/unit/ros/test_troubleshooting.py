"""What "When something is wrong" quotes is what the software says, and what it tells to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from densemtl_ros.parameters import PARAMETERS_BY_NAME

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| symptom")]


@pytest.fixture(scope="module")
def said() -> str:
    """Everything that the node and the runtime can say: their sources, neighbouring strings joined."""
    folders = ("ros2_ws/src/densemtl/densemtl_ros", "densemtl_core/runtime")
    text = "\n".join(path.read_text() for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    text = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"\{[^{}\n]*\}", "{}", text)


def test_every_row_has_symptom_cause_and_what_to_type():
    assert len(ROWS) >= 15
    for row in ROWS:
        assert len(re.split(r"(?<!\\)\|", row.strip("| "))) == 3, row


def test_every_quoted_phrase_is_said_somewhere(said):
    quoted = [phrase for row in ROWS for phrase in re.findall(r'"([^"`]+)"', re.sub(r"`[^`]*`", "", row))]
    assert len(quoted) > 15
    for phrase in quoted:
        for part in filter(str.strip, re.split(r"\.\.\.|'", phrase)):
            words = part.strip(" :;,/")
            assert words in said, f"nothing says {words!r} of {phrase!r}"


def test_every_parameter_named_exists():
    names = set(re.findall(r"(?:-p |param (?:set|get) \S+ )([a-z_.]+)", PAGE)) - {"use_sim_time"}
    assert len(names) > 5
    assert names <= PARAMETERS_BY_NAME.keys()


def test_every_document_named_exists():
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target
