"""From a camera image to predictions with units."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from densemtl_core import render
from densemtl_core.errors import InputError
from densemtl_core.runtime.backends import open_backend
from densemtl_core.runtime.backends.base import RunResult
from densemtl_core.runtime.bundle import Bundle
from densemtl_core.runtime.camera import apply_camera, checked_intrinsics, working_focal
from densemtl_core.runtime.manifest import BundleError, Manifest, TaskInfo

__all__ = ["Predictions", "Predictor"]


class Predictions(Mapping[str, NDArray[Any]]):
    """What one image shows: output name to array, all of one size.

    Built-in outputs: ``semantic`` ``(H, W)`` uint8 class ids; ``semantic_confidence`` ``(H, W)`` float32 in [0, 1];
    ``depth`` ``(H, W)`` float32 metres along the optical axis, +inf beyond range; ``normals`` ``(H, W, 3)`` float32
    unit vectors in the optical frame (x right, y down, z forward) that face the camera, NaN where there is no
    surface; ``edges`` ``(H, W)`` float32 probability. Depth of a bundle whose manifest has a ``camera`` rule is in
    metres where the intrinsics were given; else it is as the rule's canonical camera would see it.

    Attributes:
        tasks: task name to what it is (unit, class names, palette), for the tasks computed.
        seconds: stage to wall-clock seconds.
    """

    def __init__(
        self, outputs: Mapping[str, NDArray[Any]], tasks: Mapping[str, TaskInfo], seconds: Mapping[str, float]
    ) -> None:
        self._outputs, self.tasks, self.seconds = dict(outputs), dict(tasks), dict(seconds)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._outputs:
            raise KeyError(f"no output {name!r}; there are: {', '.join(self._outputs)}")
        return self._outputs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._outputs

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name} {value.shape} {value.dtype}" for name, value in self._outputs.items())
        return f"Predictions({outputs})"

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def unit(self, name: str) -> str:
        """What a value of an output means."""
        for task in self.tasks.values():
            for output in task.outputs:
                if output.name == name:
                    return output.unit
        raise KeyError(f"no output {name!r}; there are: {', '.join(self._outputs)}")

    def paint(self, task: str) -> render.Picture:
        """A task's main output as ``(H, W, 3)`` uint8 RGB."""
        info = self.tasks[task]
        return render.picture(info.picture, self[task], **info.picture_options)


