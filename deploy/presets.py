"""All DenseMTL presets side by side: each compiled, timed in turns with one reference, and given back."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from densemtl_core.errors import InputError, did_you_mean
from densemtl_core.models import PRESETS
from densemtl_core.runtime import Predictor
from deploy.comparison import ratio, spread
from deploy.conditions import Disturbance
from deploy.latency import interleaved
from deploy.lineup import load_untrained
from deploy.loaded_engine import LoadedEngine, load_engines
from deploy.presets_cost import Cost, cost
from deploy.untrained import untrained_bundles

__all__ = ["ENGINES", "LEAST_TURNS", "EngineTimes", "PresetTimes", "Timing", "chosen_presets", "time_presets"]

FAMILY = "densemtl_"
"""What the names of our networks begin with; other presets are what they are compared with."""

ENGINES = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8"))
"""Backend and precision of what is timed beside eager."""

LEAST_TURNS = 5
"""Fewer have no median worth the name, however long a turn takes."""


@dataclass(frozen=True)
class Timing:
    """How to time.

    Attributes:
        size: ``(H, W)`` at which each network works.
        camera: ``(H, W)`` of the image.
        threads: CPU threads, None for each engine's own choice.
        runs: turns at most.
        seconds: that one preset's turns may take; `LEAST_TURNS` are taken however long they take.
        warm_up: turns before, not timed.
    """

    size: tuple[int, int]
    camera: tuple[int, int]
    threads: int | None = None
    runs: int = 30
    seconds: float = 120.0
    warm_up: int = 3


@dataclass(frozen=True)
class EngineTimes:
    """One engine of a preset.

    Attributes:
        backend: its kind.
        precision: in which it computes.
        device: where it ran.
        ms: a frame, camera image to predictions, in milliseconds: ``{"p10": ..., "p50": ..., "p90": ...}``.
        of_eager: the same of the time over that of the preset in eager fp32 in the same turn; None where eager was not
            timed.
        of_reference: the same over the reference's.
        file_bytes: of the file that it was loaded from.
        memory_mib: by which the resident set grew at its peak while it was loaded and computed one frame.
    """

    backend: str
    precision: str
    device: str
    ms: Mapping[str, float]
    of_eager: Mapping[str, float] | None
    of_reference: Mapping[str, float]
    file_bytes: int
    memory_mib: float | None


@dataclass(frozen=True)
class PresetTimes:
    """One preset.

    Attributes:
        preset: its name.
        cost: that was counted.
        engines: eager fp32 first; none where it could not be compiled.
        turns: in which they were timed.
        reference_ms: the reference's median in these turns: how steady the machine was from preset to preset.
        other_cores: that other processes kept busy meanwhile; None where not known.
        left_out: a line for each engine that was not timed.
    """

    preset: str
    cost: Cost
    engines: tuple[EngineTimes, ...]
    turns: int
    reference_ms: float | None
    other_cores: float | None
    left_out: tuple[str, ...]

    def engine(self, backend: str, precision: str) -> EngineTimes | None:
        """The engine of that kind, None where it was not timed."""
        return next((e for e in self.engines if (e.backend, e.precision) == (backend, precision)), None)

    @property
    def fastest(self) -> EngineTimes | None:
        """Of `ENGINES`, the one with the shortest median."""
        timed = [engine for engine in self.engines if (engine.backend, engine.precision) in ENGINES]
        return min(timed, key=lambda engine: engine.ms["p50"], default=None)


def chosen_presets(text: str) -> list[str]:
    """The presets of ``all``, smallest first, or of a list with commas.

    Raises:
        InputError: an unknown one, or none.
    """
    ours = [name for name in PRESETS if name.startswith(FAMILY)]
    if text.strip() == "all":
        return sorted(ours, key=lambda name: cost(name).parameters)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PRESETS:
            hint = did_you_mean(name, PRESETS)
            raise InputError(f"--presets has {name!r}, which is none; {hint}give all, or of: {', '.join(ours)}")
    return list(dict.fromkeys(names))


def time_presets(
    presets: Sequence[str], timing: Timing, folder: Path, tell: Callable[[str], None] = lambda line: None
) -> list[PresetTimes]:
    """Compile and time one preset after the other, all in this process.

    Every preset's engines take turns with the first preset in eager fp32, so that ratios hold across presets though
    they were not in memory together.

    Args:
        presets: names; the first one's eager engine is the reference.
        timing: how.
        folder: for what is compiled on the way. Two presets at most lie there at a time.
        tell: is told every step.

    Raises:
        InputError: the first preset cannot be compiled, or a library of the compiler is missing.
    """
    for library in ("onnxruntime", "openvino"):
        with suppress(ImportError):  # now, or the first preset's engines would be charged its memory
            importlib.import_module(library)
    precisions = ("fp32", "int8")
    first = untrained_bundles(presets[0], timing.size, precisions, _own(folder, presets[0]), tell)
    reference = first[0][1]
    results = []
    for preset in presets:
        try:
            own = _own(folder, preset)
            made = first if preset == presets[0] else untrained_bundles(preset, timing.size, precisions, own, tell)
        except InputError as error:
            if preset == presets[0]:
                raise
            results.append(PresetTimes(preset, cost(preset), (), 0, None, None, (f"{preset}: {error}",)))
            continue
        results.append(_timed(preset, made, reference, timing, tell))
        if preset != presets[0]:
            shutil.rmtree(own)
    return results


def _own(folder: Path, preset: str) -> Path:
    own = folder / preset
    own.mkdir(parents=True, exist_ok=True)
    return own


def _timed(
    preset: str, made: Sequence[tuple[str, Path]], reference: Path, timing: Timing, tell: Callable[[str], None]
) -> PresetTimes:
    """One preset's engines and the reference, in turns."""
    engines, left_out = load_untrained(made, ("eager", "onnx", "openvino"), timing.threads)
    own_eager = next((engine for engine in engines if engine.backend == "eager"), None)
    if made[0][1] == reference and own_eager is not None:
        base, loaded = own_eager, engines
    else:
        (base,), _ = load_engines(reference, ["eager"], timing.threads, random_weights=True)
        loaded = [base, *engines]
    try:
        with Disturbance() as others:
            seconds = _turns(loaded, timing, lambda turns: tell(f"timing {preset}: {turns} turns ..."))
    finally:
        for engine in loaded:
            engine.predictor.close()
    rows = tuple(_row(engine, seconds, own_eager, base) for engine in engines)
    return PresetTimes(
        preset,
        cost(preset),
        rows,
        len(seconds[base.name]),
        spread(np.asarray(seconds[base.name]) * 1e3)["p50"],
        others.cores,
        tuple(left_out),
    )


