"""A recording that was killed gets its end."""

from __future__ import annotations

import os

import pytest
from bag_of_frames import read_bag, stamp_of, stamped
from bag_writing import TYPES, image
from densemtl_ros.bag_writer import BagWriter, offered_qos
from densemtl_ros.mcap_end import main

COUNT, SIZE = 8, (400, 400)


@pytest.fixture
def unfinished(tmp_path):
    """The file of a writer that never came to its end, with 3.8 MB of images."""
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/c/image", "sensor_msgs/msg/Image", [offered_qos()])
    pixels = bytes(range(250)) * (SIZE[0] * SIZE[1] * 3 // 250)
    for n in range(COUNT):
        message = stamped(image(memoryview(pixels), size=SIZE), 1000 + n)
        writer.write("/c/image", 2000 + n, bytes(TYPES.serialize_cdr(message, message.__msgtype__)))
    yield writer.work / "bag.mcap"
    writer.discard()


def test_the_whole_pieces_are_read_again(unfinished, tmp_path, capsys):
    assert main([str(unfinished), str(tmp_path / "mended.mcap")]) == 0
    found = read_bag(tmp_path / "mended.mcap")["/c/image"]
    assert COUNT - 3 <= len(found) <= COUNT, "a piece is a megabyte: at most three of these images"
    assert [(time, stamp_of(m)) for time, m in found] == [(2000 + n, 1000 + n) for n in range(len(found))]
    assert "are lost" in capsys.readouterr().out


def test_a_piece_cut_in_the_middle_is_left_out(unfinished, tmp_path):
    cut = tmp_path / "cut.mcap"
    data = unfinished.read_bytes()
    cut.write_bytes(data[: 2 * len(data) // 3])
    assert main([str(cut), str(tmp_path / "mended.mcap")]) == 0
    found = read_bag(tmp_path / "mended.mcap")["/c/image"]
    assert [stamp_of(m) for _, m in found] == [1000 + n for n in range(len(found))]
    assert 0 < len(found) < COUNT
    assert cut.stat().st_size == 2 * len(data) // 3


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"junk" * 9, "is no .mcap file"), (b"\x89MCAP0\r\n", "before anything reached it"), (None, "is not there")],
)
def test_what_cannot_be_mended_is_one_line(tmp_path, capsys, data, text):
    if data is not None:
        (tmp_path / "a.mcap").write_bytes(data)
    before = os.listdir(tmp_path)
    assert main([str(tmp_path / "a.mcap"), str(tmp_path / "b.mcap")]) == 2
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == before


def test_a_whole_file_and_an_existing_target_are_refused(unfinished, tmp_path, capsys):
    mended = tmp_path / "mended.mcap"
    assert main([str(unfinished), str(mended)]) == 0
    assert main([str(unfinished), str(mended)]) == 2
    assert "mended.mcap exists" in capsys.readouterr().err
    assert main([str(mended), str(tmp_path / "again.mcap")]) == 2
    assert "has its end" in capsys.readouterr().err
