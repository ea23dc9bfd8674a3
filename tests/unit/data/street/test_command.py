"""``python -m training.street``, as a person calls it."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from densemtl_core.data.cityscapes import Cityscapes
from densemtl_core.data.street.write_vkitti2 import VARIATION
from densemtl_core.data.vkitti2 import Vkitti2
from training.street import main

SMALL = ("--size", "32x64", "--frames", "3")


def test_both_layouts_are_written_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--layout", "vkitti2", "--out", str(tmp_path / "v"), "--sequences", "2", *SMALL]) == 0
    assert main(["--layout", "vkitti2", "--out", str(tmp_path / "v"), "--split", "val", *SMALL]) == 0
    assert main(["--layout", "cityscapes", "--out", str(tmp_path / "c"), "--style", "real", *SMALL]) == 0
    assert len(Vkitti2(root=tmp_path / "v", variation=VARIATION)) == 6
    assert len(Vkitti2(root=tmp_path / "v", variation=VARIATION, split="val")) == 3
    assert Cityscapes(root=tmp_path / "c", frames=(-1, 1))[0].image.shape == (3, 32, 64)
    assert "2 drives of 3 frames" in capsys.readouterr().out
    assert main(["--layout", "vkitti2", "--out", str(tmp_path / "v"), *SMALL]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Scene01 is there already" in error
    assert error.count("\n") == 1


def test_pictures(tmp_path: Path) -> None:
    sheet, strip = tmp_path / "sheet.png", tmp_path / "strip.png"
    assert main(["--sheet", str(sheet), "--sequences", "2", "--size", "32x64", "--first", "3"]) == 0
    assert main(["--strip", str(strip), "--frames", "3", "--size", "32x64"]) == 0
    assert cv2.imread(str(sheet)).shape == (2 * (32 + 24), 8 * 64, 3)
    assert cv2.imread(str(strip)).shape == (3 * (32 + 24), 3 * 64, 3)
    further = tmp_path / "further.jpg"
    assert main(["--further", str(further), "--sequences", "1", "--size", "32x64"]) == 0
    assert further.read_bytes().startswith(b"\xff\xd8")
    assert cv2.imread(str(further)).shape == (32 + 24, 6 * 64, 3)
    picture = cv2.imread(str(sheet))
    assert picture[24:56, :64].std() > 5  # a street, not a blank cell


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layout", "vkitti2"], "--layout needs --out"),
        (["--sheet", "x.png", "--size", "big"], "--size is 'big'; give HEIGHTxWIDTH"),
        (["--sheet", "x.png", "--sequences", "0"], "must be at least 1"),
        (["--strip", "/nowhere/x.png", "--size", "32x64", "--frames", "1"], "/nowhere/x.png: cannot be written"),
        (["--layout", "cityscapes", "--out", "x", "--frames", "0"], "frames 0 is not positive"),
        (["--layout", "cityscapes", "--out", "x", "--fps", "0"], "fps 0.0 is not positive"),
        (["--layout", "cityscapes", "--out", "x", "--size", "4x4"], "size (4, 4) is too small"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
