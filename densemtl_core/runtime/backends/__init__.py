"""Inference engines, one file each, imported only when asked for."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from densemtl_core.runtime.manifest import BundleError

if TYPE_CHECKING:
    from densemtl_core.runtime.backends.base import Backend
    from densemtl_core.runtime.bundle import Bundle

__all__ = ["BACKENDS", "open_backend"]

BACKENDS = ("eager",)
"""In the order in which ``auto`` prefers them."""


def open_backend(name: str, bundle: Bundle, threads: int | None = None) -> Backend:
    """Load a bundle into a backend.

    Args:
        name: one of `BACKENDS`, or ``auto``: the first that the bundle has files for.
        bundle: verified.
        threads: CPU threads, None for the engine's own choice.

    Raises:
        BundleError: unknown backend, or one that this bundle or this machine lacks.
    """
    choices = [b for b in BACKENDS if b in bundle.manifest.backends]
    if name != "auto":
        if name not in BACKENDS:
            raise BundleError(f"unknown backend {name!r}; known: auto, {', '.join(BACKENDS)}")
        choices = [b for b in choices if b == name]
    if not choices:
        has = ", ".join(bundle.manifest.backends) or "none"
        raise BundleError(f"bundle {bundle.path} has nothing for backend {name!r}; it was made for: {has}")
    # By default OpenMP's threads spin while they wait. On a robot, where other processes want the same cores, the
    # spinning thread keeps the one it waits for from running: frames took ten times longer on two busy cores. Read when
    # the engine's library loads, so it must be set before; what the user set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        module = importlib.import_module(f"densemtl_core.runtime.backends.{choices[0]}")
    except ImportError as error:
        raise BundleError(
            f"backend {choices[0]!r} needs {error.name or error}; "
            f"install it with: pip install 'densemtl-core[{choices[0]}]'"
        ) from error
    backend: Backend = module.load(bundle, threads)
    return backend
