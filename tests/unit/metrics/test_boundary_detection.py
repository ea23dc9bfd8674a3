"""Boundary detection against hand-made cases, a slow exact matcher and a slow thinner."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from densemtl_core.errors import InputError
from densemtl_core.metrics import BoundaryDetection
from densemtl_core.metrics.boundary_matching import bit_counts, bit_rows, match, offsets_within
from densemtl_core.metrics.boundary_thinning import suppress_non_maxima, thin


def image(rows: list[str]) -> torch.Tensor:
    """``(1, 1, H, W)`` from a drawing: # is 1, . is 0, ? is unknown, a digit d is d / 10."""
    values = {"#": 1.0, ".": 0.0, "?": math.nan} | {str(d): d / 10 for d in range(10)}
    return torch.tensor([[[[values[c] for c in row] for row in rows]]])


def lines(height: int, width: int, *columns: int, value: float = 1.0) -> torch.Tensor:
    """Vertical lines over the whole height."""
    picture = torch.zeros(1, 1, height, width)
    picture[..., list(columns)] = value
    return picture


def scores(prediction: torch.Tensor, label: torch.Tensor, **options) -> dict[str, float]:
    metric = BoundaryDetection(**options)
    metric.update(prediction, label)
    return metric.compute()


def as_bits(binary: np.ndarray) -> np.ndarray:
    """Images ``(N, H, W)`` as bits ``(H, W, words)``."""
    n = len(binary)
    bits = np.zeros((*binary.shape[1:], -(-n // 64)), np.uint64)
    for k, picture in enumerate(binary):
        bits[..., k // 64] |= picture.astype(np.uint64) << np.uint64(k % 64)
    return bits


def as_images(bits: np.ndarray, n: int) -> np.ndarray:
    return np.stack([(bits[..., k // 64] >> np.uint64(k % 64)) & np.uint64(1) for k in range(n)]).astype(bool)


def largest_matching(detected: np.ndarray, truth: np.ndarray, radius: float) -> int:
    """Kuhn's algorithm, one augmenting path after the other."""
    d, t = np.argwhere(detected), np.argwhere(truth)
    near = ((d[:, None] - t[None]) ** 2).sum(-1) <= radius * radius
    owner: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j in np.flatnonzero(near[i]).tolist():
            if j not in tried:
                tried.add(j)
                if j not in owner or place(owner[j], tried):
                    owner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in range(len(d)))


class TestMatching:
    @pytest.mark.parametrize("kind", ["dots", "lines"])
    def test_is_as_large_as_an_exact_matching(self, kind):
        rng = np.random.default_rng(0)
        ours, exact, greedy_would_differ = [], [], 0
        for _ in range(60):
            radius = rng.choice([0.0, 1.0, 1.5, 2.3, 3.2, 5.0])
            size = (18, 23)
            if kind == "dots":
                truth = rng.random(size) < rng.uniform(0.02, 0.3)
                detected = rng.random((5, *size)) < rng.uniform(0.02, 0.3, (5, 1, 1))
            else:
                pictures = np.zeros((6, *size), np.uint8)
                for picture in pictures:
                    for _ in range(3):
                        ends = [(int(rng.integers(23)), int(rng.integers(18))) for _ in range(2)]
                        cv2.line(picture, *ends, 1)
                truth, detected = pictures[0] > 0, pictures[1:] > 0
            pairs = match(as_bits(detected), truth, radius)
            found = as_images(pairs, 5)
            assert not (found & ~detected).any()
            ours += bit_counts(pairs.reshape(-1, 1), 5).tolist()
            exact += [largest_matching(d, truth, radius) for d in detected]
            greedy_would_differ += sum(greedy_matching(d, truth, radius) for d in detected) < sum(exact[-5:])
        assert ours == exact  # 300 cases, no deviation
        assert greedy_would_differ > 10  # the cases are hard enough to tell

    def test_a_long_chain_of_exchanges(self):
        # Each detection between two true pixels takes the left one; the last can only be had if all move over.
        truth, detected = np.zeros((1, 41), bool), np.zeros((1, 1, 41), bool)
        truth[0, 1:40:4] = True
        detected[0, 0, 3:40:4] = True
        detected[0, 0, 0] = True
        assert largest_matching(detected[0], truth, 2) == bit_counts(match(as_bits(detected), truth, 2)[0], 1)[0] == 10

    def test_more_than_one_word_of_thresholds(self):
        rng = np.random.default_rng(1)
        detected = rng.random((99, 12, 15)) < np.linspace(0.6, 0.01, 99)[:, None, None]
        truth = rng.random((12, 15)) < 0.2
        counts = bit_counts(match(as_bits(detected), truth, 1.5).reshape(-1, 2), 99)
        assert counts.tolist() == [largest_matching(d, truth, 1.5) for d in detected]

    @pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.transpose])
    def test_the_number_does_not_depend_on_the_orientation(self, turn):
        rng = np.random.default_rng(2)
        detected, truth = rng.random((2, 40, 40)) < 0.1
        both = [
            bit_counts(match(as_bits(f(detected)[None]), f(truth), 2.5).reshape(-1, 1), 1)[0]
            for f in (np.asarray, turn)
        ]
        assert both[0] == both[1] > 0

    def test_nothing_to_match(self):
        nothing, all_ = np.zeros((4, 5), bool), np.ones((4, 5), bool)
        assert not match(as_bits(nothing[None]), all_, 2).any()
        assert not match(as_bits(all_[None]), nothing, 2).any()

    def test_bits(self):
        rows = bit_rows(np.array([0, 1, 64, 65, 99]), 99)
        assert as_images(rows, 99).sum(0).tolist() == [0, 1, 64, 65, 99]
        assert bit_counts(rows, 99)[[0, 1, 64, 98]].tolist() == [4, 3, 2, 1]

    def test_offsets_are_a_disc_sorted_by_distance(self):
        steps = offsets_within(2.3)
        lengths = np.hypot(*steps.T)
        assert len(steps) == 21
        assert (np.diff(lengths) >= 0).all()
        assert lengths.max() == pytest.approx(math.sqrt(5))


def greedy_matching(detected: np.ndarray, truth: np.ndarray, radius: float) -> int:
    """The nearest free pair first, never taken back."""
    d, t = np.argwhere(detected), np.argwhere(truth)
    square = ((d[:, None] - t[None]) ** 2).sum(-1)
    count = 0
    while square.size and square.min() <= radius * radius:
        i, j = np.unravel_index(square.argmin(), square.shape)
        square = np.delete(np.delete(square, i, 0), j, 1)
        count += 1
    return count


class TestThinning:
    def test_every_4x4_pattern_keeps_its_components(self):
        patterns = (np.arange(65536)[:, None] >> np.arange(16) & 1).astype(bool).reshape(-1, 4, 4)
        # Side by side with a gap, so that one labelling counts them all; no component spans a gap.
        sheet = np.zeros((256 * 6, 256 * 6), bool)
        for k, pattern in enumerate(patterns):
            y, x = divmod(k, 256)
            sheet[6 * y + 1 : 6 * y + 5, 6 * x + 1 : 6 * x + 5] = pattern
        thinned = as_images(thin(as_bits(sheet[None])), 1)[0]
        assert not (thinned & ~sheet).any()
        before, old = cv2.connectedComponents(sheet.astype(np.uint8), connectivity=8)
        after, _ = cv2.connectedComponents(thinned.astype(np.uint8), connectivity=8)
        assert before == after
        assert len(np.unique(old[thinned])) == before - 1  # one remnant in each
        holes = [cv2.connectedComponents((~s).astype(np.uint8), connectivity=4)[0] for s in (sheet, thinned)]
        assert holes[0] == holes[1]

    def test_large_shapes(self):
        rng = np.random.default_rng(0)
        pictures = np.zeros((70, 60, 70), np.uint8)
        for picture in pictures:
            for _ in range(5):
                centre, axes = rng.integers(5, 55, 2).tolist(), rng.integers(2, 20, 2).tolist()
                cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, int(rng.choice([-1, 4])))
        thinned = as_images(thin(as_bits(pictures)), 70)
        for before, after in zip(pictures, thinned, strict=True):
            assert cv2.connectedComponents(before)[0] == cv2.connectedComponents(after.astype(np.uint8))[0]
            full = after[:-1, :-1] & after[1:, :-1] & after[:-1, 1:] & after[1:, 1:]
            assert full.sum() <= 0.02 * after.sum()  # hardly a 2x2 block is left
        alone = as_images(thin(as_bits(pictures[66:67])), 1)[0]
        np.testing.assert_array_equal(alone, thinned[66])  # the images of a word do not touch each other

    @pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, -1)])
    def test_one_pixel_lines_stay(self, step):
        picture = np.zeros((40, 40), np.uint8)
        cv2.line(picture, (20 - 7 * step[1], 20 - 7 * step[0]), (20 + 7 * step[1], 20 + 7 * step[0]), 1)
        np.testing.assert_array_equal(as_images(thin(as_bits(picture[None])), 1)[0], picture > 0)

    def test_a_bar_becomes_its_middle_line(self):
        picture = np.zeros((9, 30), bool)
        picture[3:6] = True
        thinned = as_images(thin(as_bits(picture[None])), 1)[0]
        assert thinned[:, 2:-2].sum(0).tolist() == [1] * 26
        assert thinned[4, 2:-2].all()


class TestSuppression:
    @pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 130])
    def test_a_ridge_is_found_at_any_angle(self, degrees):
        y, x = np.mgrid[:61, :61] - 30.0
        across = x * math.sin(math.radians(degrees)) - y * math.cos(math.radians(degrees))
        ridges = suppress_non_maxima((0.8 * np.exp(-(across**2) / 18)).astype(np.float32))[8:-8, 8:-8]
        across = across[8:-8, 8:-8]
        assert np.abs(across[ridges > 0.01]).max() <= 1.01
        assert (np.abs(across[ridges > 0.01]) < 0.75).mean() > 0.8
        assert (ridges > 0.01)[np.abs(across) < 0.2].all()

    def test_a_line_of_one_pixel_and_a_plateau_stay(self):
        for columns in ([12], [11, 12, 13]):
            picture = lines(25, 25, *columns)[0, 0].numpy()
            np.testing.assert_array_equal(suppress_non_maxima(picture), picture)


