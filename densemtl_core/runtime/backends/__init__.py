"""Inference engines, one file each, imported only when asked for."""

from __future__ import annotations

import importlib
import logging
import os
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from densemtl_core.runtime.manifest import BundleError

if TYPE_CHECKING:
    from densemtl_core.runtime.backends.base import Backend
    from densemtl_core.runtime.bundle import Bundle

__all__ = ["BACKENDS", "open_backend"]

BACKENDS = ("tensorrt", "onnx", "openvino", "eager")
"""In the order in which ``auto`` considers them."""

EXTRAS = {"onnx": "cpu"}
"""Extra of this package that brings a backend's library, where it is not called like the backend."""

RIVALS = ("onnx", "openvino")
"""CPU engines of which ``auto`` takes the one that proves faster on this machine."""

TRIAL_FRAMES = 5

_log = logging.getLogger(__name__)


def open_backend(name: str, bundle: Bundle, threads: int | None = None) -> Backend:
    """Load a bundle into a backend.

    ``auto`` takes the first of `BACKENDS` that the bundle has files for and this machine can load; of several CPU
    engines the one that a few blank frames show to be faster.

    Args:
        name: one of `BACKENDS`, or ``auto``.
        bundle: whose files are verified as they are read.
        threads: CPU threads, None for the engine's own choice.

    Raises:
        BundleError: unknown backend, one that this bundle or this machine lacks, or a bundle that contradicts itself.
    """
    offered = [b for b in BACKENDS if b in bundle.manifest.backends]
    if name != "auto" and name not in BACKENDS:
        raise BundleError(f"unknown backend {name!r}; known: auto, {', '.join(BACKENDS)}")
    choices = offered if name == "auto" else [b for b in offered if b == name]
    if not choices:
        has = ", ".join(bundle.manifest.backends) or "none"
        raise BundleError(f"bundle {bundle.path} has nothing for backend {name!r}; it was made for: {has}")
    # By default OpenMP's threads spin while they wait. On a robot, where other processes want the same cores, the
    # spinning thread keeps the one it waits for from running: frames took ten times longer on two busy cores. Read when
    # the engine's library loads, so it must be set before; what the user set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    bundle.check_network()
    refusals: list[BundleError] = []
    opened: list[Backend] = []
    for choice in choices:
        if opened and not (choice in RIVALS and opened[0].name in RIVALS):
            break
        try:
            opened.append(_load(choice, bundle, threads))
        except BundleError as error:
            if name != "auto":
                raise
            _log.warning("backend %s passed over: %s", choice, error)
            refusals.append(error)
    if not opened:
        raise refusals[0] if len(refusals) == 1 else BundleError("; ".join(str(error) for error in refusals))
    return opened[0] if len(opened) == 1 else _faster(opened, bundle)


def _load(choice: str, bundle: Bundle, threads: int | None) -> Backend:
    if choice != "eager" and choice not in bundle.manifest.engines:
        raise BundleError(
            f"bundle {bundle.path}: manifest.json offers backend {choice!r} and names no file for it; "
            "rebuild the bundle"
        )
    try:
        module = importlib.import_module(f"densemtl_core.runtime.backends.{choice}")
    except ImportError as error:
        raise BundleError(
            f"backend {choice!r} needs {error.name or error}; "
            f"install it with: pip install 'densemtl-core[{EXTRAS.get(choice, choice)}]'"
        ) from error
    backend: Backend = module.load(bundle, threads)
    return backend


def _faster(opened: list[Backend], bundle: Bundle) -> Backend:
    """The one with the smaller median time; the others are closed."""
    size = bundle.manifest.input_size
    blank = np.zeros((*size, 3), np.uint8)
    tasks = list(bundle.manifest.tasks)
    seconds: dict[str, list[float]] = {backend.name: [] for backend in opened}
    for frame in range(TRIAL_FRAMES + 1):
        for backend in opened:
            start = time.perf_counter()
            backend.run([blank], tasks, [size])
            if frame:  # the first one allocates
                seconds[backend.name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    _log.info("seconds a blank frame: %s", ", ".join(f"{name} {value:.4f}" for name, value in medians.items()))
    best = min(opened, key=lambda backend: medians[backend.name])
    for backend in opened:
        if backend is not best:
            backend.close()
    return best
