"""Joint transforms keep image, labels and intrinsics one scene: points before and after are compared."""

from __future__ import annotations

import math

import pytest
import torch

from densemtl_core.data.derived_labels import derive
from densemtl_core.data.sample import Sample, collate
from densemtl_core.data.transforms import (
    Augmentation,
    TransformedDataset,
    crop,
    horizontal_flip,
    jitter_colour,
    resize,
)
from densemtl_core.errors import InputError
from densemtl_core.geometry import intrinsics_matrix, normals_from_depth, pixel_rays, unproject

SIZE = (30, 45)
K = intrinsics_matrix(40.0, 37.0, 20.3, 16.1)


def sample(seed: int = 0) -> Sample:
    """Random classes and depth: nothing smooth or symmetric that could hide a shift."""
    g = torch.Generator().manual_seed(seed)
    labels = {
        "semantic": torch.randint(0, 19, SIZE, generator=g),
        "depth": torch.rand(1, *SIZE, generator=g) * 50 + 1,
        "normals": torch.nn.functional.normalize(torch.randn(3, *SIZE, generator=g), dim=0),
        "edges": (torch.rand(1, *SIZE, generator=g) > 0.8).float(),
        "image+1": torch.rand(3, *SIZE, generator=g),
        "instance": torch.randint(0, 9, SIZE, generator=g),
        "pose+1": torch.linalg.matrix_exp(torch.randn(4, 4, generator=g) * 0.1),
    }
    return Sample(torch.rand(3, *SIZE, generator=g), labels, K.clone(), f"s{seed}")


def points(s: Sample) -> torch.Tensor:
    assert s.intrinsics is not None
    return unproject(s.labels["depth"][None], s.intrinsics[None])[0]


def plane(normal: tuple[float, float, float], distance: float) -> torch.Tensor:
    """Depth of the plane normal . p = distance."""
    ray = pixel_rays(K[None], SIZE)[0]
    return distance / (ray * torch.tensor(normal).view(3, 1, 1)).sum(0, keepdim=True)


MIRROR = torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1)
# transform, and what it does to the field of points
CASES = {
    "flip": (horizontal_flip, lambda p: p.flip(-1) * MIRROR),
    "crop": (lambda s: crop(s, 3, 7, (20, 31)), lambda p: p[:, 3:23, 7:38]),
    "shrink both": (lambda s: resize(s, (10, 15)), lambda p: p[:, 1::3, 1::3]),
    "shrink height only": (lambda s: resize(s, (10, 45)), lambda p: p[:, 1::3]),
    "shrink width only": (lambda s: resize(s, (30, 9)), lambda p: p[:, :, 2::5]),
    "shrink unequally": (lambda s: resize(s, (6, 15)), lambda p: p[:, 2::5, 1::3]),
    "crop, flip": (lambda s: horizontal_flip(crop(s, 1, 2, (9, 9))), lambda p: p[:, 1:10, 2:11].flip(-1) * MIRROR),
    "flip, shrink": (lambda s: resize(horizontal_flip(s), (10, 15)), lambda p: p.flip(-1)[:, 1::3, 1::3] * MIRROR),
    "colour": (lambda s: jitter_colour(s, 1.2, 0.7, 1.3, 0.5), lambda p: p),
}


@pytest.mark.parametrize("case", CASES)
def test_the_points_of_the_transformed_sample_are_the_transformed_points(case):
    transform, moved = CASES[case]
    before = sample()
    after = transform(before)
    torch.testing.assert_close(points(after), moved(points(before)), rtol=1e-5, atol=1e-4)
    # normals and classes sit on the same points, and every label has the picture's size
    torch.testing.assert_close(after.labels["normals"], moved(before.labels["normals"]))
    stacked = before.labels["semantic"].float().expand(3, -1, -1)
    assert torch.equal(after.labels["semantic"].float(), moved(stacked)[1])
    assert {tuple(x.shape[-2:]) for n, x in after.labels.items() if n != "pose+1"} == {after.image.shape[-2:]}
    assert after.labels["semantic"].dtype == torch.int64
    assert torch.equal(before.labels["depth"], sample().labels["depth"]), "the input was changed"


@pytest.mark.parametrize("axis", ["both", "height", "width"])
def test_enlarging_keeps_the_points_at_the_old_pixel_centres(axis):
    before = sample()
    rows, columns = axis != "width", axis != "height"
    after = resize(before, (90 if rows else 30, 135 if columns else 45))
    at = points(after)[:, 1::3] if rows else points(after)
    torch.testing.assert_close(at[..., 1::3] if columns else at, points(before), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [(17, 45), (30, 31), (22, 33), (41, 52)])
