"""What the doctor's findings mean: which engine ``auto`` would take, and which engines of a bundle load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.finding import Finding
from deploy.machine import Machine

__all__ = ["Choice", "choose", "inspect_bundle", "runnable"]

# backend to the findings that must be ok; building an engine needs torch_tensorrt too
NEEDS = {
    "tensorrt": ("torch", "tensorrt"),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "eager": ("torch", "timm"),
}


@dataclass(frozen=True)
class Choice:
    """What ``auto`` would take.

    Attributes:
        backend: its name, the first of the candidates; None where no backend can run.
        candidates: backends among which a measured warm-up decides; usually one.
        why: one line.
    """

    backend: str | None
    candidates: tuple[str, ...]
    why: str


def runnable(findings: Mapping[str, Finding]) -> dict[str, str]:
    """Backend to the reason why it cannot run here, empty where it can; in the order of ``auto``."""
    reasons = {}
    for backend, names in NEEDS.items():
        lacking = [name for name in ("densemtl", *names) if not findings[name].ok]
        reasons[backend] = f"{lacking[0]} is {findings[lacking[0]].state}" if lacking else ""
        if backend == "tensorrt" and not findings["torch"].facts.get("cuda"):
            reasons[backend] = "no GPU that torch computes on"
    return reasons


def choose(findings: Mapping[str, Finding], bundle: Sequence[Finding] = ()) -> Choice:
    """The rule of ``auto``: tensorrt; else the faster of the CPU engines; else eager.

    Args:
        findings: of `examine`.
        bundle: of `inspect_bundle`, if the question is what ``auto`` takes of that bundle.
    """
    reasons = runnable(findings)
    if bundle:
        fits = {row.name: row.ok for row in bundle[1:]}
        missing = "not in the bundle" if bundle[0].ok else "the bundle cannot be used"
        for backend in [b for b, reason in reasons.items() if not reason and not fits.get(b)]:
            reasons[backend] = "the bundle's does not load" if backend in fits else missing
    able = [backend for backend, reason in reasons.items() if not reason]
    if not able:
        return Choice(None, (), "; ".join(f"{backend}: {reason}" for backend, reason in reasons.items()))
    if able[0] == "tensorrt":
        return Choice("tensorrt", ("tensorrt",), "the GPU computes and torch_tensorrt imports")
    why = f"no tensorrt: {reasons['tensorrt']}"
    engines = tuple(b for b in able if b != "eager")
    if not engines:
        cpu = ", ".join(f"{b}: {reasons[b]}" for b in ("onnx", "openvino"))
        return Choice("eager", ("eager",), f"{why}; no CPU engine: {cpu}")
    names = " and ".join(engines)
    why += f"; {names} can run: a measured warm-up takes the faster" if len(engines) > 1 else f"; {names} can run"
    if findings["torch"].facts.get("cuda") and "eager" in able:
        why += "; --backend eager would use the GPU"
    return Choice(engines[0], engines, why)


def inspect_bundle(path: Path, findings: Mapping[str, Finding], machine: Machine) -> list[Finding]:
    """Open a bundle, verify every byte, compare its files, and say of each engine whether it loads here.

    An engine that was made for a machine like this one is loaded, and computes a blank frame, in a process of its
    own: what its library says of the file is known no other way.

    Returns:
        First the bundle; then, if it is sound, its backends.
    """
    if not findings["densemtl"].ok:
        return [Finding("bundle", "broken", f"{path} cannot be opened: densemtl is broken", "pip install .")]
    from densemtl_core.runtime.bundle import Bundle
    from densemtl_core.runtime.manifest import BundleError

    try:
        bundle = Bundle(path)
        bundle.verify()
        bundle.check_network()
    except (BundleError, OSError) as error:
        return [Finding("bundle", "broken", str(error))]
    manifest = bundle.manifest
    size = sum(info.size for info in manifest.files.values()) / 1e6
    offered = tuple(dict.fromkeys((*manifest.backends, *manifest.engines)))
    precisions = " and ".join(dict.fromkeys(map(manifest.precision_of, offered))) or "no engine"
    detail = f"{manifest.name}: {manifest.preset}, {precisions}, {len(manifest.files)} files, {size:.1f} MB"
    signed = "; signed (the signature was not checked)" if (path / "manifest.sig").exists() else ""
    found = [Finding("bundle", "ok", f"{detail}, every hash right{signed}", facts={"sha256": manifest.sha256})]
    reasons = runnable(findings)
    for backend in offered:
        engine = manifest.engines.get(backend)
        file, precision = engine.file if engine else "model.safetensors", manifest.precision_of(backend)
        misfits = [reasons.get(backend, "this doctor does not know it")]
        misfits += [_misfit(k, v, findings, machine) for k, v in (engine.made_for if engine else {}).items()]
        why = "; ".join(filter(None, misfits))
        fits = not why
        if fits and (why := _load_error(path, backend, machine)):
            state, note = "broken", f"does not load: {why}"
        else:
            state, note = ("ok", "loads") if fits else ("broken", f"does not fit: {why}")
        facts = {"backend": backend, "file": file, "precision": precision, "fits": fits, "loads": not why}
        remedy = "build it here: python deploy/compile.py --checkpoint FOLDER --out BUNDLE" if why and engine else ""
        found.append(Finding(backend, state, f"{file}, {precision}: {note}", remedy, facts))
    return found


def _load_error(path: Path, backend: str, machine: Machine) -> str:
    """Why an engine does not load here, or computes nothing; empty where it does."""
    code = (
        "from densemtl_core.runtime import Predictor\n"
        f"Predictor({str(path.absolute())!r}, backend={backend!r}).warm_up(frames=1)"
    )
    return str(machine.prove(code).get("error", "")).removeprefix("BundleError: ")


def _misfit(key: str, wanted: str, findings: Mapping[str, Finding], machine: Machine) -> str:
    """Why an engine made for ``key`` = ``wanted`` cannot run here; empty where it can."""
    gpu = findings["gpu"].facts
    if key == "platform":
        return "" if machine.architecture in wanted.lower() else f"made for {wanted}, this is {machine.architecture}"
    if key in ("gpu", "compute_capability"):
        here = str(gpu.get(key, "unknown"))
    elif key == "tensorrt":
        here = str(findings["tensorrt"].facts.get("version", "")) or "none"
    else:
        here = machine.version(key.replace("_", "-")) or "none"
    return "" if here.partition("+")[0] == wanted.partition("+")[0] else f"made for {key} {wanted}, here {here}"
