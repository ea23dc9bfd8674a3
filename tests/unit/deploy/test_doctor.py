"""The doctor, on machines that are made up: their files, programs and libraries are fakes, the processes are real."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from densemtl_core.runtime import default_bundle, write_bundle
from densemtl_core.runtime.backends import BACKENDS
from densemtl_core.runtime.bundle import Bundle
from densemtl_core.runtime.manifest import EngineInfo
from deploy import doctor, probes
from deploy.doctor import Finding, Machine, choose, examine, inspect_bundle
from deploy.tensorrt_versions import JETPACK_OF_L4T, MATCHES, match_of
from deploy.verdict import runnable

ROOT = Path(__file__).resolve().parents[3]

X86_CPU = "processor\t: 0\nmodel name\t: Robot CPU\nflags\t\t: fpu avx2 avx512_vnni avx512_bf16\nprocessor\t: 1\n"
OLD_CPU = "processor\t: 0\nmodel name\t: Old CPU\nflags\t\t: fpu sse2 avx2\n"
ARM_CPU = "processor\t: 0\nFeatures\t: fp asimd asimddp\n"
ORIN = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin NX Developer Kit\0",
    "proc/cpuinfo": ARM_CPU,
    "proc/meminfo": "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n",
    "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
    "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
}
DRIVER = {
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Tue\nGCC version: 12\n"
}

CORE = ("densemtl-core", "densemtl_core/__init__", "__version__ = '0.1.0'")
PREDICTOR = """
class Predictor:
    def __init__(self, path, backend):
        pass
    def warm_up(self, frames):
        pass
"""
RUNTIME = ("", "densemtl_core/runtime", PREDICTOR)
TORCH = """
from types import SimpleNamespace
__version__ = "{version}"
version = SimpleNamespace(cuda="{cuda}")
def ones(count, device):
    {kernel}
    return SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: float(count)))