class TestBoundaryDetection:
    # A diagonal of 50 pixels: the tolerance of 0.05 is 2.5 pixels.
    SIZE = (30, 40)

    def test_perfect(self):
        outlines = blobs(np.random.default_rng(5), *self.SIZE)[1]
        for label in (lines(*self.SIZE, 10, 30), outlines):
            result = scores(label, label)
            assert (result["odsF"], result["oisF"], result["AP"]) == (1.0, 1.0, 1.0)
        # The outlines have pixels at both sides of each step, which no thin line has.
        assert 0.7 < scores(outlines, outlines, thin_labels=False)["odsF"] < 1

    @pytest.mark.parametrize(("shift", "expected"), [(1, 1.0), (2, 1.0), (3, 0.0)])
    def test_shifted(self, shift, expected):
        result = scores(lines(*self.SIZE, 20 + shift), lines(*self.SIZE, 20), max_distance=0.05)
        assert result["odsF"] == result["oisF"] == result["AP"] == expected

    def test_the_tolerance_is_a_share_of_the_diagonal(self):
        prediction, label = lines(*self.SIZE, 22), lines(*self.SIZE, 20)
        assert scores(prediction, label, max_distance=2.01 / 50)["odsF"] == 1.0
        assert scores(prediction, label, max_distance=1.99 / 50)["odsF"] == 0.0

    def test_a_doubled_line_halves_the_precision(self):
        metric = BoundaryDetection(9, max_distance=0.05)
        metric.update(lines(*self.SIZE, 19, 21), lines(*self.SIZE, 20))
        precision, recall = metric.curve()
        assert precision.tolist() == [0.5] * 9
        assert recall.tolist() == [1.0] * 9
        assert metric.compute()["odsF"] == pytest.approx(2 / 3)

    def test_precision_and_recall_by_hand(self):
        # Two of four true lines are found at 0.8, a false one comes in at 0.4.
        prediction = lines(*self.SIZE, 4, 12, value=0.8) + lines(*self.SIZE, 36, value=0.4)
        metric = BoundaryDetection(9)
        metric.update(prediction, lines(*self.SIZE, 4, 12, 20, 28))
        precision, recall = metric.curve()
        np.testing.assert_allclose(precision, [2 / 3] * 4 + [1] * 4 + [np.nan])
        np.testing.assert_allclose(recall, [0.5] * 8 + [0])
        result = metric.compute()
        assert result["odsF"] == pytest.approx(2 / 3)
        assert result["ods_threshold"] == pytest.approx(0.8)
        assert result["AP"] == pytest.approx(51 / 101)  # precision 1 at the recalls 0, 0.01, ... 0.5

    def test_each_image_at_its_own_threshold(self):
        # First image: right above 0.3, a false line below. Second: all it has lies at 0.2.
        first = lines(*self.SIZE, 10, value=0.9) + lines(*self.SIZE, 30, value=0.3)
        second = lines(*self.SIZE, 20, value=0.2)
        label = torch.cat([lines(*self.SIZE, 10), lines(*self.SIZE, 20)])
        result = scores(torch.cat([first, second]), label, thresholds=9)
        assert result["oisF"] == 1.0
        assert result["odsF"] == pytest.approx(4 / 5)  # at 0.2: both found, one of three detections false
        assert result["ods_threshold"] == pytest.approx(0.2)

    def test_batches_add_up(self):
        generator = torch.Generator().manual_seed(0)
        prediction = torch.rand(3, 1, *self.SIZE, generator=generator)
        label = (torch.rand(3, 1, *self.SIZE, generator=generator) > 0.9).float()
        apart = BoundaryDetection()
        for p, t in zip(prediction, label, strict=True):
            apart.update(p[None], t[None])
        assert apart.compute() == scores(prediction, label)

    def test_an_empty_prediction(self):
        result = scores(torch.zeros(1, 1, *self.SIZE), lines(*self.SIZE, 20))
        assert (result["odsF"], result["oisF"], result["AP"]) == (0.0, 0.0, 0.0)

    def test_an_empty_ground_truth(self):
        assert all(math.isnan(v) for v in scores(lines(*self.SIZE, 20), torch.zeros(1, 1, *self.SIZE)).values())
        # beside another image its false alarms count, at its best threshold none
        prediction = torch.cat([lines(*self.SIZE, 20, value=0.5), lines(*self.SIZE, 20)])
        label = torch.cat([torch.zeros(1, 1, *self.SIZE), lines(*self.SIZE, 20)])
        metric = BoundaryDetection(9)
        metric.update(prediction, label)
        assert metric.curve()[0].tolist() == [0.5] * 5 + [1.0] * 4
        assert metric.compute()["oisF"] == 1.0

    def test_unknown_pixels(self):
        label = image(["...#..........???............."] * 10)
        prediction = torch.zeros(1, 1, 10, 30)
        prediction[..., [3, 15]] = 1  # the second line lies in the unknown
        assert scores(prediction, label, max_distance=0.05)["odsF"] == pytest.approx(1.0)
        prediction[..., 25] = 1  # far from anything: a false alarm
        assert scores(prediction, label, max_distance=0.05)["odsF"] == pytest.approx(2 / 3)

    def test_an_unknown_pixel_does_not_excuse_a_second_detection(self):
        label = lines(*self.SIZE, 20)
        label[..., 23] = math.nan
        metric = BoundaryDetection(9, max_distance=0.05)
        metric.update(lines(*self.SIZE, 19, 21), label)
        assert metric.curve()[0].tolist() == [0.5] * 9

    @pytest.mark.parametrize("turn", [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-1, -2)])
    def test_orientation_matters_only_where_the_thinning_ties(self, turn):
        prediction, label = blobs(np.random.default_rng(3), 120, 160)
        # Of two equal pixels side by side the thinning keeps the one at the same side: half a pixel, small beside
        # the tolerance of four.
        straight, turned = (scores(f(prediction), f(label), max_distance=0.02) for f in (torch.clone, turn))
        for name in ("odsF", "oisF", "AP"):
            assert straight[name] == pytest.approx(turned[name], abs=0.01)
        assert 0.3 < straight["odsF"] < 0.95

    def test_oisf_is_no_lower_than_odsf_here(self):
        rng = np.random.default_rng(4)
        metric = BoundaryDetection(19)
        for _ in range(3):
            metric.update(*blobs(rng, 60, 80))
        assert metric.compute()["oisF"] > metric.compute()["odsF"] > 0.2

    def test_nothing_seen_is_nan(self):
        assert math.isnan(BoundaryDetection().compute()["odsF"])

    def test_bad_input(self):
        with pytest.raises(InputError, match="thresholds is 0"):
            BoundaryDetection(0)
        with pytest.raises(InputError, match="max_distance is 2"):
            BoundaryDetection(max_distance=2)
        with pytest.raises(InputError, match=r"\(1, 1, 4, 5\) and \(1, 1, 5, 4\)"):
            BoundaryDetection().update(torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 5, 4))


def blobs(rng: np.random.Generator, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A made-up detector's answer: outlines of ellipses, displaced, blurred, uneven and noisy; and the outlines."""
    regions = np.zeros((height, width), np.uint8)
    for k in range(8):
        centre, axes = (int(rng.integers(width)), int(rng.integers(height))), rng.integers(8, 40, 2).tolist()
        cv2.ellipse(regions, centre, axes, float(rng.uniform(0, 180)), 0, 360, k + 1, -1)
    label = np.zeros((height, width), np.float32)
    label[:, :-1][regions[:, :-1] != regions[:, 1:]] = 1
    label[:-1][regions[:-1] != regions[1:]] = 1
    shift, noise, gain = (
        cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), s) * s * g
        for s, g in ((8, 4), (2, 1), (12, 3))
    )
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.GaussianBlur(cv2.remap(label, x + shift, y - shift, cv2.INTER_LINEAR), (0, 0), 1.5)
    prediction = 1 / (1 + np.exp(4 - 16 * moved - noise - gain))
    return torch.from_numpy(prediction.astype(np.float32))[None, None], torch.from_numpy(label)[None, None]
