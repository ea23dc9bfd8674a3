"""The quality declaration says what is so, as far as a machine can tell."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "ros2_ws" / "src" / "densemtl"
DECLARATION = (PACKAGE / "QUALITY_DECLARATION.md").read_text()
REQUIREMENTS = (
    *("1.i", "1.ii", "1.iii", "1.iv", "1.v", "1.vi", "2.i", "2.ii", "2.iii", "2.iv", "2.v"),
    *("3.i", "3.ii", "3.iii", "3.iv", "3.v", "4.i", "4.ii", "4.iii", "4.iv", "4.v", "5.i", "5.ii", "5.iii", "6.i"),
)


def version() -> tuple[int, ...]:
    return tuple(map(int, ElementTree.parse(PACKAGE / "package.xml").getroot().findtext("version").split(".")))


@pytest.mark.parametrize("number", REQUIREMENTS)
def test_every_requirement_of_rep_2004_is_answered(number):
    assert f"[{number}]" in DECLARATION


@pytest.mark.parametrize("page", ["QUALITY_DECLARATION.md", "README.md"])
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)]+)\)", (PACKAGE / page).read_text())
    broken = [link for link in links if not link.startswith("https://") and not (PACKAGE / link).exists()]
    assert broken == []
    assert len(links) > 3


def test_the_readme_names_every_program():
    programs = re.findall(r'"(\w+) = densemtl_ros\.', (PACKAGE / "setup.py").read_text())
    assert "perception_node" in programs
    assert [name for name in programs if f"`{name}`" not in (PACKAGE / "README.md").read_text()] == []


def test_level_3_is_not_claimed_below_version_1():
    (level,) = re.findall(r"\*\*Quality Level (\d)\*\*", DECLARATION)
    assert level == "4" or version() >= (1, 0, 0)
    assert f"Quality Level {level}" in (PACKAGE / "README.md").read_text()
    assert ("below 1.0.0" in DECLARATION) == (version() < (1, 0, 0))


def test_it_names_every_ros_dependency_and_linter_of_the_manifest():
    root = ElementTree.parse(PACKAGE / "package.xml").getroot()
    needed = [element.text for kind in ("exec_depend", "test_depend") for element in root.findall(kind)]
    assert [name for name in needed if not name.startswith("python3-") and f"`{name}`" not in DECLARATION] == []


def test_the_changelog_is_one_that_catkin_reads():
    """Title over and under one length of carets, then versions over dashes, the newest first."""
    lines = (PACKAGE / "CHANGELOG.rst").read_text().splitlines()
    assert lines[1] == "Changelog for package densemtl"
    assert lines[0] == lines[2] == "^" * len(lines[1])
    headings = [title for title, under in pairwise(lines) if title and under == "-" * len(title)]
    assert headings[0] in ("Forthcoming", f"{'.'.join(map(str, version()))} (")
    assert all(line.startswith(("* ", "  ")) for line in lines[6:] if line)