gpu = SimpleNamespace(name="Orin", major=8, minor=7, total_memory=16 * 2**30)
cuda = SimpleNamespace(is_available=lambda: {gpu}, get_device_properties=lambda index: gpu)
"""


def torch(version: str = "2.8.0", *, gpu: bool = False, kernel: str = "pass") -> tuple[str, str, str]:
    return "torch", "torch", TORCH.format(version=version, cuda="12.6", gpu=gpu, kernel=kernel)


def torch_tensorrt(code: str = "__version__ = '2.8.0'") -> tuple[str, str, str]:
    return "torch-tensorrt", "torch_tensorrt", code


TIMM = ("timm", "timm", "")
ONNXRUNTIME = ("onnxruntime", "onnxruntime", "def get_available_providers(): return ['CPUExecutionProvider']")
OPENVINO = ("openvino", "openvino", "class Core:\n    available_devices = ['CPU']")
TENSORRT = ("tensorrt", "tensorrt", "__version__ = '10.3.0'")


@pytest.fixture
def build(tmp_path):
    """Make a machine of files, libraries (distribution, module, code) and programs (name, shell)."""

    def make(
        libraries=(CORE, RUNTIME), *, files=None, programs=None, architecture="x86_64", timeout=20.0, **environment
    ) -> Machine:
        root, site, programs_folder = tmp_path / "root", tmp_path / "site", tmp_path / "bin"
        for folder in (root, site, programs_folder):
            folder.mkdir()
        for name, text in (files or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        for distribution, module, code in libraries:
            (site / f"{module}.py").parent.mkdir(parents=True, exist_ok=True)
            (site / f"{module}.py").write_text(code)
            if distribution:
                found = re.search(r"^__version__ = ['\"](.+)['\"]$", code, re.MULTILINE)
                info = site / f"{distribution.replace('-', '_')}-1.dist-info"
                info.mkdir()
                version = found[1] if found else "1.0"
                (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        for name, script in (programs or {}).items():
            program = root / name if "/" in name else programs_folder / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        return Machine(
            root=root,
            environment={"PATH": str(programs_folder), "PYTHONPATH": str(site), **environment},
            python=(sys.executable, "-S"),
            site=[str(site)],
            architecture=architecture,
            timeout=timeout,
        )

    return make


@pytest.fixture
def jetson(build):
    return build(
        (CORE, RUNTIME, torch(gpu=True), TIMM, torch_tensorrt(), TENSORRT, ONNXRUNTIME),
        files=ORIN,
        programs={"dpkg-query": "printf '6.2+b77'", "usr/src/tensorrt/bin/trtexec": "exit 0"},
        architecture="aarch64",
        ROS_DISTRO="humble",
    )


# whole machines -------------------------------------------------------------------------------------------------------


def test_a_jetson_takes_tensorrt(jetson):
    found = examine(jetson)
    states = {name: finding.state for name, finding in found.items() if not finding.ok}
    assert states == {"openvino": "absent", "modelopt": "absent", "ros": "absent", "cv_bridge": "absent"}
    assert found["jetpack"].facts == {"l4t": "36.4.3", "jetpack": "6.2", "model": "NVIDIA Jetson Orin NX Developer Kit"}
    assert found["gpu"].facts == {"gpu": "Orin", "compute_capability": "8.7", "gpu_gib": 16.0}
    assert found["cuda"].facts == {"version": "12.6.11"}
    assert found["trtexec"].detail.endswith("/usr/src/tensorrt/bin/trtexec")
    assert "asimddp" in found["cpu"].detail
    assert "Ubuntu 22.04.5 LTS, aarch64" in found["system"].detail
    assert "the GPU uses the same memory" in found["memory"].detail
    assert found["cv_bridge"].remedy == "sudo apt-get install ros-humble-cv-bridge"
    assert choose(found).backend == "tensorrt"


def test_an_x86_without_anything_says_how_to_get_an_engine(build):
    found = examine(build(files={"proc/cpuinfo": OLD_CPU}))
    absent = {name for name, finding in found.items() if finding.state == "absent"}
    assert {"jetpack", "gpu", "torch", "torch_tensorrt", "onnxruntime", "openvino", "timm", "ros"} <= absent
    assert found["onnxruntime"].remedy == "pip install '.[cpu]'"
    assert found["torch"].remedy == "pip install '.[eager]'"
    assert found["ros"].remedy == "pip install '.[ros]'"
    assert not found["torch_tensorrt"].remedy, "nothing can be installed that would make a GPU"
    assert "INT8 gains little" in found["cpu"].detail
    assert choose(found).backend is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise RuntimeError('Found no NVIDIA driver on your system. Please look at\\nlots of text')",
            "Found no NVIDIA driver",
        ),
        ("raise AssertionError", "AssertionError"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("import libnvinfer", "No module named 'libnvinfer'"),
        ("import os; os.abort()", "crashed with SIGABRT"),
        ("import sys; print('noise'); sys.stdout.flush(); import os; os._exit(3)", "exit status 3"),
    ],
)
def test_a_broken_torch_tensorrt_is_reported_and_not_taken(build, code, said):
    machine = build((CORE, RUNTIME, torch("2.12.0", gpu=True), TIMM, torch_tensorrt(code), ONNXRUNTIME), files=DRIVER)
    found = examine(machine)
    finding = found["torch_tensorrt"]
    assert finding.state == "broken"
    assert said in finding.detail
    assert "lots of text" not in finding.detail
    assert "torch 2.12.0 goes with torch-tensorrt 2.12.1 and TensorRT >=10.16.1,<10.17" in finding.detail
    assert finding.remedy == "pip install torch-tensorrt==2.12.1"
    assert "\n" not in finding.detail
    assert choose(found).backend == "onnx"


def test_a_hanging_import_and_what_it_started_are_ended(build, tmp_path):
    code = f"""
import os, signal
child = os.fork()
if child:
    with open({str(tmp_path / "pid")!r}, "w") as file:
        file.write(str(child))