def test_any_resize_leaves_a_plane_where_it_was(size):
    normal, distance = torch.tensor([0.1, -0.2, 0.97]), 8.0
    before = Sample(torch.zeros(3, *SIZE), {"depth": plane((0.1, -0.2, 0.97), distance)}, K.clone())
    after = resize(before, size)
    off = (points(after) * normal.view(3, 1, 1)).sum(0) - distance
    # the nearest value is at most half a pixel away: depth there differs by at most this
    slope = max(before.labels["depth"].diff(dim=d).abs().max().item() for d in (1, 2))
    assert off.abs().max() <= slope + 1e-4
    assert after.image.shape[-2:] == size


def test_the_picture_moves_with_the_intrinsics():
    """A picture painted by viewing direction still is, after any transform: no half-pixel shift."""
    ray = pixel_rays(K[None], SIZE)[0]
    before = Sample(torch.stack([ray[0] * 0.4 + 0.5, ray[1] * 0.4 + 0.5, ray[2] * 0.5]), {}, K.clone())
    for size in [(15, 45), (30, 20), (13, 22), (60, 90), (41, 45)]:
        after = resize(before, size)
        new = pixel_rays(after.intrinsics[None], size)[0]
        border = 4  # where the filter reaches over the edge
        inner = (slice(border, -border), slice(border, -border))
        torch.testing.assert_close(after.image[0][inner], (new[0] * 0.4 + 0.5)[inner], rtol=0, atol=2e-3)
        torch.testing.assert_close(after.image[1][inner], (new[1] * 0.4 + 0.5)[inner], rtol=0, atol=2e-3)
    flipped = horizontal_flip(before)
    new = pixel_rays(flipped.intrinsics[None], SIZE)[0]
    torch.testing.assert_close(flipped.image[0], 0.5 - new[0] * 0.4)


def test_a_flip_mirrors_cx_only():
    fx, cx = K[0, 0].item(), K[0, 2].item()
    after = horizontal_flip(sample())
    expected = intrinsics_matrix(fx, K[1, 1].item(), SIZE[1] - 1 - cx, K[1, 2].item())
    torch.testing.assert_close(after.intrinsics, expected)


@pytest.mark.parametrize("transform", [horizontal_flip, lambda s: crop(s, 2, 5, (20, 30))], ids=["flip", "crop"])
def test_normals_of_the_changed_depth_are_the_changed_normals(transform):
    before = derive(
        Sample(torch.zeros(3, *SIZE), {"depth": plane((0.3, -0.4, 0.87), 5.0)}, K.clone()), ["depth", "normals"]
    )
    after = transform(before)
    again = normals_from_depth(after.labels["depth"][None], after.intrinsics[None])[0]
    both = again.isfinite() & after.labels["normals"].isfinite()
    assert both.float().mean() > 0.7
    torch.testing.assert_close(again[both], after.labels["normals"][both], rtol=0, atol=1e-3)
    assert abs(again[0][both[0]].mean()) > 0.2, "a plane without a tilt in x would not show a wrong sign"


def test_a_flipped_pose_moves_mirrored_points_to_mirrored_points():
    before, point = sample(), torch.tensor([1.0, 2.0, 3.0, 1.0])
    mirror = torch.tensor([-1.0, 1.0, 1.0, 1.0])
    moved = before.labels["pose+1"] @ point
    torch.testing.assert_close(horizontal_flip(before).labels["pose+1"] @ (mirror * point), mirror * moved)


def test_a_thin_edge_survives_shrinking_and_unknown_stays_unknown():
    edges = torch.zeros(1, *SIZE)
    edges[0, :, 22] = 1
    edges[0, :, 30:] = torch.nan
    after = resize(Sample(torch.zeros(3, *SIZE), {"edges": edges}), (7, 11)).labels["edges"][0]
    assert ((after == 1).any(1)).all()
    assert after[:, 8:].isnan().all()
    assert (after[:, :5] == 0).all()


def test_unknown_and_infinite_depth_pass_through():
    depth = torch.full((1, *SIZE), 7.0)
    depth[:, :15], depth[:, 15:20] = torch.inf, torch.nan
    after = resize(Sample(torch.zeros(3, *SIZE), {"depth": depth}), (13, 19)).labels["depth"]
    assert after.isinf().any()
    assert after.isnan().any()
    assert set(after[after.isfinite()].tolist()) == {7.0}


