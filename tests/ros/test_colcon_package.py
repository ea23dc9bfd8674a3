"""The ROS package as colcon installs it: what lies where, and that its programs start from there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from camera_rig import CameraRig

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ros2_ws" / "src" / "densemtl"
COLCON = shutil.which("colcon") or shutil.which("colcon", path=ROOT / ".colcon" / "bin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COLCON is None, reason="colcon is not here: `make colcon` installs it"),
]


def colcon(folder: Path, verb: str, *options: str) -> None:
    """Run one verb on the package, with everything it writes below a folder."""
    places = [f"--{kind}-base={folder / kind}" for kind in ("build", "install")]
    command = [COLCON, f"--log-base={folder / 'log'}", verb, f"--base-paths={PACKAGE}", *places, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def build(folder: Path, *options: str) -> Path:
    """Build the package as on a robot; the install space."""
    colcon(folder, "build", *options)
    return folder / "install"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An install space of copies."""
    return build(tmp_path_factory.mktemp("copied"))


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An install space of links to the source."""
    return build(tmp_path_factory.mktemp("linked"), "--symlink-install")


@pytest.fixture(params=["copied", "linked"])
def workspace(request: pytest.FixtureRequest) -> Path:
    """Both, one after the other."""
    return request.getfixturevalue(request.param)


def sourced(workspace: Path, *command: str | Path) -> list[str]:
    """A command line that runs another in the workspace's environment."""
    return ["bash", "-c", 'source "$0" && exec "$@"', *map(str, [workspace / "local_setup.bash", *command])]


def environment() -> dict[str, str]:
    """Ours, with this Python as `python3` and nothing on its path but what the workspace puts there."""
    without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return without | {"PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def output(workspace: Path, *command: str | Path) -> str:
    done = subprocess.run(
        sourced(workspace, *command), env=environment(), cwd=workspace, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def start_program(copied: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program of the package in the workspace's environment; it is killed after the test if it still runs."""
    processes: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                sourced(copied, copied / "densemtl/lib/densemtl" / program, *arguments),
                env=environment(),
                cwd=copied,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_index_finds_the_package_and_all_it_shares(workspace):
    code = "from ament_index_python import get_package_share_directory as share; print(share('densemtl'))"
    share = Path(output(workspace, "python3", "-c", code).strip())
    assert share == workspace / "densemtl/share/densemtl"
    for name in ("package.xml", "LICENSE", "NOTICE"):
        assert (share / name).read_bytes() == (PACKAGE / name).read_bytes()
    for folder in ("launch", "config", "rviz"):
        installed = {path.name: path.read_bytes() for path in (share / folder).iterdir()}
        wanted = {path.name: path.read_bytes() for path in (PACKAGE / folder).iterdir() if path.is_file()}
        assert installed == wanted
        assert installed


def test_the_manifest_is_valid_to_the_library_that_ros_tools_read_it_with():
    """catkin_pkg, which checks it as it reads it, comes with colcon."""
    code = (
        "import sys\n"
        "from catkin_pkg.package import parse_package\n"
        "warnings = []\n"
        "package = parse_package(sys.argv[1], warnings=warnings)\n"
        "print(package.name, package.package_format, package.get_build_type(), warnings)"
    )
    python = Path(COLCON).with_name("python3")
    done = subprocess.run([python, "-c", code, PACKAGE / "package.xml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=3) == ["densemtl", "3", "ament_python", "[]\n"]


def test_its_modules_come_from_the_workspace_and_the_library_from_the_environment(workspace):
    code = "import densemtl_ros, densemtl_core; print(densemtl_ros.__file__); print(densemtl_core.__file__)"
    package, library = output(workspace, "python3", "-c", code).split()
    # An install space of links has the build folder on its path, which links to the source.
    assert Path(package).is_relative_to(workspace.parent)
    assert Path(library).is_relative_to(ROOT / "densemtl_core")


def programs(workspace: Path) -> dict[str, Path]:
    """What `ros2 run densemtl` offers."""
    return {path.name: path for path in (workspace / "densemtl/lib/densemtl").iterdir()}


def test_its_programs_tell_how_they_are_used(copied):
    assert {"perception_node", "replay", "viewer"} <= set(programs(copied))
    for name, path in programs(copied).items():
        assert output(copied, path, "--help").startswith("usage: "), name


def test_linked_programs_need_to_be_told_the_python(copied, linked):
    """Setuptools writes the Python that ran colcon into them, and it may be one without rclpy."""
    assert set(programs(linked)) == set(programs(copied))
    assert output(linked, "python3", programs(linked)["viewer"], "--help").startswith("usage: viewer ")


def test_the_packages_own_tests_pass_or_say_why_not(copied):
    colcon(copied.parent, "test", "--return-code-on-test-failure")
    suite = ElementTree.parse(copied.parent / "build/densemtl/pytest.xml").getroot().find("testsuite")
    assert int(suite.get("tests")) == len(list((PACKAGE / "test").glob("test_*.py")))
    for skipped in suite.iter("skipped"):
        assert re.search(r"No module named 'ament_\w+'|xmllint is not installed", skipped.text)


def interrupted(process: subprocess.Popen[str]) -> str:
    """What the process wrote until Ctrl-C ended it."""
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=30)[0]


def test_the_node_starts_runs_the_shipped_bundle_and_ends_with_zero(start_program, start_camera):
    process = start_program("perception_node", "--ros-args", "-r", "__ns:=/installed", "-p", "threads:=1")
    rig: CameraRig = start_camera("/installed/perception")
    assert rig.state() == "unconfigured"
    for transition in ("configure", "activate"):
        assert rig.transition(transition), interrupted(process)
    rig.until(rig.camera.get_subscription_count, "the node subscribes to the camera")
    log = interrupted(process)
    assert process.returncode == 0, log
    assert "bundle edge_s_street" in log
