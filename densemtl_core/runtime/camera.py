"""A camera of known focal length: predictions of a canonical camera become its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from densemtl_core.errors import InputError
from densemtl_core.runtime.backends.base import working_size

__all__ = ["apply_camera", "checked_intrinsics", "working_focal"]


def checked_intrinsics(intrinsics: ArrayLike | None) -> NDArray[np.float64] | None:
    """A camera matrix that can be used.

    Args:
        intrinsics: ``(3, 3)``, or its nine numbers row by row as in a ROS camera_info's ``k``, in pixels; None or all
            zero, as ROS has it for a camera that nobody calibrated: unknown.

    Returns:
        ``(3, 3)``, or None where the camera is unknown.

    Raises:
        InputError: another shape, no numbers, not finite, or an fx that is not positive.
    """
    if intrinsics is None:
        return None
    try:
        K = np.asarray(intrinsics, np.float64)
    except (TypeError, ValueError):
        kind = type(intrinsics).__name__
        raise InputError(
            f"intrinsics must be (3, 3) or nine numbers in pixels, got a {kind} of something else"
        ) from None
    if K.shape not in ((3, 3), (9,)):
        raise InputError(f"intrinsics must be (3, 3) or nine numbers in pixels, got shape {K.shape}")
    K = K.reshape(3, 3)
    if not K.any():
        return None
    if not np.isfinite(K).all() or K[0, 0] <= 0:
        raise InputError(
            f"intrinsics {K.ravel().tolist()} must be finite with fx above 0; give those of the image, or None"
        )
    return K


def working_focal(K: NDArray[np.float64], size: tuple[int, int], input_size: tuple[int, int], resize: str) -> float:
    """f_x in pixels of the image as the network sees it.

    Args:
        K: ``(3, 3)`` in pixels of the camera's image.
        size: ``(H, W)`` of that image.
        input_size: of the manifest.
        resize: the manifest's rule.
    """
    return float(K[0, 0]) * working_size(size, input_size, resize)[1] / size[1]


def apply_camera(
    outputs: dict[str, NDArray[Any]],
    focal: float,
    rules: Mapping[str, Mapping[str, float]],
    needs: Mapping[str, Sequence[str]],
) -> None:
    """Turn a canonical camera's predictions into those of one camera, in place.

    A main output that has a rule is multiplied by ``focal`` over the rule's; beyond the rule's limit it is +inf, and
    NaN stays NaN. What needs that output (normals need depth) is NaN where it is +inf, as its task would have it.

    Args:
        outputs: by name, ``(H, W)`` or ``(H, W, C)``; changed in place, or replaced where they cannot be written.
        focal: of the camera (`working_focal`).
        rules: task name to its ``camera`` (`densemtl_core.runtime.TaskInfo`); empty = no rule.
        needs: task name to the tasks that it needs.
    """
    for name, rule in rules.items():
        if not rule or name not in outputs:
            continue
        scaled = _own(outputs, name)
        with np.errstate(over="ignore"):  # what is too far for a float is beyond the limit
            np.multiply(scaled, np.float32(focal / rule["focal"]), out=scaled)
        beyond = scaled > rule["limit"]  # +inf among them; NaN is not
        # putmask: an assignment through a boolean index takes several times as long
        np.putmask(scaled, beyond, np.inf)
        for other, needed in needs.items():
            if name in needed and other in outputs and outputs[other].dtype.kind == "f":
                vectors = _own(outputs, other)
                channels = vectors[0, 0].size
                of_all = beyond if vectors.ndim == 2 else cv2.merge([beyond.view(np.uint8)] * channels).view(bool)
                np.putmask(vectors, of_all.reshape(vectors.shape), np.nan)


def _own(outputs: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """An output that may be changed: a new one at camera size takes longer to get than to fill."""
    if not outputs[name].flags.writeable:
        outputs[name] = outputs[name].copy()
    return outputs[name]
