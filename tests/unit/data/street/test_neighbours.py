"""Neighbouring frames of a sample: the same drive, and poses that take every static pixel to where it went."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from densemtl_core.data.sample import IGNORE_CLASS, Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.street.scene import COLUMN
from densemtl_core.data.street.world import ego_motion
from densemtl_core.errors import InputError

SIZE = (96, 192)
SCENES = (2, 3, 5, 7, 11, 13, 17, 19)


@pytest.fixture(scope="module")
def world() -> StreetWorld:
    return StreetWorld(seed=8, size=SIZE, style="sim", length=40, frames=(-1, 1))


def moving(world: StreetWorld, index: int, instance: Tensor) -> Tensor:
    """Which pixels belong to something that moves."""
    rows = world.scene(index).rows()
    movers = rows[rows[:, COLUMN["speed"]] != 0][:, COLUMN["instance"]].unique().long()
    return torch.isin(instance, movers)


def landing(sample: Sample, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Columns, lines and depths ``(H, W)`` at which the pixels appear in a neighbour."""
    assert sample.intrinsics is not None
    K, z = sample.intrinsics.double(), sample.labels["depth"][0].double()
    h, w = z.shape
    v, u = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    points = torch.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z])
    there = torch.einsum("ij,jhw->ihw", pose[:3, :3].double(), points) + pose[:3, 3, None, None].double()
    return K[0, 0] * there[0] / there[2] + K[0, 2], K[1, 1] * there[1] / there[2] + K[1, 2], there[2]


def read(image: Tensor, u: Tensor, v: Tensor, mode: str) -> Tensor:
    """``(C, H, W)`` values of an image at places in pixels."""
    h, w = image.shape[1:]
    grid = torch.stack([2 * u / (w - 1) - 1, 2 * v / (h - 1) - 1], -1).float()
    return F.grid_sample(image[None], grid[None], mode=mode, align_corners=True)[0]


def interior(sample: Sample) -> Tensor:
    """Pixels two or more away from every edge."""
    return F.max_pool2d(sample.labels["edges"][None], 5, 1, 2)[0, 0] == 0


@pytest.mark.parametrize("offset", [-1, 1])
def test_static_pixels_keep_their_colour(world: StreetWorld, offset: int) -> None:
    kept, stayed, backwards = [], [], []
    for index in SCENES:
        sample = world[index]
        pose, neighbour = sample.labels[f"pose{offset:+d}"], sample.labels[f"image{offset:+d}"]
        there, opposite = landing(sample, pose), landing(sample, torch.linalg.inv(pose))
        inside = [(u > 1) & (u < SIZE[1] - 2) & (v > 1) & (v < SIZE[0] - 2) & (z > 1) for u, v, z in (there, opposite)]
        still = ~moving(world, index, sample.labels["instance"]) & (sample.labels["semantic"] != IGNORE_CLASS)
        wanted = inside[0] & inside[1] & still & interior(sample) & (sample.labels["depth"][0] < 15)
        if wanted.sum() < 1000:
            continue

        def change(place: tuple[Tensor, ...], where: Tensor, before: Tensor, after: Tensor) -> Tensor:
            return (read(after, place[0], place[1], "bilinear") - before).abs().mean(0)[where]

        kept.append(change(there, wanted, sample.image, neighbour))
        stayed.append((neighbour - sample.image).abs().mean(0)[wanted])
        backwards.append(change(opposite, wanted, sample.image, neighbour))
    assert len(kept) >= 5
    assert torch.cat(kept).median() < 0.01
    # Where something is to be seen, the picture that stays or is warped the wrong way differs more.
    assert torch.cat(kept).mean() < 0.6 * torch.cat(stayed).mean()
    assert torch.cat(kept).mean() < 0.6 * torch.cat(backwards).mean()