def _turns(engines: Sequence[LoadedEngine], timing: Timing, tell: Callable[[int], None]) -> dict[str, list[float]]:
    """Seconds of each engine by name, one a turn; of as many turns as there is time for."""
    image = np.full((*timing.camera, 3), 127, np.uint8)
    predictors = {engine.name: cast("Predictor", engine.predictor) for engine in engines}
    trial = interleaved(predictors, image, runs=1, warm_up=timing.warm_up)
    turn = sum(stages["total"][0] for stages in trial.values())
    turns = min(timing.runs, max(LEAST_TURNS, int(timing.seconds / turn)))
    tell(turns)
    times = interleaved(predictors, image, runs=turns, warm_up=0)
    return {name: stages["total"] for name, stages in times.items()}


def _row(
    engine: LoadedEngine,
    seconds: Mapping[str, Sequence[float]],
    eager: LoadedEngine | None,
    reference: LoadedEngine,
) -> EngineTimes:
    own = seconds[engine.name]
    return EngineTimes(
        backend=engine.backend,
        precision=engine.precision,
        device=engine.device,
        ms=spread(np.asarray(own) * 1e3),
        of_eager=None if eager is None else ratio(own, seconds[eager.name]),
        of_reference=ratio(own, seconds[reference.name]),
        file_bytes=engine.file_bytes,
        memory_mib=engine.memory_mib,
    )