signal.pause()
"""
    machine = build((CORE, RUNTIME, ("onnxruntime", "onnxruntime", code)), timeout=2.0)
    finding = probes.probe_onnxruntime(machine)
    assert finding.state == "broken"
    assert "hung: gave no answer in 2 s" in finding.detail
    child = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10  # a killed process takes a moment to be gone
    while _runs(child):
        assert time.monotonic() < end, "the library's own process still runs"
        time.sleep(0.01)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_without_python_libraries_the_doctor_itself_still_runs(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ROS", "AMENT"))}
    result = subprocess.run(
        [tmp_path / "bare/bin/python", ROOT / "deploy/doctor.py", "--json", default_bundle()],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    report = json.loads(result.stdout)
    assert report["auto"]["backend"] is None
    core = next(f for f in report["findings"] if f["name"] == "densemtl")
    assert (core["state"], core["remedy"]) == ("broken", "pip install .")
    assert "No module named" in core["detail"]
    assert report["bundle"][0]["state"] == "broken"


# single probes --------------------------------------------------------------------------------------------------------


def test_the_driver_is_found_without_torch(build):
    smi = "echo 'NVIDIA RTX A2000, 8.6, 580.65.06'"
    finding = probes.probe_gpu(build(files=DRIVER, programs={"nvidia-smi": smi}))
    assert finding.facts == {"gpu": "NVIDIA RTX A2000", "compute_capability": "8.6", "driver": "580.65.06"}


def test_a_driver_whose_tool_fails_is_still_found(build):
    finding = probes.probe_gpu(build(files=DRIVER, programs={"nvidia-smi": "exit 9"}))
    assert finding.ok
    assert finding.facts == {"driver": "580.65.06"}


def test_a_torch_whose_kernels_fail_on_the_gpu_does_not_count_as_cuda(build):
    kernel = "raise RuntimeError('no kernel image is available for execution on the device')"
    found = examine(build((CORE, RUNTIME, torch(gpu=True, kernel=kernel), TIMM, torch_tensorrt()), files=DRIVER))
    assert "the GPU fails: no kernel image" in found["torch"].detail
    assert found["torch"].remedy
    assert choose(found).backend == "eager"


def test_a_jetson_without_the_jetpack_packages(build):
    machine = build(files=ORIN, programs={"dpkg-query": "exit 1"}, architecture="aarch64")
    finding = probes.probe_jetpack(machine)
    assert (finding.state, finding.remedy) == ("absent", "sudo apt-get install nvidia-jetpack")
    assert finding.facts["jetpack"] == "6.2", "known from the release of Jetson Linux"
    assert "--system-site-packages" in probes.probe_tensorrt(machine).remedy
    assert "docs/jetson.md" in probes.probe_torch(machine).remedy


def test_ros_that_is_installed_and_not_sourced(build):
    machine = build(files={"opt/ros/jazzy/setup.bash": ""})
    assert probes.probe_ros(machine).remedy == "source /opt/ros/jazzy/setup.bash"


def test_ros_names_its_middleware(build):
    rclpy = ("", "rclpy", "def get_rmw_implementation_identifier(): return 'rmw_test_cpp'")
    finding = probes.probe_ros(build((rclpy,), ROS_DISTRO="jazzy"))
    assert finding.ok
    assert finding.detail == "rclpy with rmw_test_cpp, ROS_DISTRO jazzy"


def test_the_rtx_edition_is_named(build):
    rtx = ("torch-tensorrt-rtx", "torch_tensorrt", "__version__ = '2.14.0'\nraise RuntimeError('no driver')")
    detail = probes.probe_torch_tensorrt(build((torch("2.14.1"), rtx))).detail
    assert "TensorRT-RTX edition" in detail


def test_without_a_gpu_torch_tensorrt_is_not_called_broken(build):
    raises = torch_tensorrt("raise RuntimeError('Found no NVIDIA driver on your system')")
    without = probes.probe_torch_tensorrt(build((torch("2.12.0"), raises)))
    assert (without.state, without.remedy) == ("no GPU", ""), "nothing can be installed that would make a GPU"
    assert "no NVIDIA driver is loaded (RuntimeError: Found no NVIDIA driver" in without.detail


@pytest.mark.parametrize(
    ("version", "partner"),
    [("2.14.1+cu130", "2.14.0"), ("2.8.0a0+34c6371d24.nv25.08", "2.8.0"), ("2.8", "2.8.0"), ("1.13", None), ("", None)],
)
def test_what_goes_with_a_torch(version, partner):
    match = match_of(version)
    assert (match.torch_tensorrt if match else None) == partner


# probes side by side --------------------------------------------------------------------------------------------------


def test_every_probe_is_run():
    written = {getattr(probes, name) for name in dir(probes) if name.startswith("probe_")}
    files = [p for p in (ROOT / "deploy/probes").glob("*.py") if p.name != "__init__.py"]
    assert len(written) == sum(len(re.findall(r"^def probe_", p.read_text(), re.MULTILINE)) for p in files)
    assert set(probes.PROBES) == written
    assert len(probes.PROBES) == len(written)


def test_the_order_of_the_report_is_that_of_the_probes(build):
    heard = []
    found = examine(build(), heard.append)
    assert list(found) == heard == [probe.__name__.removeprefix("probe_") for probe in probes.PROBES]


def test_two_probes_that_need_torch_import_it_once(build, tmp_path):
    distribution, module, code = torch(gpu=True)
    counted = code + f"\nopen({str(tmp_path / 'imports')!r}, 'a').write('x')\n"
    found = examine(build((CORE, RUNTIME, (distribution, module, counted))))
    assert found["gpu"].facts["gpu"] == "Orin"
    assert found["torch"].facts["cuda"] is True
    assert (tmp_path / "imports").read_text() == "x"


def test_imports_run_side_by_side(build, tmp_path, monkeypatch):
    """Each of two libraries waits for the other one's import to have started."""
    monkeypatch.setattr(probes, "at_once", lambda machine: 2)
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    for path in (one, two):
        os.mkfifo(path)
    meet = "open({!r}, 'w').close()" + "\n" + "open({!r}).close()\n"
    teem = "open({!r}).close()" + "\n" + "open({!r}, 'w').close()\n"
    libraries = (("timm", "timm", meet.format(one, two)), torch_tensorrt(teem.format(one, two) + "__version__ = '2'"))
    found = examine(build((CORE, RUNTIME, *libraries), timeout=10.0))
    assert found["timm"].ok, found["timm"].detail
    assert found["torch_tensorrt"].ok, found["torch_tensorrt"].detail


