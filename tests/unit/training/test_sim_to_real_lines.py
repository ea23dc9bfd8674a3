"""What the sim-to-real command says while it judges, and what to do next."""

from __future__ import annotations

import pytest

from training import sim_to_real_report
from training.data_settings import DataSettings
from training.sim_to_real import packing


@pytest.mark.parametrize(
    ("dataset", "root", "footage"),
    [
        ("video", "my drive.mp4", "'my drive.mp4'"),
        ("rosbag", "drive", "drive"),
        ("folder", "/data/drive", "/data/drive"),
        ("camvid", "/data/camvid", "YOUR_FRAMES"),
        ("street", None, "YOUR_FRAMES"),
    ],
)
def test_it_is_packed_in_int8_for_the_cameras_own_frames(tmp_path, dataset, root, footage):
    line = packing(tmp_path / "adapted", DataSettings(dataset=dataset, root=root))
    assert line == (
        f"python deploy/compile.py --checkpoint {tmp_path}/adapted --int8 --calibration {footage} --out my.bundle"
    )


def test_judging_says_how_far_it_is(monkeypatch):
    seconds = iter(range(0, 1000, 4))
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    told: list[str] = []
    samples = [object() for _ in range(6)]
    assert list(sim_to_real_report._counted(samples, "judging adapted", 6, told.append)) == samples
    assert told[0] == "judging adapted: 6 frames"
    assert told[1:], "and then now and then"
    assert all(line.startswith("judging adapted: ") and " of 6 frames, " in line for line in told[1:])
