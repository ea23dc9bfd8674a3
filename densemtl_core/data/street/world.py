"""The procedural street world: an endless, labelled dataset that needs no download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from densemtl_core.data.further_labels import DERIVED
from densemtl_core.data.image_files import neighbour_label
from densemtl_core.data.sample import Sample
from densemtl_core.data.street.draws import Draws
from densemtl_core.data.street.layout import sample
from densemtl_core.data.street.render import render, rotation
from densemtl_core.data.street.scene import SPEED, Scene
from densemtl_core.errors import InputError

__all__ = ["FPS", "FURTHER", "StreetWorld", "ego_motion", "extrinsics"]

FPS = 10.0
"""Frames a second between a sample and its neighbours."""

FURTHER = ("shading", *DERIVED)
"""Labels that a sample has where they are asked for."""

_SPLITS = {"train": 1, "val": 2}
_STYLES = ("sim", "real", "mixed")
_SCENE, _GRAIN, _LIGHT, _JAM = 1, 2, 3, 4  # streams of random numbers of one index


class StreetWorld(torch.utils.data.Dataset[Sample]):
    """Streets seen from a car, with exact labels.

    Every sample depends on (seed, split, index) alone: not on the batch it is rendered in nor on what came before.
    Labels: ``semantic`` (Cityscapes' 19 train ids), ``depth`` (+inf = sky), ``normals`` (NaN = sky), ``edges``,
    ``albedo`` ``(3, H, W)`` linear RGB in [0, 1] (0 = sky) and ``instance`` ``(H, W)`` int64 (0 = ground and sky).

    Args:
        seed: which world.
        split: ``train`` or ``val``; their scenes have nothing in common.
        size: (H, W) in pixels.
        style: ``sim`` is clean, ``real`` has rich textures and a camera's faults, ``mixed`` draws one per index;
            the street of an index is the same in each.
        length: number of samples.
        frames: neighbouring frames of the same drive that come along, -1 and +1 say, at `FPS`: labels ``image-1``
            ``(3, H, W)`` and ``pose-1`` ``(4, 4)``, which takes points (metres) from this frame's camera to that
            frame's. The camera drives at `SPEED`, traffic moves.
        device: where to render; samples lie there.
        jams: share of the samples that stand in dense traffic, in [0, 1]; the others are the same for every value.
        further: labels that come along, of `FURTHER`: ``shading`` ``(1, H, W)`` (see `shading.relative_light`, NaN =
            sky and lamps) and those of `densemtl_core.data.further_labels`. They change nothing else.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        split: str = "train",
        size: tuple[int, int] = (256, 512),
        style: str = "mixed",
        length: int = 10_000,
        frames: Sequence[int] = (),
        device: str | torch.device = "cpu",
        jams: float = 0.0,
        further: Sequence[str] = (),
    ) -> None:
        if split not in _SPLITS:
            raise InputError(f"street world: split {split!r} is unknown; use one of {', '.join(_SPLITS)}")
        if style not in _STYLES:
            raise InputError(f"street world: style {style!r} is unknown; use one of {', '.join(_STYLES)}")
        if len(size) != 2 or min(size) < 16:
            raise InputError(f"street world: size {tuple(size)} is too small; give (H, W) of at least 16 pixels each")
        if length < 1:
            raise InputError(f"street world: length {length} is not positive; give at least 1")
        if not 0 <= jams <= 1:
            raise InputError(f"street world: jams is {jams}; it is a share, in [0, 1]")
        if 0 in frames or len(set(frames)) != len(frames):
            raise InputError(f"street world: frames {tuple(frames)} are not neighbours; give offsets such as -1 and 1")
        for name in further:
            if name not in FURTHER:
                raise InputError(f"street world: has no further label {name!r}; it has {', '.join(FURTHER)}")
        self.seed, self.split, self.style, self.length = seed, split, style, length
        self.frames = tuple(int(k) for k in frames)
        self.size = (int(size[0]), int(size[1]))
        self.device = torch.device(device)
        self.jams = jams
        self.further = tuple(further)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Sample ``index``, without a batch dimension."""
        batch = self.batch([index])
        assert batch.intrinsics is not None  # noqa: S101  (for the type checker: a street world knows its camera)
        return Sample(
            image=batch.image[0],
            labels={name: label[0] for name, label in batch.labels.items()},
            intrinsics=batch.intrinsics[0],
            name=batch.name,
        )

    def batch(self, indices: Sequence[int]) -> Sample:
        """Render several samples at once: fields have a leading batch dimension.

        Raises:
            IndexError: an index is not in 0..length-1.
        """
        if not indices:
            raise InputError("street world: batch of no indices; give at least one")
        # A CPU is fastest when one picture stays in its cache, a GPU when it gets all of them at once.
        step = 1 if self.device.type == "cpu" else len(indices)
        parts = [self._render(indices[k : k + step]) for k in range(0, len(indices), step)]
        return Sample(
            image=torch.cat([p[0] for p in parts]),
            labels={name: torch.cat([p[1][name] for p in parts]) for name in parts[0][1]},
            intrinsics=torch.cat([p[2] for p in parts]),
            name=", ".join(self._name(i) for i in indices),
        )

    def _render(
        self, indices: Sequence[int], frame: int = 0, fps: float = FPS
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Images, labels and intrinsics of some scenes, ``frame / fps`` seconds after their start."""
        scenes = [self.scene(i) for i in indices]

        def picture(at: int, labelled: bool) -> tuple[Tensor, dict[str, Tensor], Tensor]:
            time = at / fps
            tables = [s.table(time, SPEED * time) for s in scenes]
            grain = torch.stack([self._grain(i, at) for i in indices]).to(self.device)
            driven, further = SPEED * time, self.further
            return render(scenes, tables, self.size, grain, driven=driven, labelled=labelled, further=further)

        image, labels, intrinsics = picture(frame, labelled=True)
        for k in self.frames:
            labels[neighbour_label(k)] = picture(frame + k, labelled=False)[0]
            poses = torch.stack([ego_motion(s, SPEED * k / fps) for s in scenes])
            labels[f"pose{k:+d}"] = poses.float().to(self.device)
        return image, labels, intrinsics

    def sequence(self, seed_index: int, frames: int, fps: float = FPS) -> Iterator[Sample]:
        """Drive through one scene at `SPEED`: what a camera in a car would record.

        Args:
            seed_index: which scene.
            frames: number of frames; the first is sample ``seed_index`` itself.
            fps: frames a second, also between a frame and its neighbours.
        """
        if fps <= 0:
            raise InputError(f"street world: fps {fps} is not positive; give frames a second, such as 10")
        for frame in range(frames):
            image, labels, intrinsics = self._render([seed_index], frame, fps)
            yield Sample(
                image[0],
                {name: label[0] for name, label in labels.items()},
                intrinsics[0],
                f"{self._name(seed_index)}/{frame:05d}",
            )

    def scene(self, index: int) -> Scene:
        """The scene of sample ``index``: camera, light, ground and primitives."""
        if not 0 <= index < self.length:
            raise IndexError(f"street world has samples 0..{self.length - 1}, not {index}")
        key = (self.seed, _SPLITS[self.split], index)
        jam = Draws(*key, _JAM)
        return sample(Draws(*key, _SCENE), Draws(*key, _LIGHT), self.style, jam if jam.chance(self.jams) else None)

    def _grain(self, index: int, frame: int) -> torch.Tensor:
        draws = Draws(self.seed, _SPLITS[self.split], index, _GRAIN, frame)
        return torch.randn(3, *self.size, generator=draws.generator)

    def _name(self, index: int) -> str:
        return f"street/{self.seed}/{self.split}/{index:06d}"


def ego_motion(scene: Scene, driven: float) -> Tensor:
    """``(4, 4)`` float64: takes points (metres) from a scene's camera to what it is ``driven`` metres later."""
    # The road is straight: the camera keeps its rotation and moves along the world's z.
    pose = torch.eye(4, dtype=torch.float64)
    to_world = torch.tensor(rotation(scene.camera), dtype=torch.float64)
    pose[:3, 3] = -driven * to_world[2]
    return pose


def extrinsics(scene: Scene, time: float) -> Tensor:
    """``(4, 4)`` float64: world (on the road where the drive began) to a scene's camera, ``time`` seconds later."""
    camera = scene.camera
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.tensor(rotation(camera), dtype=torch.float64).T
    pose[:3, 3] = -pose[:3, :3] @ torch.tensor([camera.x, -camera.height, SPEED * time], dtype=torch.float64)
    return pose
