"""Bundles of networks with random weights, which are as fast as trained ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from densemtl_core.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from densemtl_core.models import DenseMTL, ModelDescription
    from deploy.bundling import Contents

__all__ = ["untrained_bundles", "untrained_network"]

CALIBRATION_FRAMES = 4
"""Of the street world. The ranges of random weights are of no use anyway."""

CLASSES = 19
SEEN = (128, 256)
"""``(H, W)`` of the pictures that batch normalisation sees: two streets and two of noise."""

SIZE = (256, 512)
SEED = 0


def untrained_network(
    preset: str, size: tuple[int, int] | None = None, classes: int = CLASSES, settled: bool = True
) -> tuple[DenseMTL, ModelDescription]:
    """A network of all four tasks with random weights, always the same ones.

    Args:
        preset: a key of `densemtl_core.models.PRESETS`.
        size: ``(H, W)`` at which it works; None: 256 x 512.
        classes: of the task ``semantic``.
        settled: batch normalisation has seen streets and noise. Else the values of a deep network grow from layer to
            layer, and its rounding with them.

    Raises:
        InputError: unknown preset, or a number of classes that cannot be.
    """
    import torch  # only here: whoever times finished bundles needs none of it

    from densemtl_core.data.street import StreetWorld
    from densemtl_core.models import PRESETS, ModelDescription, build_model
    from densemtl_core.tasks import make_tasks

    if preset not in PRESETS:
        raise InputError(f"--preset {preset!r} is unknown; {did_you_mean(preset, PRESETS)}known: {', '.join(PRESETS)}")
    torch.manual_seed(SEED)
    tasks = make_tasks(("semantic", "depth", "normals", "edges"), num_classes=classes)
    model = build_model(preset, tasks)
    if settled:
        norms = {norm: norm.momentum for norm in model.modules() if isinstance(norm, torch.nn.BatchNorm2d)}
        for norm in norms:
            norm.momentum = None  # the mean of what comes
        with torch.no_grad():
            model(torch.cat([StreetWorld(size=SEEN).batch([0, 1]).image, torch.rand(2, 3, *SEEN)]))
        for norm, momentum in norms.items():
            norm.momentum = momentum
    return model, ModelDescription(preset, tasks, size or SIZE)


def untrained_bundles(
    preset: str,
    size: tuple[int, int],
    precisions: Sequence[str],
    folder: Path,
    tell: Callable[[str], None] = lambda line: None,
) -> list[tuple[str, Path]]:
    """Compile a preset with random weights.

    Args:
        preset: a key of `densemtl_core.models.PRESETS`.
        size: ``(H, W)`` at which it works.
        precisions: ``fp32``, ``int8`` or both.
        folder: to write into.
        tell: is told what it will take its time with.

    Returns:
        Each precision and its bundle, for the backends onnx, openvino and eager.

    Raises:
        InputError: unknown preset, or a library of the compiler is missing.
    """
    try:
        from deploy.bundling import package
        from deploy.compilation import Compilation
    except ImportError as error:
        raise InputError(
            f"--preset compiles, which needs {error.name or error}; install it with: "
            "pip install 'densemtl-core[deploy]', or give a finished bundle"
        ) from None
    model, description = untrained_network(preset, size)
    tell(f"compiling {preset} {size[0]}x{size[1]} {' and '.join(precisions)} with RANDOM weights ...")
    # the graph is the same for both CPU engines; compiled for this one, the bundle names it for both
    exported = Compilation(model, description, "openvino", "fp32").run().contents
    bundles = []
    for name in precisions:
        contents = _int8(exported, size) if name == "int8" else exported
        out = folder / name / f"{preset}_{size[0]}x{size[1]}.bundle"
        out.parent.mkdir(exist_ok=True)
        package(model, description, out, contents=contents)
        bundles.append((name, out))
    return bundles


def _int8(exported: Contents, size: tuple[int, int]) -> Contents:
    """INT8 for the CPU engines, of a graph at fp32: exporting takes long, and once is enough."""
    import onnx

    from densemtl_core.runtime import EngineInfo
    from deploy.bundling import Contents
    from deploy.calibration import calibration_set
    from deploy.quantize import int8_for_cpu

    frames = calibration_set(None, size, count=CALIBRATION_FRAMES).frames
    quantised = int8_for_cpu(onnx.load_model_from_string(exported.files["model.onnx"]), frames)
    engine = EngineInfo("model.int8-cpu.onnx", "int8")
    return Contents({engine.file: quantised.SerializeToString()}, {"onnx": engine, "openvino": engine}, "int8")
