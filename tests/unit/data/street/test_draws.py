"""Streams of random numbers."""

from __future__ import annotations

from densemtl_core.data.street.draws import Draws, mix64


def test_mix64_is_the_same_everywhere_and_spreads() -> None:
    assert mix64(0, 1) == mix64(0, 1)
    hashes = {mix64(a, b) for a in range(40) for b in range(40)}
    assert len(hashes) == 1600  # (a, b) and (b, a) differ too
    assert all(0 <= h < 2**64 for h in hashes)
    flipped = [bin(mix64(7, k) ^ mix64(7, k + 1)).count("1") for k in range(200)]
    assert 28 < sum(flipped) / len(flipped) < 36  # half of the 64 bits


def test_a_stream_depends_on_its_key_alone() -> None:
    first = [Draws(1, 2).uniform() for _ in range(2)]
    assert first[0] == first[1]
    interleaved, other = Draws(1, 2), Draws(2, 1)
    a = [(interleaved.uniform(), other.uniform()) for _ in range(5000)]  # beyond one refill
    alone = Draws(1, 2)
    assert [x for x, _ in a] == [alone.uniform() for _ in range(5000)]
    assert a[0][0] != a[0][1]


def test_draws_stay_in_their_ranges_and_reach_all_of_them() -> None:
    d = Draws(5)
    assert all(2 <= d.uniform(2, 3) < 3 for _ in range(1000))
    assert {d.integer(1, 3) for _ in range(200)} == {1, 2, 3}
    assert {d.pick("abc") for _ in range(200)} == {"a", "b", "c"}
    assert 0.2 < sum(d.chance(0.3) for _ in range(2000)) / 2000 < 0.4
    assert all(0.01 <= c <= 0.97 for _ in range(200) for c in d.jitter((0.0, 0.5, 1.0), 0.5))
