"""Streets on disk in native layouts: our own loaders read back what the world knows."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from densemtl_core.data.cityscapes import TRAIN_IDS, Cityscapes
from densemtl_core.data.class_lists import CITYSCAPES_19, VKITTI_14
from densemtl_core.data.sample import IGNORE_CLASS, Sample
from densemtl_core.data.street import StreetWorld, export, image_writing
from densemtl_core.data.street.write_cityscapes import BASELINE, stored_disparity
from densemtl_core.data.street.write_vkitti2 import VARIATION, VKITTI_NAMES, centimetres
from densemtl_core.data.vkitti2 import Vkitti2
from densemtl_core.errors import InputError

SIZE = (48, 96)
SEED = 6


def world(split: str = "train", frames: tuple[int, ...] = ()) -> StreetWorld:
    return StreetWorld(SEED, split, SIZE, "mixed", length=8, frames=frames)


def drives(split: str, sequences: int, frames: int, fps: float, offsets: tuple[int, ...] = ()) -> list[list[Sample]]:
    return [list(world(split, offsets).sequence(k, frames, fps)) for k in range(sequences)]


@pytest.fixture(scope="module")
def vkitti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vkitti2")
    export.export(world(), "vkitti2", root, sequences=2, frames=3, fps=5)
    export.export(world("val"), "vkitti2", root, sequences=2, frames=1)
    return root


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cityscapes")
    export.export(world(), "cityscapes", root, sequences=2, frames=4, fps=5)
    export.export(world("val"), "cityscapes", root, sequences=1, frames=1)
    return root


def as_vkitti(semantic: Tensor) -> Tensor:
    """Classes of the world in VKITTI 2's list."""
    table = torch.full((256,), VKITTI_14.id("misc"))
    table[IGNORE_CLASS] = IGNORE_CLASS
    for number, name in enumerate(CITYSCAPES_19.classes):
        if name in VKITTI_NAMES:
            table[number] = VKITTI_14.id(VKITTI_NAMES[name])
    return table[semantic]


def test_vkitti2_is_read_back(vkitti: Path) -> None:
    data = Vkitti2(root=vkitti, variation=VARIATION, frames=(-1, 1))
    assert [s.name for s in data] == ["Scene01/clone/Camera_0/00001", "Scene03/clone/Camera_0/00001"]
    for read, drive in zip(data, drives("train", 2, 3, 5, (-1, 1)), strict=True):
        made = drive[1]
        assert torch.equal(read.labels["semantic"], as_vkitti(made.labels["semantic"]))
        known = made.labels["depth"] < 655
        assert torch.allclose(read.labels["depth"][known], made.labels["depth"][known], atol=0.0051, rtol=1e-6)
        far = made.labels["depth"] > 655.36
        assert far.any()
        assert torch.isinf(read.labels["depth"][far]).all()
        assert torch.equal(read.intrinsics, made.intrinsics)
        for k in ("-1", "+1"):
            torch.testing.assert_close(read.labels[f"pose{k}"], made.labels[f"pose{k}"], atol=1e-6, rtol=1e-6)
            assert (read.labels[f"image{k}"] - made.labels[f"image{k}"]).abs().mean() < 0.02  # JPEG
        assert (read.image - made.image).abs().mean() < 0.02
        assert read.labels["pose+1"][:3, 3].norm() == pytest.approx(8 / 5)


def test_vkitti2_keeps_the_splits_apart(vkitti: Path) -> None:
    val = Vkitti2(root=vkitti, variation=VARIATION, split="val")
    assert [s.name[:7] for s in val] == ["Scene02", "Scene18"]
    made = world("val")[0]
    assert torch.equal(val[0].labels["semantic"], as_vkitti(made.labels["semantic"]))
    with pytest.raises(InputError, match="VKITTI 2 has 2 validation scenes, not 3"):
        export.export(world("val"), "vkitti2", vkitti / "more", sequences=3, frames=1)