def test_neighbours_are_the_frames_of_the_drive(world: StreetWorld) -> None:
    frames = list(world.sequence(5, 3))
    assert torch.equal(frames[0].image, world[5].image)
    for before, after in pairwise(frames):
        assert torch.equal(before.labels["image+1"], after.image)
        assert torch.equal(after.labels["image-1"], before.image)
        torch.testing.assert_close(before.labels["pose+1"] @ after.labels["pose-1"], torch.eye(4))
        # Depth agrees, too: nearly everything static lands on a surface at the depth that the pose says.
        u, v, z = landing(before, before.labels["pose+1"])
        wanted = (u > 1) & (u < SIZE[1] - 2) & (v > 1) & (v < SIZE[0] - 2) & (z > 1) & interior(before)
        wanted &= ~moving(world, 5, before.labels["instance"]) & (before.labels["depth"][0] < 40)
        found = read(after.labels["depth"].nan_to_num(posinf=1e4), u, v, "nearest")[0]
        assert ((found - z).abs() / z)[wanted].median() < 0.02


def test_traffic_moves_between_neighbours() -> None:
    """Oncoming cars come closer by twice the way driven, those ahead of us keep their distance."""
    kinds = ("oncoming", "oncoming as if parked", "ahead", "ahead as if parked")
    errors: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    world = StreetWorld(seed=8, size=SIZE, style="sim", length=40)
    for index in range(25):
        before, after = world.sequence(index, 2)
        scene = world.scene(index)
        rows, pose = scene.rows(), ego_motion(scene, 0.8).float()
        for name, speed, motion in (("oncoming", -8.0, pose @ pose), ("ahead", 8.0, torch.eye(4))):
            objects = rows[rows[:, COLUMN["speed"]] == speed][:, COLUMN["instance"]].unique().long()
            on = torch.isin(before.labels["instance"], objects) & interior(before) & (before.labels["depth"][0] < 30)
            for kind, step in ((name, motion), (f"{name} as if parked", pose)):
                u, v, z = landing(before, step)
                seen = on & (u > 1) & (u < SIZE[1] - 2) & (v > 1) & (v < SIZE[0] - 2) & (z > 1)
                found = read(after.labels["depth"].nan_to_num(posinf=1e4), u, v, "nearest")[0]
                errors[kind].append((found - z).abs()[seen])
    median = {kind: torch.cat(error).median().item() for kind, error in errors.items()}
    assert sum(len(e) for e in errors["oncoming"]) > 1000
    assert sum(len(e) for e in errors["ahead"]) > 1000
    assert median["oncoming"] < 0.05
    assert median["oncoming as if parked"] > 4 * median["oncoming"]
    assert median["ahead"] < 0.01
    assert median["ahead as if parked"] > 4 * median["ahead"]


def test_a_batch_carries_them_too(world: StreetWorld) -> None:
    batch = world.batch([4, 9])
    assert batch.labels["image-1"].shape == batch.image.shape
    assert batch.labels["pose+1"].shape == (2, 4, 4)
    for k, index in enumerate((4, 9)):
        alone = world[index]
        for name in ("image-1", "image+1", "pose-1", "pose+1"):
            assert torch.equal(batch.labels[name][k], alone.labels[name])
    together = world._render([4, 9])[1]  # as a GPU does
    assert torch.equal(together["image+1"], batch.labels["image+1"])


def test_without_neighbours_a_sample_is_the_same(world: StreetWorld) -> None:
    plain, full = StreetWorld(seed=8, size=SIZE, style="sim", length=40)[6], world[6]
    assert torch.equal(plain.image, full.image)
    assert set(full.labels) - set(plain.labels) == {"image-1", "image+1", "pose-1", "pose+1"}
    for name, label in plain.labels.items():
        assert torch.equal(label.nan_to_num(nan=-9.0), full.labels[name].nan_to_num(nan=-9.0)), name


@pytest.mark.parametrize("frames", [(0,), (1, 1)])
def test_wrong_neighbours_are_refused(frames: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"street world: frames \(.*\) are not neighbours"):
        StreetWorld(frames=frames)
