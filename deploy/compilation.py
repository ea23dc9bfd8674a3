"""From a network to files that engines load, and the search for the fastest precision that is accurate enough."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from densemtl_core.data.sample import Sample
from densemtl_core.errors import InputError
from densemtl_core.models import DenseMTL, ModelDescription
from densemtl_core.runtime import EngineInfo
from deploy import tensorrt
from deploy.accuracy import Drop, drops, scores
from deploy.bundling import Contents, package
from deploy.calibration import CalibrationSet
from deploy.equalisation import take_weights
from deploy.graph import DeployedNetwork, example, output_names
from deploy.onnx_export import export_onnx, first_layers
from deploy.progress import Progress
from deploy.quantize import conditioned, counted, int8_for_cpu, int8_for_tensorrt

__all__ = ["PRECISIONS", "Compilation", "Compiled", "parity", "some_of"]

PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "tensorrt": ("fp32", "fp16", "bf16", "int8"),
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "eager": ("fp32",),
}
"""Backend to the precisions in which it can be compiled; ``tensorrt`` only on a CUDA machine."""

PARITY = 1e-4
"""How far an engine may be from eager at fp32, relative to the largest value of an output."""

PARITY_IDS = 1e-3
"""Share of the pixels whose class may differ: where two classes are equally likely, the last bit decides."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Compiled:
    """What came out.

    Attributes:
        contents: of the bundle, ready to be written.
        drops: one a task, against eager at fp32; empty where nothing was judged.
        kept: modules left in floating point.
        before: scores at fp32.
        after: scores of the engine.
    """

    contents: Contents
    drops: tuple[Drop, ...] = ()
    kept: tuple[str, ...] = ()
    before: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    after: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def nothing(cls) -> Compiled:
        """For the backend ``eager``, which needs the network alone."""
        return cls(Contents({}, {}))

    @property
    def passes(self) -> bool:
        """Whether every task stays within the gate."""
        return not self.failing

    @property
    def failing(self) -> str:
        """Tasks beyond the gate and their figures, one line; empty where all are within."""
        return _figures(drop for drop in self.drops if not drop.passes)

    @property
    def scored(self) -> str:
        """All tasks and their figures, one line; empty where nothing was judged."""
        return _figures(self.drops)


