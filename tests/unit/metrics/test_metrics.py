"""Each metric against figures worked out by hand, and against a second, slow writing."""

from __future__ import annotations

import math

import pytest
import torch

from densemtl_core.metrics import BoundaryF1, DepthError, MeanIoU, NormalError, relative_gain


class TestMeanIoU:
    def test_by_hand(self):
        metric = MeanIoU(3)
        # class 0: hit 2, union 3; class 1: hit 1, union 2; class 2 never occurs; one pixel unlabelled
        metric.update(torch.tensor([[[0, 0, 0, 1, 1]]]), torch.tensor([[[0, 0, 1, 1, 255]]]))
        scores = metric.compute()
        assert scores["mIoU"] == pytest.approx((2 / 3 + 1 / 2) / 2)
        assert scores["pixel_accuracy"] == pytest.approx(3 / 4)
        assert math.isnan(metric.per_class()[2])

    def test_equals_a_slow_count(self):
        generator = torch.Generator().manual_seed(0)
        prediction = torch.randint(0, 5, (4, 20, 30), generator=generator)
        label = torch.randint(0, 6, (4, 20, 30), generator=generator)
        label[label == 5] = 255
        metric = MeanIoU(5)
        for p, t in zip(prediction, label, strict=True):
            metric.update(p[None], t[None])
        known = label != 255
        expected = []
        for c in range(5):
            hit = ((prediction == c) & (label == c)).sum()
            expected.append(hit / (((prediction == c) | (label == c)) & known).sum())
        assert metric.compute()["mIoU"] == pytest.approx(float(torch.stack(expected).mean()))

    def test_an_unlabelled_prediction_is_a_miss(self):
        metric = MeanIoU(2)
        metric.update(torch.tensor([[[0, 255]]]), torch.tensor([[[0, 0]]]))
        assert metric.per_class()[0] == pytest.approx(0.5)
        assert metric.compute()["pixel_accuracy"] == pytest.approx(0.5)

    def test_nothing_seen_is_nan(self):
        assert math.isnan(MeanIoU(2).compute()["mIoU"])


class TestDepthError:
    def test_by_hand(self):
        metric = DepthError(max_depth=80)
        label = torch.tensor([10.0, 20.0, math.nan, math.inf, 100.0]).view(1, 1, 1, 5)
        metric.update(torch.tensor([12.0, 20.0, 5.0, 5.0, 5.0]).view(1, 1, 1, 5), label)
        scores = metric.compute()
        assert scores["RMSE"] == pytest.approx(math.sqrt(2.0))
        assert scores["AbsRel"] == pytest.approx(0.1)
        assert scores["delta1"] == 1.0

    def test_rmse_is_taken_over_images(self):
        metric = DepthError()
        metric.update(torch.full((1, 1, 1, 1), 4.0), torch.full((1, 1, 1, 1), 1.0))
        metric.update(torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 1.0))
        assert metric.compute()["RMSE"] == pytest.approx(math.sqrt(9 / 2))

    def test_no_surface_predicted_counts_as_the_far_end(self):
        metric = DepthError(max_depth=80)
        metric.update(torch.full((1, 1, 1, 1), math.inf), torch.full((1, 1, 1, 1), 60.0))
        assert metric.compute()["RMSE"] == pytest.approx(20.0)

    def test_median_scaling_is_of_each_image_alone_and_in_the_names(self):
        metric = DepthError(median_scaling=True)
        label = torch.tensor([[4.0, 10.0, 30.0, math.nan], [2.0, 2.0, 8.0, math.inf]]).view(2, 1, 1, 4)
        # image 1: half of the truth everywhere; image 2: ten times it, but for one pixel
        prediction = torch.tensor([[2.0, 5.0, 15.0, 7.0], [20.0, 20.0, 100.0, 1.0]]).view(2, 1, 1, 4)
        metric.update(prediction, label)
        scores = metric.compute()
        assert list(scores) == [f"{n}_median_scaled" for n in ("RMSE", "AbsRel", "delta1", "delta2", "delta3")]
        assert scores[metric.primary] == pytest.approx(math.sqrt(4 / 3 / 2))
        assert scores["AbsRel_median_scaled"] == pytest.approx(0.25 / 6)
        assert all(math.isnan(x) for x in DepthError(median_scaling=True).compute().values())

    @pytest.mark.parametrize("median_scaling", [False, True])
    def test_judged_in_parts_it_is_the_same_to_the_last_bit(self, median_scaling):
        prediction, label = torch.rand(2, 7, 1, 5, 6, generator=torch.Generator().manual_seed(2)) * 90 + 0.1
        label[0] = math.nan
        whole = DepthError(median_scaling=median_scaling)
        whole.update(prediction, label)
        parts = [DepthError(median_scaling=median_scaling) for _ in range(2)]
        for part, images in zip(parts, ([6, 2, 0], [5, 1, 3, 4]), strict=True):
            part.update(prediction[images], label[images])
        parts[1].merge(parts[0])
        assert parts[1].compute() == whole.compute()
        assert whole.compute()["delta3" + "_median_scaled" * median_scaling] > 0

    def test_median_scaling_survives_an_image_without_surface(self):
        metric = DepthError(median_scaling=True)
        metric.update(torch.full((1, 1, 1, 2), math.inf), torch.full((1, 1, 1, 2), 20.0))
        assert math.isfinite(metric.compute()[metric.primary])


