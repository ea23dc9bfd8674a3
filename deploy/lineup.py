"""Which engines a benchmark compares, loaded and in order."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from densemtl_core.errors import InputError
from densemtl_core.runtime.backends.base import working_size
from deploy.foreign_graph import ForeignGraph
from deploy.loaded_engine import LoadedEngine, load_engines, with_memory
from deploy.untrained import untrained_bundles

__all__ = ["Wanted", "distinct", "line_up", "load_untrained"]


@dataclass(frozen=True)
class Wanted:
    """What is to be compared.

    Attributes:
        bundles: folders.
        presets: of untrained networks, to be compiled.
        sizes: ``(H, W)`` at which each preset is to work.
        precisions: of each preset.
        backends: by name; none: all that a bundle offers and that run here.
        against: a foreign ONNX file.
        threads: CPU threads, None for each engine's own choice.
    """

    bundles: Sequence[Path] = ()
    presets: Sequence[str] = ()
    sizes: Sequence[tuple[int, int]] = ()
    precisions: Sequence[str] = ("fp32",)
    backends: Sequence[str] = ()
    against: Path | None = None
    threads: int | None = None


def line_up(
    wanted: Wanted, camera: tuple[int, int] | None, folder: Path
) -> tuple[list[LoadedEngine], list[str], tuple[int, int]]:
    """Load everything: bundles in their order, then presets, then the foreign graph.

    Args:
        wanted: what.
        camera: ``(H, W)`` of the image, None for the largest working size.
        folder: for what is compiled on the way.

    Returns:
        The engines, with names of their own; a line for each that was left out; the size of the image.

    Raises:
        InputError: a backend that was asked for by name runs nowhere, or no engine at all does.
    """
    engines: list[LoadedEngine] = []
    left_out: list[str] = []
    for path in wanted.bundles:
        loaded, failed = load_engines(path, wanted.backends, wanted.threads)
        engines, left_out = engines + loaded, left_out + failed
    for preset, size in dict.fromkeys((preset, size) for preset in wanted.presets for size in wanted.sizes):
        made = untrained_bundles(preset, size, wanted.precisions, folder, lambda line: print(line, file=sys.stderr))
        loaded, failed = load_untrained(made, wanted.backends or ("onnx", "openvino", "eager"), wanted.threads)
        engines, left_out = engines + loaded, left_out + failed
    lacking = [name for name in wanted.backends if all(engine.backend != name for engine in engines)]
    if lacking or not engines:
        reasons = [line for line in left_out if not lacking or any(f" {name}: " in line for name in lacking)]
        raise InputError(f"no engine {' or '.join(lacking) or 'runs here'}: {'; '.join(reasons)}")
    camera = camera or max((engine.input_size for engine in engines), key=lambda size: size[0] * size[1])
    if wanted.against:
        engines.append(_foreign(wanted.against, engines[0], camera, wanted.threads))
    return distinct(engines), left_out, camera


def load_untrained(
    made: Sequence[tuple[str, Path]], backends: Sequence[str], threads: int | None
) -> tuple[list[LoadedEngine], list[str]]:
    """Load what `deploy.untrained.untrained_bundles` made.

    Args:
        made: precision and bundle of each.
        backends: by name, in the order wanted.
        threads: CPU threads, None for each engine's own choice.

    Returns:
        The engines, and a line for each that was left out.
    """
    engines: list[LoadedEngine] = []
    left_out: list[str] = []
    for precision, path in made:
        # eager has no INT8: it would be the same row again
        chosen = [name for name in backends if precision == "fp32" or name != "eager"]
        loaded, failed = load_engines(path, chosen, threads, random_weights=True)
        engines = engines + loaded
        # where it was compiled is gone when this is read
        left_out += [f"{precision}, {line}".replace(f"{path.parent}/", "") for line in failed]
    return engines, left_out


def distinct(engines: Sequence[LoadedEngine]) -> list[LoadedEngine]:
    """Number those of equal names: the same bundle twice shows how far two equal engines differ on this machine."""
    found: dict[str, LoadedEngine] = {}
    for engine in engines:
        name, number = engine.name, 1
        while name in found:
            number += 1
            name = f"{engine.name} ({number})"
        found[name] = dataclasses.replace(engine, name=name)
    return list(found.values())


def _foreign(file: Path, first: LoadedEngine, camera: tuple[int, int], threads: int | None) -> LoadedEngine:
    """A foreign graph, on images as large as those which the first engine's network sees."""
    size = working_size(camera, first.input_size, first.predictor.manifest.resize)
    first_of_library = "onnxruntime" not in sys.modules
    graph, memory = with_memory(lambda: ForeignGraph(file, size, threads))
    return LoadedEngine(
        name=f"{file.name} {'x'.join(map(str, graph.shape))}",
        predictor=graph,
        backend=graph.backend,
        device=graph.device,
        precision="as in the file",
        file=str(file),
        file_bytes=file.stat().st_size,
        input_size=size,
        memory_mib=memory,
        memory_of_library=first_of_library,
    )