class Predictor:
    """A loaded bundle.

    Args:
        bundle: its folder.
        backend: ``auto`` or one of `densemtl_core.runtime.backends.BACKENDS`.
        threads: CPU threads, None for the engine's own choice.
        public_key: PEM file of an Ed25519 key whose owner must have signed the bundle; None = signatures are not
            looked at.

    Attributes:
        manifest: of the bundle.
        backend: name of the engine in use.
        device: where it runs.
        precision: in which that engine computes, ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        batch_limit: so many images are worth one call of `predict_batch`; 1 where the engine gains little by several.

    Raises:
        BundleError: the bundle is missing, tampered with, not signed by the key, or not for this machine.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        backend: str = "auto",
        threads: int | None = None,
        public_key: str | os.PathLike[str] | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}; it must be at least 1")
        opened = Bundle(bundle, public_key)
        self.manifest: Manifest = opened.manifest
        # An engine is made of bytes that were hashed, so its file is read once ...
        self._engine = open_backend(backend, opened, threads)
        try:
            opened.verify_rest()  # ... and damage must not pass unnoticed because another engine was taken
        except BundleError:
            self._engine.close()
            raise
        self.backend = self._engine.name
        self.device = self._engine.device
        self.precision = self.manifest.precision_of(self.backend)
        self.batch_limit = self._engine.batch_limit

    def warm_up(self, size: tuple[int, int] | None = None, frames: int = 3, batch: int = 1) -> None:
        """Infer on blank frames, so that the first real one is as fast as the rest.

        Args:
            size: ``(H, W)`` of the camera; the network's own by default.
            frames: how often.
            batch: most images that `predict_batch` will get at once; each number up to it is tried.
        """
        blank = np.zeros((*(size or self.manifest.input_size), 3), np.uint8)
        for count in range(1, batch + 1):
            for _ in range(frames):
                self.predict_batch([blank] * count)

    def working_size(self, image: tuple[int, int]) -> tuple[int, int]:
        """The size ``(h, w)`` at which the network sees an image of ``(H, W)``: one run takes images of one."""
        return self._engine.working_size(image)

    def predict(
        self,
        image: NDArray[Any],
        tasks: Iterable[str] | None = None,
        size: tuple[int, int] | None = None,
        intrinsics: ArrayLike | None = None,
    ) -> Predictions:
        """Infer.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, any size, any memory layout.
            tasks: names of the tasks wanted, all by default; the cost falls with their number.
            size: ``(H, W)`` of the outputs, the image's own by default.
            intrinsics: ``(3, 3)``, or nine numbers row by row (a ROS camera_info's ``k``), in pixels of ``image``; for
                tasks with a ``camera`` rule, whose prediction becomes that for this camera. None or all zero = unknown:
                the rule's canonical camera is taken for it. A bundle without such a task ignores it.

        Raises:
            InputError: not such an image, a task that the bundle does not have, or intrinsics that are none.
        """
        return self.predict_batch([image], tasks, [size], [intrinsics])[0]

    def predict_batch(
        self,
        images: Sequence[NDArray[Any]],
        tasks: Iterable[str] | None = None,
        sizes: Sequence[tuple[int, int] | None] | None = None,
        intrinsics: Sequence[ArrayLike | None] | None = None,
    ) -> list[Predictions]:
        """Infer on several images, perhaps of several cameras; each gets what `predict` gives for it alone.

        Images of one `working_size` are one run of the engine; others follow in further runs.

        Args:
            images: each as for `predict`, of any sizes.
            tasks: names of the tasks wanted of every image, all by default.
            sizes: ``(H, W)`` of the outputs, one an image; None = the image's own.
            intrinsics: as for `predict`, one an image; None = all unknown.

        Returns:
            One an image, in their order.

        Raises:
            InputError: as for `predict`, or not as many sizes or intrinsics as images.
            BundleError: a class id that has no name: the network has more classes than the manifest.
        """
        sizes = [None] * len(images) if sizes is None else sizes
        intrinsics = [None] * len(images) if intrinsics is None else intrinsics
        if not len(images) == len(sizes) == len(intrinsics):
            raise InputError(
                f"{len(images)} images with {len(sizes)} sizes and {len(intrinsics)} intrinsics; give one an image"
            )
        names = ["image"] if len(images) == 1 else [f"images[{k}]" for k in range(len(images))]
        whole = [_checked_image(*given) for given in zip(images, sizes, names, strict=True)]
        cameras = [checked_intrinsics(given) for given in intrinsics]
        wanted = self._with_needs(self.manifest.tasks if tasks is None else tuple(tasks))
        own = [(image.shape[0], image.shape[1]) for image in whole]
        together: dict[tuple[int, int], list[int]] = {}
        for k, size in enumerate(own):
            together.setdefault(self._engine.working_size(size), []).append(k)
        results: dict[int, RunResult] = {}
        for places in together.values():
            found = self._engine.run([whole[k] for k in places], wanted, [sizes[k] or own[k] for k in places])
            results.update(zip(places, found, strict=True))
        infos = {name: self.manifest.tasks[name] for name in wanted}
        for result in results.values():
            self._check_ids(result, infos)
        for k, K in enumerate(cameras):
            if K is not None:
                self._apply(K, own[k], results[k], infos)
        return [Predictions(results[k].outputs, infos, results[k].seconds) for k in range(len(whole))]

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _apply(
        self, K: NDArray[np.float64], size: tuple[int, int], result: RunResult, infos: Mapping[str, TaskInfo]
    ) -> None:
        """Make the predictions of an image of ``size`` those of its camera, in place."""
        focal = working_focal(K, size, self.manifest.input_size, self.manifest.resize)
        rules, needs = {n: t.camera for n, t in infos.items()}, {n: t.needs for n, t in infos.items()}
        apply_camera(result.outputs, focal, rules, needs)

    def _check_ids(self, result: RunResult, infos: Mapping[str, TaskInfo]) -> None:
        """An id without a name would end in whoever looks it up, far from its cause."""
        for name, info in infos.items():
            if info.class_names and (top := int(np.max(result.outputs[name]))) >= len(info.class_names):
                raise BundleError(
                    f"bundle {self.manifest.name!r}: task {name!r} gave class id {top} of {len(info.class_names)} "
                    "classes; rebuild the bundle"
                )

    def _with_needs(self, tasks: Iterable[str]) -> tuple[str, ...]:
        wanted = set(tasks)
        unknown = wanted - set(self.manifest.tasks)
        if unknown or not wanted:
            asked = ", ".join(map(repr, sorted(unknown))) or "(none asked for)"
            raise InputError(
                f"bundle {self.manifest.name!r} has no task {asked}; it has: {', '.join(self.manifest.tasks)}"
            )
        for name in tuple(wanted):
            wanted.update(n for n in self.manifest.tasks[name].needs if n in self.manifest.tasks)
        return tuple(name for name in self.manifest.tasks if name in wanted)


def _checked_image(image: Any, size: tuple[int, int] | None, name: str) -> NDArray[np.uint8]:
    """An image that an engine can read in place."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"{name} must be an array (H, W, 3) uint8 RGB, got {type(image).__name__}; was it read?")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"{name} must be (H, W, 3) uint8 RGB, got shape {image.shape} of {image.dtype}")
    if 0 in image.shape or (size is not None and min(size) < 1):
        raise InputError(f"{name} of shape {image.shape} to outputs of size {size}: no side may be zero")
    # Negative strides (a BGR view, say) are no memory that an engine can read in place.
    return np.ascontiguousarray(image)
