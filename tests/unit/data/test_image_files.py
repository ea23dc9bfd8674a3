"""Image files: exact values, and clear words about broken ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from densemtl_core.data.image_files import (
    image_names,
    neighbour_label,
    read_labels,
    read_rgb,
    read_uint16,
    require_files,
    require_folder,
)
from densemtl_core.errors import InputError


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_rgb_order_and_range(tmp_path, noise):
    cv2.imwrite(str(tmp_path / "a.png"), noise[..., ::-1])
    image = read_rgb(tmp_path / "a.png")
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.from_numpy(noise).permute(2, 0, 1).float() / 255)


def test_a_grey_image_has_three_channels(tmp_path, noise):
    cv2.imwrite(str(tmp_path / "g.png"), noise[..., 0])
    image = read_rgb(tmp_path / "g.png")
    assert torch.equal(image[0], image[2])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_as_stored(tmp_path, noise, dtype):
    ids = noise.astype(dtype) * (257 if dtype is np.uint16 else 1)
    cv2.imwrite(str(tmp_path / "one.png"), ids[..., 0])
    cv2.imwrite(str(tmp_path / "three.png"), ids[..., ::-1])
    assert np.array_equal(read_labels(tmp_path / "one.png"), ids[..., 0])
    assert np.array_equal(read_labels(tmp_path / "three.png"), ids)


def test_sixteen_bits_are_exact(tmp_path):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "d.png"), ramp)
    cv2.imwrite(str(tmp_path / "d3.png"), np.stack([ramp] * 3, -1))
    assert np.array_equal(read_uint16(tmp_path / "d.png"), ramp.astype(np.float32))
    assert np.array_equal(read_uint16(tmp_path / "d3.png"), ramp.astype(np.float32))


def test_eight_bit_depth_is_refused(tmp_path, noise):
    cv2.imwrite(str(tmp_path / "d.png"), noise[..., 0])
    with pytest.raises(InputError, match=r"d\.png: holds 1 channel\(s\) of uint8"):
        read_uint16(tmp_path / "d.png")


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("fault", ["truncated", "empty", "text"])
def test_a_broken_file_names_itself_in_one_line(tmp_path, noise, ending, fault):
    path = tmp_path / f"broken.{ending}"
    cv2.imwrite(str(path), noise)
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) * 2 // 3], "empty": b"", "text": b"<html>not found</html>"}[fault])
    with pytest.raises(InputError) as error:
        read_rgb(path)
    assert one_line(error).startswith(str(path))


def test_a_flipped_bit_in_a_png_is_found(tmp_path, noise):
    path = tmp_path / "bit.png"
    cv2.imwrite(str(path), noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"bit\.png.*checksum"):
        read_labels(path)


def test_a_missing_file_and_a_folder_name_themselves(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        read_rgb(tmp_path / "gone.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_rgb(tmp_path)


def test_listing(tmp_path, noise):
    with pytest.raises(InputError, match=r"X: looked for .*\.png.* images in .* there are none"):
        image_names("X", tmp_path)
    for name in ("b.png", "a.JPG"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    assert image_names("X", tmp_path) == ["a.JPG", "b.png"]
    with pytest.raises(InputError, match=r"X: looked for the folder .*nowhere"):
        require_folder("X", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"X: 1 of 2 depth files are missing, first .*c\.png"):
        require_files("X", "depth", [tmp_path / "b.png", tmp_path / "c.png"])


def test_neighbours_have_signed_names():
    assert [neighbour_label(k) for k in (-1, 2)] == ["image-1", "image+2"]
