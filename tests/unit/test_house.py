"""The house rules of docs/architecture.md: who may import whom, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = "densemtl_core"
ROS = ROOT / "ros2_ws/src/densemtl/densemtl_ros"

# room -> rooms of densemtl_core that it may import (its own is always allowed, and so is `errors`)
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "metrics": set(),
    "render": set(),
    "geometry": set(),
    "tasks": {"metrics", "render"},
    "data": {"geometry", "render"},
    "models": set(),
    "learning": {"models", "tasks", "data", "geometry", "metrics", "render"},
    "runtime": {"render"},
    "training": {"learning", "models", "tasks", "data", "geometry", "metrics", "render", "runtime"},
    "deploy": {"learning", "runtime", "models", "tasks", "data", "geometry", "metrics", "render"},
    "densemtl_ros": {"runtime", "render"},
}
# single files that may do more than their room, and why
EXCEPTIONS: dict[str, set[str]] = {
    "densemtl_core/models/zoo.py": {"tasks"},  # the door takes task names and asks the tasks for their channels
    "densemtl_core/models/description.py": {"tasks"},  # model.json names tasks by their configuration
    "densemtl_core/runtime/backends/eager.py": {"models", "tasks"},  # the one engine that runs the network itself
    "ros2_ws/src/densemtl/densemtl_ros/frame_sources.py": {"data"},  # the replay node can show the street world
}
# third-party packages that must not be imported at the top level of a room
FORBIDDEN: dict[str, set[str]] = {
    "render": {"torch"},
    "runtime": {"torch", "timm", "lightning", "kornia", "torchvision"},
    "densemtl_ros": {"torch", "timm", "lightning"},
}
ALLOWED_THIRD_PARTY = {"densemtl_core/runtime/backends/eager.py": {"torch"}}


def python_files() -> list[Path]:
    folders = [ROOT / CORE, ROOT / "training", ROOT / "deploy", ROS]
    return sorted(p for folder in folders for p in folder.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    if path.is_relative_to(ROS):
        return "densemtl_ros"
    if relative.parts[0] != CORE:
        return relative.parts[0]
    return relative.parts[1].removesuffix(".py") if len(relative.parts) > 1 else CORE


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the full name"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def broken_arrows(path: Path) -> list[str]:
    relative = str(path.relative_to(ROOT))
    room = room_of(path)
    if room == "__init__":
        return []
    allowed = ARROWS[room] | EXCEPTIONS.get(relative, set()) | {room, "errors", "__version__"}
    broken = []
    for module, line in imports_of(path):
        parts = module.split(".")
        if parts[0] == CORE and parts[1] not in allowed:
            broken.append(f"{relative}:{line}: {room} may not import {module}")
        if parts[0] in ("training", "deploy", "densemtl_ros") and parts[0] != room:
            broken.append(f"{relative}:{line}: {room} may not import {module}")
        if parts[0] in FORBIDDEN.get(room, set()) - ALLOWED_THIRD_PARTY.get(relative, set()):
            broken.append(f"{relative}:{line}: {room} may not import {module}")
    return broken


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_arrow_points_back(path):
    assert broken_arrows(path) == []


def test_the_check_sees_a_broken_arrow(tmp_path, monkeypatch):
    house = tmp_path / CORE / "runtime"
    house.mkdir(parents=True)
    (house / "bad.py").write_text("def f():\n    from densemtl_core.learning import trainer\n    import torch\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert len(broken_arrows(house / "bad.py")) == 2


def test_every_exception_is_still_needed():
    for relative, rooms in EXCEPTIONS.items():
        used = {m.split(".")[1] for m, _ in imports_of(ROOT / relative) if m.startswith(f"{CORE}.")}
        assert rooms <= used, f"{relative} no longer imports {rooms - used}: remove the exception"


@pytest.mark.parametrize("module", ["densemtl_core.runtime", "densemtl_core.render"])
def test_the_robots_part_imports_nothing_heavy(module):
    code = (
        f"import {module}, sys\n"
        "heavy = {'torch', 'timm', 'lightning', 'torchvision', 'kornia', 'omegaconf', 'densemtl_core.data',\n"
        "         'densemtl_core.models', 'densemtl_core.learning', 'densemtl_core.tasks'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_unsafe_is_loaded():
    for path in [*python_files(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for name, call in calls(path):
            where = f"{path.relative_to(ROOT)}:{call.lineno}"
            if name == "torch.load":
                given = {k.arg: k.value for k in call.keywords}
                flag = given.get("weights_only")
                safe = isinstance(flag, ast.Constant) and flag.value is True
                assert safe, f"{where}: torch.load without weights_only=True"
            assert name not in ("yaml.load", "pickle.load", "pickle.loads", "eval", "exec"), f"{where}: {name}"
            if name == "np.load":
                assert "allow_pickle" not in {k.arg for k in call.keywords}, f"{where}: np.load with pickle"


def test_public_functions_say_what_they_do():
    """Every public function and class has a docstring."""
    silent = []
    for path in python_files():
        tree = ast.parse(path.read_text())
        public = (n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name[0] != "_")
        silent += [f"{path.relative_to(ROOT)}:{n.lineno} {n.name}" for n in public if not ast.get_docstring(n)]
    assert silent == []
