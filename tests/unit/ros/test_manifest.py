"""package.xml declares what the package's code imports, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "ros2_ws" / "src" / "densemtl"
ROSDEP_KEYS = {"cv2": "python3-opencv", "numpy": "python3-numpy", "yaml": "python3-yaml", "aiohttp": "python3-aiohttp"}
"""Key by module, where it is not the module's name."""
UNDECLARED = {
    "densemtl_core": "comes with pip: rosdep has no key for it",
    "rosbags": "comes with pip, for bags only: rosdep has no key for it",
    "rerun": "comes with pip, as an extra: rosdep has no key for it",
}
"""Modules that cannot be declared, and why."""
INDIRECT = {"python3-yaml": "densemtl-core reads manifests with it"}
"""Declared for what comes with pip, so that the distribution's own is used."""


def sources() -> list[Path]:
    return [*sorted((PACKAGE / "densemtl_ros").rglob("*.py")), *sorted((PACKAGE / "launch").glob("*.launch.py"))]


def imported(path: Path) -> Iterator[str]:
    """Top-level names of everything that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def third_party(paths: list[Path]) -> set[str]:
    return {name for path in paths for name in imported(path)} - set(sys.stdlib_module_names) - {"densemtl_ros"}


def manifest() -> ElementTree.Element:
    return ElementTree.parse(PACKAGE / "package.xml").getroot()


def declared(kind: str) -> set[str]:
    return {element.text for element in manifest().findall(kind)}


def test_every_import_is_declared_and_every_declaration_is_imported():
    needed = {ROSDEP_KEYS.get(name, name) for name in third_party(sources()) - set(UNDECLARED)}
    assert needed | set(INDIRECT) == declared("exec_depend")


def test_what_is_not_declared_is_imported():
    unused = set(UNDECLARED) - third_party(sources())
    assert not unused, f"no longer imported: {unused}"


def test_the_tests_of_the_package_need_what_is_declared():
    needed = third_party(sorted((PACKAGE / "test").glob("*.py")))
    assert {f"python3-{name}" for name in needed} <= declared("test_depend")
    text = "\n".join(path.read_text() for path in (PACKAGE / "test").glob("*.py"))
    linters = set(re.findall(r'importorskip\("(ament_\w+)\.main"\)', text))
    assert linters == {name for name in declared("test_depend") if name.startswith("ament_")}


def test_the_check_sees_an_import_in_a_function(tmp_path):
    (tmp_path / "new.py").write_text("import os\ndef f():\n    from tf2_ros.buffer import Buffer\n")
    assert third_party([tmp_path / "new.py"]) == {"tf2_ros"}


def test_it_is_a_format_3_manifest_of_an_ament_python_package():
    root = manifest()
    assert (root.tag, root.get("format")) == ("package", "3")
    assert root.findtext("name") == "densemtl"
    assert re.fullmatch(r"\d+\.\d+\.\d+", root.findtext("version"))
    assert root.find("maintainer").get("email")
    assert root.findtext("export/build_type") == "ament_python"


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_licence_and_copyright_are_the_projects(name):
    assert (PACKAGE / name).read_bytes() == (ROOT / name).read_bytes()
    licence = manifest().find("license")
    assert (licence.text, licence.get("file")) == ("Apache-2.0", "LICENSE")
    assert "Copyright 2026 The DenseMTL developers" in (ROOT / "NOTICE").read_text()


def test_every_xml_file_is_well_formed():
    files = [path for path in PACKAGE.rglob("*.xml") if "egg-info" not in str(path)]
    assert PACKAGE / "config" / "sros2_policy.xml" in files
    for path in files:
        ElementTree.parse(path)
