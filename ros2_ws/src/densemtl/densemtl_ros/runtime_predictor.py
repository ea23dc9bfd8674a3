"""What the node and the offline program compute with, unless a test gives them something else."""

from __future__ import annotations

from typing import Any

__all__ = ["runtime_predictor"]


def runtime_predictor(bundle: str, **options: Any) -> Any:
    """Load a bundle; the one that ships if the name is empty.

    Args:
        bundle: its folder.
        **options: of `densemtl_core.runtime.Predictor`.
    """
    from densemtl_core.runtime import Predictor, default_bundle

    return Predictor(bundle or default_bundle(), **options)