@pytest.mark.parametrize(("free_gib", "expected"), [(0, 1), (3, 1), (5, 2), (100, 4)])
def test_no_more_imports_at_once_than_memory_and_cores_allow(build, monkeypatch, free_gib, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)))
    machine = build(files={"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable:   {free_gib * 2**20} kB\n"})
    assert probes.at_once(machine) == expected
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert probes.at_once(machine) == 1


def test_an_interrupt_ends_the_imports(build, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"import os, threading\nopen({str(fifo)!r}, 'w').write(str(os.getpid()))\nthreading.Event().wait()"
    started: list[int] = []

    def interrupt(name: str) -> None:
        started.append(int(fifo.read_text()))  # waits for the import
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(build((CORE, RUNTIME, ("timm", "timm", code))), interrupt)
    assert not Path(f"/proc/{started[0]}").exists()


def test_an_interrupted_command_says_so(build, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupt)
    assert doctor.main([], build()) == 130
    assert "interrupted" in capsys.readouterr().err


# the rule of auto -----------------------------------------------------------------------------------------------------

NEEDED = ("torch", "timm", "torch_tensorrt", "onnxruntime", "openvino", "densemtl", "tensorrt", "gpu")


def findings(*ok: str, cuda: bool = False) -> dict[str, Finding]:
    found = {n: Finding(n, "ok" if n in (*ok, "densemtl") else "absent", "") for n in NEEDED}
    found["torch"] = dataclasses.replace(found["torch"], facts={"cuda": cuda})
    return found


@pytest.mark.parametrize(
    ("found", "candidates"),
    [
        (findings("torch", "timm", "tensorrt", "onnxruntime", cuda=True), ("tensorrt",)),
        (findings("torch", "timm", "torch_tensorrt", "onnxruntime", cuda=True), ("onnx",)),
        (findings("torch", "timm", "torch_tensorrt", "onnxruntime"), ("onnx",)),
        (findings("torch", "timm", "onnxruntime", cuda=True), ("onnx",)),
        (findings("torch", "timm", "onnxruntime", "openvino"), ("onnx", "openvino")),
        (findings("openvino"), ("openvino",)),
        (findings("torch", "timm"), ("eager",)),
        (findings("torch"), ()),
        (findings(), ()),
    ],
)
def test_the_rule(found, candidates):
    choice = choose(found)
    assert choice.candidates == candidates
    assert choice.backend == (candidates[0] if candidates else None)
    assert ("measured warm-up" in choice.why) == (len(candidates) > 1)


def test_the_order_is_that_of_the_runtime():
    assert tuple(runnable(findings())) == BACKENDS


def test_with_a_bundle_the_rule_takes_only_what_fits():
    rows = [Finding(name, state, "") for name, state in (("bundle", "ok"), ("eager", "ok"), ("openvino", "broken"))]
    choice = choose(findings("torch", "timm", "onnxruntime", "openvino"), rows)
    assert choice.backend == "eager"
    assert "onnx: not in the bundle, openvino: the bundle's does not load" in choice.why


def test_a_gpu_that_auto_leaves_idle_is_mentioned():
    assert "--backend eager would use the GPU" in choose(findings("torch", "timm", "onnxruntime", cuda=True)).why
    assert "--backend eager" not in choose(findings("torch", "timm", "onnxruntime")).why


def test_nothing_runs_without_our_own_package():
    found = findings("torch", "timm", "onnxruntime", "openvino")
    found["densemtl"] = Finding("densemtl", "broken", "")
    choice = choose(found)
    assert choice.backend is None
    assert "densemtl is broken" in choice.why


# bundles --------------------------------------------------------------------------------------------------------------


def bundle_with(folder: Path, engines: dict[str, EngineInfo]) -> Path:
    shipped = Bundle(default_bundle())
    files = {name: shipped.read(name) for name in shipped.manifest.files}
    files |= {engine.file: b"engine" for engine in engines.values()}
    manifest = dataclasses.replace(shipped.manifest, backends=("eager", *engines), engines=engines)
    write_bundle(folder / "made.bundle", manifest, files)
    return folder / "made.bundle"


def test_a_bundles_engines_fit_or_say_why_not(tmp_path, build):
    orin = {
        "tensorrt": "10.3.0",
        "gpu": "Orin",
        "compute_capability": "8.7",
        "platform": "linux_aarch64",
        "torch": "2.8.0",
    }
    path = bundle_with(
        tmp_path,
        {"onnx": EngineInfo("model.onnx", "fp32"), "tensorrt": EngineInfo("model.engine", "fp16", orin)},
    )
    here = findings("torch", "timm", "onnxruntime")
    bundle, *engines = inspect_bundle(path, here, build((torch("2.14.1+cpu"),)))
    assert bundle.ok
    assert "every hash right" in bundle.detail
    fits = {finding.name: finding.facts["fits"] for finding in engines}
    assert fits == {"eager": True, "onnx": True, "tensorrt": False}
    why = engines[-1].detail
    assert "no GPU that torch computes on" in why
    for misfit in (
        "tensorrt 10.3.0, here none",
        "linux_aarch64, this is x86_64",
        "torch 2.8.0, here 2.14.1",
        "gpu Orin",
    ):
        assert misfit in why
    assert engines[-1].remedy.startswith("build it here: python deploy/compile.py")


def test_an_engine_fits_the_machine_it_was_made_for(tmp_path, jetson):
    made_for = {"tensorrt": "10.3.0", "gpu": "Orin", "compute_capability": "8.7", "platform": "linux_aarch64"}
    path = bundle_with(tmp_path, {"tensorrt": EngineInfo("model.engine", "fp16", made_for)})
    *_, engine = inspect_bundle(path, examine(jetson), jetson)
    assert engine.ok, engine.detail


def test_an_engine_that_only_looks_right_is_loaded_to_see(tmp_path, capsys):
    """Every hash is right, and the library says what the file is: no graph."""
    path = bundle_with(tmp_path, {"onnx": EngineInfo("model.onnx", "fp32")})
    found = findings("onnxruntime")
    _, eager, engine = rows = inspect_bundle(path, found, Machine())
    assert (engine.state, engine.facts["fits"], engine.facts["loads"]) == ("broken", True, False)
    assert re.search(r"does not load: bundle .*made\.bundle: onnxruntime \S+ cannot load model\.onnx", engine.detail)
    assert not eager.facts["fits"]
    assert choose(found, rows).backend is None


def test_what_crashes_while_it_loads_is_told(tmp_path, build):
    crash = ("", "densemtl_core/runtime", "import os\nclass Predictor:\n    def __init__(self, *a, **k): os.abort()")
    _, eager = inspect_bundle(bundle_with(tmp_path, {}), findings("torch", "timm"), build((CORE, crash)))
    assert eager.state == "broken"
    assert "does not load: crashed with SIGABRT" in eager.detail


def test_a_changed_byte_is_found(tmp_path, build):
    path = bundle_with(tmp_path, {"onnx": EngineInfo("model.onnx", "fp32")})
    (path / "model.onnx").write_bytes(b"Engine")
    (bundle,) = inspect_bundle(path, findings("onnxruntime"), build())
    assert bundle.state == "broken"
    assert "model.onnx was changed" in bundle.detail


def edited(bundle: Path, change) -> Path:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


def test_a_manifest_of_other_classes_than_the_networks_is_found(tmp_path, build):
    path = bundle_with(tmp_path, {"onnx": EngineInfo("model.onnx", "fp32")})
    edited(path, lambda manifest: manifest["tasks"]["semantic"]["class_names"].reverse())
    (bundle,) = inspect_bundle(path, findings("onnxruntime"), build())
    assert bundle.state == "broken"
    assert "names 19 classes for task 'semantic', model.json 19 (or in another order)" in bundle.detail


def test_the_precision_is_that_in_which_it_runs_here(tmp_path, build):
    """INT8 was asked for, and nothing of it is in the bundle: the weights run at fp32."""
    path = edited(bundle_with(tmp_path, {}), lambda manifest: manifest.update(precision="int8"))
    bundle, eager = inspect_bundle(path, findings("torch", "timm"), build())
    assert ", fp32, " in bundle.detail
    assert "int8" not in bundle.detail + eager.detail
    assert eager.facts["precision"] == "fp32"


def test_of_several_precisions_each_is_told(tmp_path, build):
    path = bundle_with(tmp_path, {"onnx": EngineInfo("model.onnx", "int8")})
    bundle, eager, engine = inspect_bundle(path, findings("torch", "timm", "onnxruntime"), build())
    assert "fp32 and int8" in bundle.detail
    assert (eager.facts["precision"], engine.facts["precision"]) == ("fp32", "int8")


# the command ----------------------------------------------------------------------------------------------------------

TEXT = {"type": "string"}
FINDING = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "state": {"enum": ["ok", "absent", "broken", "no GPU"]},
        "detail": {"type": "string", "pattern": r"^[^\n]+$"},
        "remedy": {"type": "string", "pattern": r"^[^\n]*$"},
        "facts": {"type": "object"},
    },
    "required": ["name", "state", "detail", "remedy", "facts"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "schema": {"const": 1},
        "findings": {"type": "array", "items": FINDING, "minItems": len(doctor.PROBES)},
        "auto": {
            "type": "object",
            "properties": {
                "backend": {"enum": ["tensorrt", "onnx", "openvino", "eager", None]},
                "candidates": {"type": "array", "items": TEXT},
                "why": TEXT,
            },
            "required": ["backend", "candidates", "why"],
            "additionalProperties": False,
        },
        "bundle": {"anyOf": [{"type": "null"}, {"type": "array", "items": FINDING, "minItems": 1}]},
    },
    "required": ["schema", "findings", "auto", "bundle"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(("libraries", "status"), [((), 1), ((ONNXRUNTIME,), 0)])
def test_json_and_exit_status(build, capsys, libraries, status):
    assert doctor.main(["--json"], build((CORE, RUNTIME, *libraries))) == status
    report = json.loads(capsys.readouterr().out)
    jsonschema.validate(report, SCHEMA)
    assert report["bundle"] is None


@pytest.mark.parametrize(("library", "status"), [(ONNXRUNTIME, 1), (OPENVINO, 0)])
def test_with_a_bundle_the_status_is_that_of_its_engines(build, capsys, tmp_path, library, status):
    """The bundle has an engine for openvino, and eager, for which there is no torch."""
    path = bundle_with(tmp_path, {"openvino": EngineInfo("model.onnx", "fp32")})
    assert doctor.main(["--json", str(path)], build((CORE, RUNTIME, library))) == status
    report = json.loads(capsys.readouterr().out)
    jsonschema.validate(report, SCHEMA)
    assert [finding["name"] for finding in report["bundle"]] == ["bundle", "eager", "openvino"]


def test_a_bundle_that_is_not_there(build, capsys, tmp_path):
    assert doctor.main([str(tmp_path / "none.bundle")], build((CORE, RUNTIME, ONNXRUNTIME))) == 1
    said = capsys.readouterr().out
    assert "bundle not found" in said
    assert "auto takes nothing" in said
    assert "onnx: the bundle cannot be used" in said


def test_the_table_is_aligned_and_lists_every_remedy():
    rows = [Finding("a", "ok", "fine"), Finding("longer", "absent", "gone", "do this")]
    lines = doctor.render(rows, choose(findings("onnxruntime")), []).splitlines()
    assert lines[:2] == ["a       ok      fine", "longer  absent  gone"]
    assert lines[3].startswith("auto takes onnx: ")
    assert lines[-2:] == ["To mend", "  longer  do this"]


def test_every_extra_that_is_recommended_exists():
    wanted = set(re.findall(r"'\.\[(\w+)\]'", "".join(p.read_text() for p in (ROOT / "deploy/probes").glob("*.py"))))
    extras = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert wanted >= {"cpu", "eager", "ros"}
    assert wanted <= set(re.findall(r"^(\w+) = \[", extras, re.MULTILINE))


# docker/ --------------------------------------------------------------------------------------------------------------

DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))