class Compilation:
    """Compiles one network for one backend.

    Args:
        model: the network with its weights, on the CPU.
        description: of that network.
        backend: one of `PRECISIONS`.
        precision: one of `PRECISIONS` of that backend.
        calibration: for INT8.
        fixed: compile for exactly the description's size, one image at a time; a TensorRT engine always is of one size.
        batch: images at a time in a TensorRT engine.
        slim: leave out what this backend does not load, beside the network itself: the floating-point graph beside an
            INT8 one, and the file that TensorRT would build from.
        tell: is told every step.
        progress: is told every stage before it begins, and the frames of those that have some.

    Raises:
        InputError: a combination that does not exist.
    """

    def __init__(
        self,
        model: DenseMTL,
        description: ModelDescription,
        backend: str,
        precision: str,
        calibration: CalibrationSet | None = None,
        *,
        fixed: bool = False,
        batch: int = 1,
        slim: bool = False,
        tell: Tell = lambda line: None,
        progress: Progress | None = None,
    ) -> None:
        if precision not in PRECISIONS[backend]:
            others = [name for name, known in PRECISIONS.items() if precision in known]
            raise InputError(
                f"backend {backend} has no {precision}, only {', '.join(PRECISIONS[backend])}; "
                f"{precision} is of {', '.join(others) or 'tensorrt, on a CUDA machine'}"
            )
        if precision == "int8" and calibration is None:
            raise InputError("INT8 needs calibration frames; give --calibration, or none for synthetic ones")
        if backend == "tensorrt" and (lacks := tensorrt.missing()):
            raise InputError(f"backend tensorrt: {lacks}")
        self.model, self.description = model, description
        self.backend, self.precision = backend, precision
        self.calibration, self.fixed, self.batch, self.slim, self.tell = calibration, fixed, batch, slim, tell
        self.progress = progress or Progress()
        self._failing: list[str] = []  # tasks, in the attempt before

    def run(self, samples: Sequence[Sample] = (), *, retreat: bool = True) -> Compiled:
        """Compile, and judge on labelled samples; retreat to higher precision where a task loses too much.

        Args:
            samples: labelled; none: nothing is judged, and nothing retreated from.
            retreat: False: one attempt, all of it at the precision that was asked for.

        Returns:
            The first attempt within the gate, else the last one.
        """
        if self.backend == "eager":
            return self._yardstick(samples)
        self.progress.stage("export to ONNX, and compare with PyTorch")
        graph = DeployedNetwork(self.model, self.description.tasks)
        exported = export_onnx(graph, self.description.input_size, fixed=self.fixed)
        worst = parity(graph, exported, self.description.input_size)
        self.tell(f"exported  {len(exported.graph.node)} nodes; onnxruntime against PyTorch: {max(worst.values()):.1e}")
        outputs = [output for task in self.description.tasks for output in task.outputs()]
        allowed = {o.name: PARITY if o.dtype.startswith("float") else PARITY_IDS for o in outputs}
        far = ", ".join(f"{name} {value:.1e}" for name, value in worst.items() if value > allowed[name])
        if far:
            raise InputError(f"the exported graph differs from the network: {far}; allowed {PARITY:.0e}. Please report")
        attempts = self._attempts(exported) if self.precision == "int8" else iter([()])
        compiled = Compiled.nothing()
        for keep in attempts:
            compiled = self._judged(self._contents(exported, keep), self.backend, keep, samples, compiled.before)
            if compiled.passes or not retreat:
                break
            self._failing = [drop.task for drop in compiled.drops if not drop.passes]
            self.tell(f"too far   {compiled.failing}{f' with {some_of(keep)} kept' if keep else ''}")
        if self.precision == "int8" and self.backend != "tensorrt" and compiled.passes and not self.slim:
            compiled = self._with_tensorrts_file(compiled, exported, samples)
        return compiled

    def _yardstick(self, samples: Sequence[Sample]) -> Compiled:
        """The network alone, which loses nothing against itself; with samples, its scores."""
        if not samples:
            return Compiled.nothing()
        with tempfile.TemporaryDirectory(prefix="densemtl-trial-") as folder:
            trial = Path(folder) / "trial.bundle"
            package(self.model, self.description, trial)
            self.progress.stage("judge eager fp32", len(samples))
            found = scores(trial, "eager", self.description.tasks, samples, self.progress.done)
        return replace(
            Compiled.nothing(), drops=tuple(drops(self.description.tasks, found, found)), before=found, after=found
        )

    def _judged(
        self,
        contents: Contents,
        backend: str,
        keep: tuple[str, ...],
        samples: Sequence[Sample],
        before: Mapping[str, Mapping[str, float]],
    ) -> Compiled:
        if not samples:
            return Compiled(contents, kept=keep)
        with tempfile.TemporaryDirectory(prefix="densemtl-trial-") as folder:
            trial = Path(folder) / "trial.bundle"
            package(self.model, self.description, trial, contents=contents)
            if not before:
                self.progress.stage("judge eager fp32", len(samples))
                before = scores(trial, "eager", self.description.tasks, samples, self.progress.done)
            self.progress.stage(f"judge {contents.engines[backend].file} in {backend}", len(samples))
            after = scores(trial, backend, self.description.tasks, samples, self.progress.done)
        return Compiled(contents, tuple(drops(self.description.tasks, before, after)), keep, before, after)

    def _attempts(self, exported: onnx.ModelProto) -> Iterator[tuple[str, ...]]:
        """Modules to keep in floating point: more with every attempt, what costs least time first.

        None; the first layers, where rounding errors are multiplied most; the heads; the exchange; the failing tasks'
        decoders.
        """
        names = [name for name, _ in self.model.named_modules()]
        kept: tuple[str, ...] = ()
        yield kept
        kept = first_layers(exported)
        yield kept
        kept += tuple(name for name in names if name.count(".") == 2 and name.endswith("_head"))
        yield kept
        if self.model.exchange is not None:
            kept += ("exchange",)
            yield kept
        yield (*kept, *(f"decoders.{task}" for task in self._failing))

    def _with_tensorrts_file(
        self, compiled: Compiled, exported: onnx.ModelProto, samples: Sequence[Sample]
    ) -> Compiled:
        """With the file that TensorRT builds from ONNX, if it is as accurate; onnxruntime computes what it says."""
        assert self.calibration is not None  # noqa: S101  (asked for at the start)
        file = "model.int8-trt.onnx"
        self.progress.stage("condition and quantise for TensorRT")
        content = int8_for_tensorrt(exported, self.calibration.frames, compiled.kept).SerializeToString()
        alone = Contents({file: content}, {"onnx": EngineInfo(file, "int8")}, "int8")
        judged = self._judged(alone, "onnx", compiled.kept, samples, compiled.before)
        if not judged.passes:
            self.tell(f"left out  {file}: {judged.failing}")
            return compiled
        verdict = judged.scored or "not judged, as nothing was"
        self.tell(f"put in    {file}, for TensorRT to build from: {verdict}")
        contents = replace(compiled.contents, files={**compiled.contents.files, file: content})
        return replace(compiled, contents=contents)

    def _contents(self, exported: onnx.ModelProto, keep: tuple[str, ...]) -> Contents:
        files = {"model.onnx": exported.SerializeToString()}
        engines = {"onnx": EngineInfo("model.onnx", "fp32")}
        if self.precision == "int8":
            assert self.calibration is not None  # noqa: S101  (asked for at the start)
            frames = self.calibration.frames
            self.progress.stage(f"condition and quantise for the CPU{f', keeping {len(keep)} modules' if keep else ''}")
            quantised = int8_for_cpu(exported, frames, keep)
            self.tell(f"int8      {_share(quantised)}{f'; kept: {some_of(keep)}' if keep else ''}")
            files["model.int8-cpu.onnx"] = quantised.SerializeToString()
            engines["onnx"] = EngineInfo("model.int8-cpu.onnx", "int8")
        if self.backend == "openvino":
            file = "model.int8-cpu.onnx" if self.precision == "int8" else "model.onnx"
            engines["openvino"] = EngineInfo(file, self.precision)
        told: dict[str, str] = {}
        if self.backend == "tensorrt":
            network = DeployedNetwork(self.model, self.description.tasks)
            if self.calibration is not None:
                take_weights(network, conditioned(exported, self.calibration.frames, keep))
            self.progress.stage(f"build the TensorRT engine in {self.precision}")
            built = tensorrt.build(
                network,
                self.description.input_size,
                self.precision,
                batch=self.batch,
                frames=self.calibration.frames if self.calibration else (),
                keep=keep,
            )
            self.tell(f"tensorrt  {len(built.engine) / 1e6:.1f} MB for {built.made_for['gpu']}")
            files["model.engine"] = built.engine
            engines["tensorrt"] = EngineInfo("model.engine", self.precision, built.made_for)
            told.update(built.made_with)
        if self.slim:
            files = {engine.file: files[engine.file] for engine in engines.values()}
        if self.precision == "int8" and self.calibration is not None:
            told.update(calibration=self.calibration.source, calibration_sha256=self.calibration.sha256)
            if keep:
                told["kept_in_floating_point"] = ", ".join(keep)
        return Contents(files, engines, self.precision, told)


