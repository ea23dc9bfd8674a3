"""Commands run by a Python that lacks what they need."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import doctor
from deploy.finding import Finding
from deploy.installed import COMPILER, ROBOT, instead, lacking, require
from deploy.verdict import Choice

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["compile", "benchmark"])
def test_one_line_says_what_is_missing_and_what_to_do(name, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    # without its site packages this interpreter is as bare as one that was just installed
    command = [sys.executable, "-S", "-E", ROOT / f"deploy/{name}.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: deploy/{name}.py needs numpy, opencv-python-headless")
    assert "make setup" in done.stderr or ".venv/bin/python" in done.stderr
    assert "pip install '.[" in done.stderr
    assert ("torch" in done.stderr) == (name == "compile")


def imported(module: str, seen: set[str]) -> None:
    """Collect what importing a module of ours imports at once, from the source; what functions import comes later."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not file.exists():
        return
    seen.add(module)
    for node in ast.parse(file.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        for name in [f"{node.module}.{name}" for name in names] if isinstance(node, ast.ImportFrom) else names:
            parts = name.split(".")
            if parts[0] in ("deploy", "densemtl_core"):
                for k in range(len(parts)):
                    imported(".".join(parts[: k + 1]), seen)
            else:
                seen.add(parts[0])


@pytest.mark.parametrize(("command", "asked"), [("compile", COMPILER), ("benchmark", ROBOT)])
def test_what_they_import_first_is_asked_for(command, asked):
    seen: set[str] = set()
    imported(f"deploy.{command}", seen)
    third_party = {name for name in seen if "." not in name} - sys.stdlib_module_names - {"deploy", "densemtl_core"}
    assert {"numpy", "cv2"} <= third_party <= set(asked)


def test_the_python_of_make_setup_is_named_where_there_is_one(tmp_path, monkeypatch):
    assert instead("deploy/x.py", tmp_path) == ""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").touch()
    assert instead("deploy/x.py", tmp_path) == ".venv/bin/python deploy/x.py"
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert instead("deploy/x.py", tmp_path) == ""


def test_the_doctor_says_of_which_python_it_speaks(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda *args: {"densemtl": Finding("densemtl", "broken", "no numpy")})
    monkeypatch.setattr(doctor, "choose", lambda *args: Choice(None, (), "densemtl is broken"))
    monkeypatch.setattr(doctor, "instead", lambda command: f".venv/bin/python {command}")
    assert doctor.main([]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"This was said of {sys.executable}; of the Python of make setup: .venv/bin/python deploy/doctor.py"


def test_only_what_is_missing_is_named(capsys):
    assert lacking(("json", "no_such_module", "numpy")) == ["no_such_module"]
    require("deploy/x.py", ("json",), "cpu")
    with pytest.raises(SystemExit) as ended:
        require("deploy/x.py", ("json", "no_such_module"), "cpu")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "deploy/x.py needs no_such_module; run" in said
    assert "pip install '.[cpu]'" in said