def test_vkitti2_text_files(vkitti: Path) -> None:
    lines = (vkitti / "Scene01" / VARIATION / "colors.txt").read_text().splitlines()
    assert "TrafficLight 200 200 0" in lines
    header, *rows = (vkitti / "Scene01" / VARIATION / "extrinsic.txt").read_text().splitlines()
    assert len(header.split()) == 18
    assert len(rows) == 3
    # The camera looks down on the world's origin from its own height.
    pose = torch.tensor([float(x) for x in rows[0].split()[2:]], dtype=torch.float64).view(4, 4)
    centre = -pose[:3, :3].T @ pose[:3, 3]
    assert centre[1].item() == pytest.approx(-world().scene(0).camera.height)
    assert centre[2].item() == pytest.approx(0, abs=1e-9)


def test_cityscapes_is_read_back(cityscapes: Path) -> None:
    data = Cityscapes(root=cityscapes, frames=(-1, 1))
    made = [s for drive in drives("train", 2, 4, 5, (-1, 1)) for s in drive[1:3]]
    assert len(data) == len(made) == 4
    for read, wanted in zip(data, made, strict=True):
        assert torch.equal(read.labels["semantic"], wanted.labels["semantic"])
        assert wanted.intrinsics is not None
        torch.testing.assert_close(read.intrinsics, wanted.intrinsics, atol=0, rtol=1e-7)
        z, found = wanted.labels["depth"], read.labels["depth"]
        baseline_fx = BASELINE * wanted.intrinsics[0, 0]
        # A disparity of less than half a step is not told from none.
        told = (z < 0.99 * baseline_fx * 512) & (baseline_fx * 256 / z < 65533)
        assert told.float().mean() > 0.3
        assert (baseline_fx / found - baseline_fx / z)[told].abs().max() <= 0.501 / 256
        assert torch.isnan(found[torch.isinf(z)]).all()
        for name, image in (("image", read.image), *((f"image{k}", read.labels[f"image{k}"]) for k in ("-1", "+1"))):
            exact = wanted.image if name == "image" else wanted.labels[name]
            assert (image - exact).abs().max() <= 0.5 / 255 + 1e-6
    assert Cityscapes(root=cityscapes, split="val")[0].name == "Cityscapes/val/street000_000000_000000"


def test_cityscapes_labels_in_another_list(cityscapes: Path) -> None:
    read = Cityscapes(root=cityscapes, class_list="cityscapes7", labels=("semantic",))[0]
    wanted = list(world().sequence(0, 2, 5))[1].labels["semantic"]
    expected = TRAIN_IDS.to("cityscapes7")(wanted.numpy(), "the world")
    assert torch.equal(read.labels["semantic"], expected)


def test_extreme_depths_are_stored_as_the_formats_have_them() -> None:
    depth = torch.tensor([0.001, 1.0, 655.34, 655.4, 1900.0, torch.inf])
    assert centimetres(depth).tolist() == [1, 100, 65534, 65535, 65535, 65535]
    assert stored_disparity(depth, 50.0).tolist() == [0, 12801, 21, 21, 8, 1]


@pytest.mark.parametrize("layout", export.LAYOUTS)
def test_a_drive_is_written_whole_or_not_at_all(tmp_path: Path, layout: str) -> None:
    done = []

    def stop() -> None:
        done.append(1)
        if len(done) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export.export(world(), layout, tmp_path, sequences=2, frames=3, wrote=stop)
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".writing") or "street001" in p.name]
    assert not (tmp_path / "Scene03").exists()
    data: Any = Vkitti2(root=tmp_path, variation=VARIATION) if layout == "vkitti2" else Cityscapes(root=tmp_path)
    assert len(data) == (3 if layout == "vkitti2" else 1)  # the first drive is complete
    with pytest.raises(InputError, match="is there already") as error:
        export.export(world(), layout, tmp_path, sequences=1, frames=3)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(image_writing.Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot be written.*No space left on device") as error:
        export.export(world(), "vkitti2", tmp_path, sequences=1, frames=1)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "kitti"}, "layout 'kitti' is unknown"),
        ({"frames": 0}, "frames 0 is not positive"),
        ({"sequences": 0}, "sequences 0 is not positive"),
    ],
)
def test_wrong_wishes_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export.export(world(), **{"layout": "vkitti2", "root": tmp_path / "x", "sequences": 1, "frames": 1, **settings})
    assert not (tmp_path / "x").exists()