def some_of(names: Sequence[str]) -> str:
    """Up to three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _figures(found: Iterable[Drop]) -> str:
    return ", ".join(f"{d.task} {d.metric} {d.before:.4g} -> {d.after:.4g}" for d in found)


def parity(graph: DeployedNetwork, exported: onnx.ModelProto, size: tuple[int, int]) -> dict[str, float]:
    """Largest difference of each output between PyTorch and onnxruntime on one picture.

    Args:
        graph: the network.
        exported: the same as ONNX.
        size: ``(H, W)`` of the picture.

    Returns:
        Output name to the difference, relative to the output's largest value; of class ids, the share that differs.
        Infinite where one has a value and the other none.
    """
    pixels = example(size)
    with torch.inference_mode():
        expected = graph.eval()(pixels)
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    names = output_names(graph.tasks)
    worst = {}
    for name, value, found in zip(names, expected, session.run(names, {"image": pixels.numpy()}), strict=True):
        wanted = value.numpy()
        if wanted.dtype.kind != "f":
            worst[name] = float((wanted != found).mean())
            continue
        finite = np.isfinite(wanted)
        if not np.array_equal(finite, np.isfinite(found)):
            worst[name] = float("inf")
            continue
        largest = np.abs(wanted[finite]).max(initial=1e-12)
        worst[name] = float(np.abs(wanted[finite] - found[finite]).max(initial=0.0) / largest)
    return worst


def _share(model: onnx.ModelProto) -> str:
    done, all_of_them = counted(model)
    return f"{done} of {all_of_them} convolutions in INT8"
