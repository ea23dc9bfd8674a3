"""The ROS package installs what its users start and read, under one version."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "ros2_ws" / "src" / "densemtl"


def setup_arguments() -> dict[str, ast.expr]:
    tree = ast.parse((PACKAGE / "setup.py").read_text())
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "setup"]
    return {keyword.arg: keyword.value for keyword in call.keywords}


def manifest() -> ElementTree.Element:
    return ElementTree.parse(PACKAGE / "package.xml").getroot()


def test_versions_agree():
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert manifest().findtext("version") == ast.literal_eval(setup_arguments()["version"]) == project


def test_scripts_follow_the_active_environment_and_lie_where_ros_looks():
    config = configparser.ConfigParser()
    config.read(PACKAGE / "setup.cfg")
    assert config["build_scripts"]["executable"] == "/usr/bin/env python3"
    assert config["install"]["install_scripts"] == config["develop"]["script_dir"] == "$base/lib/densemtl"


@pytest.mark.slow
def test_the_installed_form_holds_programs_launch_files_and_configuration(tmp_path):
    pytest.importorskip("setuptools")
    build = [sys.executable, "setup.py", "-q", "egg_info", "-e", tmp_path, "build", "-b", tmp_path / "build"]
    install = ["install", "--prefix", tmp_path / "prefix", "--single-version-externally-managed"]
    record = ["--record", tmp_path / "record.txt"]
    done = subprocess.run([*build, *install, *record], cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    prefix = tmp_path / "prefix"
    assert (prefix / "share/ament_index/resource_index/packages/densemtl").is_file()
    share = prefix / "share/densemtl"
    for name in ("package.xml", "LICENSE", "NOTICE"):
        assert (share / name).read_bytes() == (PACKAGE / name).read_bytes()
    for folder, source in (("config", PACKAGE / "config"), ("rviz", PACKAGE / "rviz"), ("launch", ROOT / "launch")):
        installed = {path.name: path.read_bytes() for path in (share / folder).glob("*")}
        wanted = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
        assert installed == wanted
    (page,) = prefix.rglob("densemtl_ros/web/viewer.html")
    assert page.read_bytes() == (PACKAGE / "densemtl_ros/web/viewer.html").read_bytes()
    for program in ("perception_node", "replay", "viewer"):
        script = prefix / "lib/densemtl" / program
        assert script.read_text().startswith("#!/usr/bin/env python3")