class TestNormalError:
    def test_by_hand(self):
        label = torch.tensor([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [math.nan] * 3]).T.reshape(1, 3, 1, 3)
        turned = [math.sin(math.radians(20)), 0.0, -math.cos(math.radians(20))]
        prediction = torch.tensor([turned, [0.0, -2.0, 0.0], [1.0, 0.0, 0.0]]).T.reshape(1, 3, 1, 3)
        metric = NormalError()
        metric.update(prediction, label)
        scores = metric.compute()
        assert scores["mErr"] == pytest.approx(10.0, abs=1e-4)
        assert scores["within_11.25"] == pytest.approx(0.5)
        assert scores["within_22.5"] == 1.0

    def test_tiny_and_opposite_angles_are_exact(self):
        a = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        for degrees in (1e-3, 179.999):
            b = torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), 0.0]).view(1, 3, 1, 1)
            metric = NormalError()
            metric.update(b.double(), a.double())
            assert metric.compute()["mErr"] == pytest.approx(degrees, rel=1e-3)

    @pytest.mark.parametrize("refused", [math.nan, math.inf, 0.0])
    def test_a_refused_pixel_is_a_miss(self, refused):
        label = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).repeat(1, 1, 1, 4)
        label[..., 3] = math.nan  # refused where nothing is known: does not count
        prediction = label.clone()
        prediction[..., 2:] = refused
        metric = NormalError()
        metric.update(prediction, label)
        scores = metric.compute()
        assert scores["mErr"] == pytest.approx(30.0)
        assert scores["within_11.25"] == scores["within_30"] == pytest.approx(2 / 3)

    def test_refusing_what_is_wrong_by_a_right_angle_gains_nothing(self):
        label = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).repeat(1, 1, 1, 2)
        wrong, refused = label.clone(), label.clone()
        wrong[0, :, 0, 1] = torch.tensor([1.0, 0.0, 0.0])
        refused[0, :, 0, 1] = math.nan
        scores = []
        for prediction in (wrong, refused):
            metric = NormalError()
            metric.update(prediction, label)
            scores.append(metric.compute())
        assert scores[0] == pytest.approx(scores[1])
        assert scores[1]["mErr"] == pytest.approx(45.0)

    def test_half_a_vector_is_none_and_a_short_one_is_one(self):
        label = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).repeat(1, 1, 1, 2)
        prediction = torch.tensor([[math.nan, 0.0, -1.0], [0.0, 0.0, -1e-20]]).T.reshape(1, 3, 1, 2)
        metric = NormalError()
        metric.update(prediction, label)
        assert metric.compute()["mErr"] == pytest.approx(45.0)

    def test_a_label_without_a_direction_does_not_count(self):
        metric = NormalError()
        metric.update(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
        assert metric.state()["pixels"].tolist() == [0, 0, 0, 0]
        assert math.isnan(metric.compute()["mErr"])


class TestBoundaryF1:
    def test_by_hand(self):
        metric = BoundaryF1()
        metric.update(
            torch.tensor([0.9, 0.9, 0.1, 0.1, 0.9]).view(1, 1, 1, 5),
            torch.tensor([1.0, 0.0, 0.0, 0.0, math.nan]).view(1, 1, 1, 5),
        )
        edge, background = 2 / 3, 4 / 5
        assert metric.compute()["edge_F1"] == pytest.approx(edge)
        assert metric.compute()["macroF1"] == pytest.approx((edge + background) / 2)


class TestRelativeGain:
    def test_by_hand(self):
        gain = relative_gain({"s": 0.55, "d": 4.0}, {"s": 0.5, "d": 5.0}, {"s": True, "d": False})
        assert gain == pytest.approx((10 + 20) / 2)

    def test_other_tasks_are_refused(self):
        with pytest.raises(ValueError, match="same tasks"):
            relative_gain({"s": 1.0}, {"d": 1.0}, {"s": True})
