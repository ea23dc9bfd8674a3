"""TensorRT: an engine built on this very machine by ``deploy/compile.py --backend tensorrt``.

The bundle carries the engine as TensorRT serialises it, so a robot needs TensorRT (every JetPack has it) and PyTorch
for its memory, and nothing is unpickled: an exported program of Torch-TensorRT would be, and with it whatever code
somebody put there. Buffers are made once; a frame is one copy to the device, one launch (a CUDA graph where the engine
allows one) and one copy back an output.

Engines were built and checked with TensorRT-RTX on a CPU; running one has not been done on a device.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densemtl_core.runtime.backends.decoded_graph import DecodedGraphBackend, check_declared
from densemtl_core.runtime.bundle import Bundle
from densemtl_core.runtime.manifest import BundleError, Manifest, OutputInfo

__all__ = ["load", "this_machine"]

REBUILD = "build it here with: python deploy/compile.py --backend tensorrt"
ELEMENTS = {"UINT8": "uint8", "INT32": "int32", "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
MEANING = {
    "tensorrt": "TensorRT",
    "gpu": "the GPU",
    "compute_capability": "compute capability",
    "platform": "the platform",
}


def this_machine() -> dict[str, str]:
    """What an engine built here is made for, as `densemtl_core.runtime.EngineInfo` has it; needs a CUDA GPU."""
    torch, tensorrt = importlib.import_module("torch"), importlib.import_module("tensorrt")
    major, minor = torch.cuda.get_device_capability()
    return {
        "tensorrt": str(tensorrt.__version__),
        "gpu": str(torch.cuda.get_device_name()),
        "compute_capability": f"{major}.{minor}",
        "platform": f"{sys.platform}-{platform.machine()}",
    }


def load(bundle: Bundle, threads: int | None) -> DecodedGraphBackend:
    """Deserialise the engine, if it is one for this machine, and compare it with what the manifest promises.

    Args:
        bundle: verified.
        threads: not used: the work is the GPU's.

    Raises:
        BundleError: no TensorRT, no GPU, or an engine that was made for something else.
    """
    info = bundle.manifest.engines["tensorrt"]
    origin = f"bundle {bundle.path}: {info.file}"
    torch, tensorrt = _libraries(origin)
    _check_made_for(origin, info.made_for, this_machine())
    data = bundle.read(info.file)
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    runtime = tensorrt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise BundleError(f"{origin}: TensorRT {tensorrt.__version__} cannot load it; {REBUILD}")
    image, outputs = _tensors(origin, tensorrt, engine, bundle.manifest)
    run = _Runner(torch, engine, image, outputs)
    batch, height, width, _ = (int(side) for side in engine.get_tensor_shape(image))
    return DecodedGraphBackend(
        "tensorrt", "cuda", run, bundle.manifest, (height, width), run.free, most=batch, batch_limit=batch
    )


class _Runner:
    """Runs an engine on as many images as it takes at once; fewer are padded with what was there before.

    Args:
        torch: the module.
        engine: deserialised.
        image: name of its input.
        outputs: name of its output tensor, and what the manifest says of it.
    """

    def __init__(self, torch: Any, engine: Any, image: str, outputs: Mapping[str, OutputInfo]) -> None:
        self._torch = torch
        self._context = engine.create_execution_context()
        if self._context is None:
            raise BundleError(f"TensorRT could not make room for the engine on the GPU; free memory, or {REBUILD}")
        self._stream = torch.cuda.Stream()
        self._image = torch.zeros(tuple(engine.get_tensor_shape(image)), dtype=torch.uint8, device="cuda")
        self._context.set_tensor_address(image, self._image.data_ptr())
        self._outputs: dict[str, tuple[Any, Any]] = {}
        for name, output in outputs.items():
            shape = tuple(engine.get_tensor_shape(name))
            kind = torch.float32 if output.dtype == "float32" else torch.int32
            on_device = torch.empty(shape, dtype=kind, device="cuda")
            self._context.set_tensor_address(name, on_device.data_ptr())
            on_host = torch.empty(shape, dtype=getattr(torch, output.dtype), pin_memory=True)
            self._outputs[output.name] = (on_device, on_host)
        torch.cuda.synchronize()  # the buffers were filled on another stream
        self._launch = self._captured()

    def __call__(self, pixels: NDArray[Any], names: Sequence[str]) -> Sequence[NDArray[Any]]:
        """``(B, H, W, 3)`` uint8 to one array ``(B, H, W[, C])`` a name; B is at most the engine's."""
        count = len(pixels)
        with self._torch.cuda.stream(self._stream):
            self._image[:count].copy_(self._torch.from_numpy(pixels))
            self._launch()
            for name in names:
                on_device, on_host = self._outputs[name]
                # ids are int32 in the engine; they become bytes before they travel
                on_host[:count].copy_(on_device[:count].to(on_host.dtype), non_blocking=True)
        self._stream.synchronize()
        # the buffers are written again by the next frame
        return [np.array(self._outputs[name][1][:count].numpy()) for name in names]

    def free(self) -> None:
        """Give the device's memory back."""
        del self._launch, self._context, self._outputs, self._image
        self._torch.cuda.empty_cache()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise RuntimeError("TensorRT could not run the engine; its own message is above")

    def _captured(self) -> Callable[[], None]:
        """The launch as a CUDA graph, or as it is where the engine cannot be captured."""
        torch = self._torch
        with torch.cuda.stream(self._stream):
            self._enqueue()  # the first run allocates, which a graph may not
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._enqueue()
        except RuntimeError:
            torch.cuda.synchronize()
            return self._enqueue
        replay: Callable[[], None] = graph.replay
        return replay


