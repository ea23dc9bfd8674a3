"""Graphs that take camera pixels and give decoded outputs, whatever engine runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from densemtl_core.runtime.backends.base import RunResult, enlarge, stacked, working_size
from densemtl_core.runtime.manifest import BundleError, Manifest, OutputInfo

__all__ = ["DecodedGraphBackend", "Infer", "check_declared", "check_precision", "check_self_contained"]

Infer = Callable[[NDArray[Any], Sequence[str]], Sequence[NDArray[Any]]]
"""From pixels ``(B, H, W, 3)`` uint8 and output names to one array ``(B, H, W[, C])`` a name."""

ELSEWHERE = b"\n\x08location\x12"
"""How an ONNX tensor begins to say in which other file its values are: the key of a pair, and the tag of its value."""

REBUILD = "the file belongs to another network; rebuild the bundle with: python deploy/compile.py"


class DecodedGraphBackend:
    """An engine with a graph in it that does everything but the resizing.

    Engines do not prune: the whole graph is computed whichever tasks are asked for.

    Args:
        name: of the backend.
        device: where it runs.
        infer: runs the engine.
        manifest: of the bundle.
        fixed: ``(H, W)`` of the only image size that the engine takes; None: any whose sides are multiples of 32.
        free: called when the backend is closed.
        most: images that the engine takes at once; None: any number.
        batch_limit: see `densemtl_core.runtime.backends.base.Backend`.
    """

    def __init__(
        self,
        name: str,
        device: str,
        infer: Infer,
        manifest: Manifest,
        fixed: tuple[int, int] | None = None,
        free: Callable[[], None] | None = None,
        *,
        most: int | None = None,
        batch_limit: int = 1,
    ) -> None:
        self.name, self.device, self.batch_limit = name, device, batch_limit
        self._infer: Infer | None = infer
        self._manifest, self._fixed, self._free, self._most = manifest, fixed, free, most

    def working_size(self, image: tuple[int, int]) -> tuple[int, int]:
        """See `densemtl_core.runtime.backends.base.Backend`."""
        return self._fixed or working_size(image, self._manifest.input_size, self._manifest.resize)

    def run(
        self, images: Sequence[NDArray[Any]], tasks: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[RunResult]:
        """See `densemtl_core.runtime.backends.base.Backend`."""
        if self._infer is None:
            raise RuntimeError(f"backend {self.name} is closed")
        most = self._most or len(images)
        if len(images) > most:
            parts = [slice(k, k + most) for k in range(0, len(images), most)]
            return [result for part in parts for result in self.run(images[part], tasks, sizes[part])]
        start = time.perf_counter()
        pixels = stacked(images, self.working_size((images[0].shape[0], images[0].shape[1])))
        loaded = time.perf_counter()
        wanted = _outputs_of(self._manifest, tasks)
        values = self._infer(pixels, [output.name for output in wanted])
        inferred = time.perf_counter()
        results = []
        for k, size in enumerate(sizes):
            begin = time.perf_counter()
            outputs = {o.name: enlarge(value[k], size, o.resample) for o, value in zip(wanted, values, strict=True)}
            seconds = {"preprocess": loaded - start, "infer": inferred - loaded}
            results.append(RunResult(outputs, seconds | {"postprocess": time.perf_counter() - begin}))
        return results

    def close(self) -> None:
        """Free the engine."""
        self._infer = None
        if self._free is not None:
            self._free()


def _outputs_of(manifest: Manifest, tasks: Sequence[str]) -> list[OutputInfo]:
    """The outputs of some tasks, in the manifest's order."""
    return [output for name, task in manifest.tasks.items() if name in tasks for output in task.outputs]


def check_self_contained(origin: str, graph: bytes) -> None:
    """Refuse an ONNX graph whose weights are in another file, which engines open wherever the process happens to be.

    That file would be loaded without a hash. What is written here always has its weights inside.

    Args:
        origin: bundle and file, for messages.
        graph: the bytes of the file.

    Raises:
        BundleError: it names another file.
    """
    if ELSEWHERE in graph:
        raise BundleError(
            f"{origin} keeps weights in another file, which nothing vouches for; rebuild the bundle with: "
            "python deploy/compile.py"
        )


def check_precision(origin: str, precision: str, graph: bytes) -> None:
    """Refuse an ONNX graph that is in INT8 and not said to be, or the other way round.

    Args:
        origin: bundle and file, for messages.
        precision: that the manifest promises.
        graph: the bytes of the file.

    Raises:
        BundleError: they differ.
    """
    quantised = b"DequantizeLinear" in graph
    if quantised != (precision == "int8"):
        raise BundleError(
            f"{origin} is {'in' if quantised else 'not in'} INT8, and manifest.json says {precision}; rebuild the "
            "bundle with: python deploy/compile.py"
        )


def check_declared(
    origin: str,
    manifest: Manifest,
    inputs: Mapping[str, tuple[str, int]],
    outputs: Mapping[str, tuple[str, Sequence[Any]]],
) -> None:
    """Refuse a graph whose inputs and outputs are not those of the manifest.

    Args:
        origin: bundle and file, for messages.
        manifest: what is promised.
        inputs: name to element type and number of dimensions.
        outputs: name to element type and shape; a dimension that is no number is not known before it runs.

    Raises:
        BundleError: they differ.
    """
    if list(inputs.values()) != [("uint8", 4)]:
        found = ", ".join(f"{name} {kind} of {rank} dimensions" for name, (kind, rank) in inputs.items()) or "nothing"
        raise BundleError(f"{origin} takes {found} instead of one image (B, H, W, 3) of uint8; {REBUILD}")
    for promised in _outputs_of(manifest, list(manifest.tasks)):
        if promised.name not in outputs:
            raise BundleError(f"{origin} has no output {promised.name!r}, only {', '.join(outputs)}; {REBUILD}")
        kind, shape = outputs[promised.name]
        rank = 3 if promised.channels == 1 else 4
        fits = len(shape) == rank and (rank == 3 or shape[3] == promised.channels or not isinstance(shape[3], int))
        if kind != promised.dtype or not fits:
            raise BundleError(
                f"{origin} gives {promised.name!r} as {kind} {list(shape)}; {promised.dtype} with "
                f"{promised.channels} channels was promised; {REBUILD}"
            )