def test_a_batch_is_transformed_like_its_samples():
    for transform, _ in CASES.values():
        batch = transform(collate([sample(1), sample(2)]))
        alone = collate([transform(sample(1)), transform(sample(2))])
        torch.testing.assert_close(batch.image, alone.image)
        torch.testing.assert_close(batch.intrinsics, alone.intrinsics)
        for name, label in alone.labels.items():
            torch.testing.assert_close(batch.labels[name], label, equal_nan=True)


def test_a_sample_without_labels_or_camera_is_fine():
    bare = Sample(torch.rand(3, *SIZE))
    for transform, _ in CASES.values():
        after = transform(bare)
        assert after.intrinsics is None
        assert after.labels == {}


def test_colours_change_as_said_and_labels_do_not():
    before = sample()
    same = jitter_colour(before)
    torch.testing.assert_close(same.image, before.image)
    grey = jitter_colour(before, saturation=0.0).image
    torch.testing.assert_close(grey[0], grey[2])
    torch.testing.assert_close(jitter_colour(before, brightness=0.5).image, before.image * 0.5)
    flat = jitter_colour(before, contrast=0.0).image
    assert flat.std() < 1e-6
    red = Sample(torch.tensor([0.8, 0.1, 0.1]).view(3, 1, 1).expand(3, 4, 4))
    turned = jitter_colour(red, hue=2 * math.pi / 3).image[:, 0, 0]
    torch.testing.assert_close(turned, torch.tensor([0.1, 0.8, 0.1]))
    after = jitter_colour(before, 0.9, 1.1, 0.8, 0.2)
    alone = jitter_colour(Sample(before.labels["image+1"]), 0.9, 1.1, 0.8, 0.2)
    torch.testing.assert_close(after.labels["image+1"], alone.image)
    for name in ("semantic", "depth", "normals", "edges", "instance"):
        assert after.labels[name] is before.labels[name]


@pytest.mark.parametrize(("top", "left", "size"), [(-1, 0, (5, 5)), (0, 41, (5, 5)), (26, 0, (5, 5)), (0, 0, (0, 5))])
def test_a_crop_outside_the_image_is_refused(top, left, size):
    with pytest.raises(InputError, match="does not fit"):
        crop(sample(), top, left, size)


def test_a_resize_to_nothing_is_refused():
    with pytest.raises(InputError, match="not positive"):
        resize(sample(), (0, 4))


def test_augmentation_depends_on_the_generator_alone():
    augment = Augmentation(size=(24, 36), crop=(16, 20), brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    a, b, c = (augment(sample(), torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a.image, b.image)
    assert a.image.shape == (3, 16, 20)
    assert not torch.equal(a.image, c.image)


def test_augmentation_flips_as_often_as_asked_and_crops_everywhere():
    generator = torch.Generator().manual_seed(0)
    augment = Augmentation(crop=(28, 40), flip=0.25)
    drawn = [augment(sample(), generator) for _ in range(400)]
    rows = {round(16.1 - s.intrinsics[1, 2].item()) for s in drawn}
    assert rows == {0, 1, 2}
    columns = {round(x, 1) for x in (s.intrinsics[0, 2].item() for s in drawn)}
    straight = {round(20.3 - k, 1) for k in range(6)}
    mirrored = {round(39 - x, 1) for x in straight}
    assert columns == straight | mirrored
    share = sum(round(s.intrinsics[0, 2].item(), 1) in mirrored for s in drawn) / 400
    assert 0.18 < share < 0.32


@pytest.mark.parametrize("field", ["flip", "brightness", "contrast", "saturation"])
def test_augmentation_refuses_what_is_out_of_range(field):
    with pytest.raises(InputError, match=field):
        Augmentation(**{field: 1.5})


def test_a_transformed_dataset_draws_by_seed_epoch_and_index():
    class Same(torch.utils.data.Dataset[Sample]):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return sample()

    augment = Augmentation(brightness=0.5, flip=0.0)
    first, other = TransformedDataset(Same(), augment, seed=1), TransformedDataset(Same(), augment, seed=2)
    assert len(first) == 3
    again = first[1].image
    assert torch.equal(first[1].image, again)
    assert not torch.equal(first[0].image, again)
    assert not torch.equal(other[1].image, again)
    first.set_epoch(1)
    assert not torch.equal(first[1].image, again)