def _libraries(origin: str) -> tuple[Any, Any]:
    """PyTorch with a GPU, and TensorRT."""
    found = []
    for name in ("torch", "tensorrt"):
        try:
            found.append(importlib.import_module(name))
        except Exception as error:  # without its native libraries TensorRT raises anything
            reason = " ".join(str(error).split())[:150]
            raise BundleError(
                f"{origin} needs {name}, which does not import ({type(error).__name__}: {reason}); on a Jetson it is "
                "part of JetPack, elsewhere: pip install 'densemtl-core[tensorrt]'"
            ) from None
    if not found[0].cuda.is_available():
        raise BundleError(
            f"{origin} needs a CUDA GPU and PyTorch {found[0].__version__} sees none; see deploy/doctor.py"
        )
    return found[0], found[1]


def _check_made_for(origin: str, made_for: Mapping[str, str], here: Mapping[str, str]) -> None:
    """An engine runs where it was built: refuse another TensorRT, GPU or platform."""
    for key, meaning in MEANING.items():
        made, found = made_for.get(key, "that nobody noted"), here[key]
        if made != found:
            raise BundleError(f"{origin} was built for {meaning} {made}, here is {found}; {REBUILD}")


def _tensors(origin: str, tensorrt: Any, engine: Any, manifest: Manifest) -> tuple[str, dict[str, OutputInfo]]:
    """The input's name, and output tensor to what it is.

    Torch-TensorRT calls the outputs ``output0``, ``output1``, ... in the order of the graph, which is the manifest's.
    """
    names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
    promised = [output for task in manifest.tasks.values() for output in task.outputs]
    outputs = {f"output{k}": output for k, output in enumerate(promised)}
    kinds = {name: ELEMENTS.get(engine.get_tensor_dtype(name).name, "?") for name in names}
    shapes = {name: [int(side) for side in engine.get_tensor_shape(name)] for name in names}
    # ids leave the engine as int32
    given = {
        output.name: ("uint8" if kinds[name] == "int32" else kinds[name], shapes[name])
        for name, output in outputs.items()
        if name in kinds
    }
    check_declared(origin, manifest, {name: (kinds[name], len(shapes[name])) for name in inputs}, given)
    surplus = set(names) - set(inputs) - set(outputs)
    if surplus:  # without memory of its own TensorRT would not run
        raise BundleError(f"{origin} gives {', '.join(sorted(surplus))} besides what was promised; {REBUILD}")
    return inputs[0], outputs