def instructions(text: str) -> list[tuple[str, str]]:
    """Instruction and its arguments, continued lines joined, comments gone."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    split = (line.split(maxsplit=1) for line in lines if line.strip())
    return [(words[0].upper(), words[1] if len(words) > 1 else "") for words in split]


def faults(text: str) -> list[str]:
    """What must not be in a container file of ours."""
    found = []
    if "NOT BUILT OR RUN BY US" not in text.partition("\n")[0]:
        found.append("does not say at the top that nobody built it")
    steps = instructions(text)
    stages = [arguments.split()[2] for name, arguments in steps if name == "FROM" and " AS " in arguments]
    for name, arguments in steps:
        image = arguments.split()[0] if arguments else ""
        if name == "FROM" and image not in stages and (":" not in image or image.endswith(":latest")):
            found.append(f"no pinned tag: {image}")
        if name in ("ADD", "HEALTHCHECK") or re.search(r"\b(curl|wget)\b", arguments):
            found.append(f"fetches or invents: {name} {arguments}")
        if name in ("ARG", "ENV") and re.search(r"TOKEN|PASSWORD|SECRET|KEY", arguments, re.IGNORECASE):
            found.append(f"secret: {arguments}")
        if name == "COPY" and "--from" not in arguments:
            found += [f"no such file: {source}" for source in arguments.split()[:-1] if not (ROOT / source).exists()]
        for command in re.findall(r"pip install ([^&]+)", arguments):
            words = [
                word.strip('"') for word in re.sub(r"--(?:extra-)?(?:index-url|constraint) \S+", "", command).split()
            ]
            loose = [w for w in words if not w.startswith(("-", ".", "/")) and "==" not in w]
            found += [f"no pinned version: {word}" for word in loose]
    users = [arguments for name, arguments in steps if name == "USER"]
    if not users or users[-1] in ("root", "0"):
        found.append("runs as root")
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_container_files_are_sound(path):
    assert faults(path.read_text()) == []


def test_there_is_a_file_for_each_machine():
    assert [p.name for p in DOCKERFILES] == ["Dockerfile.jetpack62", "Dockerfile.jetpack7", "Dockerfile.x86"]
    readme = (ROOT / "docker/README.md").read_text()
    assert "Not built or run by us" in readme.partition("|")[0]
    assert all(p.name in readme for p in DOCKERFILES)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("FROM ubuntu", "no pinned tag"),
        ("FROM ubuntu:latest", "no pinned tag"),
        ("ADD https://example.org/x /x", "fetches"),
        ("RUN wget https://example.org/x", "fetches"),
        ("HEALTHCHECK CMD true", "invents"),
        ("ENV NGC_TOKEN=1", "secret"),
        ("COPY nowhere /x", "no such file"),
        ("RUN pip install --no-cache-dir \\\n  torch", "no pinned version: torch"),
        ("USER root", "runs as root"),
    ],
)
def test_the_check_of_container_files_sees_faults(line, fault):
    sound = "# NOT BUILT OR RUN BY US\nFROM ros:jazzy-ros-base-noble\nUSER densemtl\n"
    assert faults(sound) == []
    assert any(fault in found for found in faults(sound + line + "\n"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_container_files_follow_the_version_matrix(path):
    pins = dict(re.findall(r"(?<![\w-])(torch|torch-tensorrt)==([\d.]+)", path.read_text()))
    if "torch-tensorrt" in pins:
        assert MATCHES[pins["torch"].rpartition(".")[0]][0] == pins["torch-tensorrt"]
    else:
        assert path.name == "Dockerfile.x86"


def test_the_page_shows_the_matrix_that_the_doctor_uses():
    page = (ROOT / "docs/jetson.md").read_text()
    for jetpack in ("6.2", "7.1"):
        l4t = next(k for k, v in JETPACK_OF_L4T.items() if v == jetpack)
        assert f"{jetpack} (L4T {l4t})" in page
    for torch_version in ("2.8", "2.12"):
        assert MATCHES[torch_version][0] in page
    assert "Nothing on this page was run on a device" in page
