"""Labels of further tasks against plain loops, hand-made scenes, and the mirrored world."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from densemtl_core.data.further_labels import BOUNDARY_LIMIT, boundary_distance, instance_center, plane_ids
from densemtl_core.data.sample import Sample
from densemtl_core.data.street.shading import relative_light
from densemtl_core.data.street.world import FURTHER, StreetWorld
from densemtl_core.data.transforms import crop, horizontal_flip, resize
from densemtl_core.errors import InputError
from densemtl_core.tasks import PLANES
from training.data_settings import DataSettings
from training.datasets import make_dataset

NAN = math.nan
SIZE = (48, 96)
CAR, PERSON, WALL = 13, 11, 3


@pytest.fixture(scope="module")
def street() -> Sample:
    return StreetWorld(seed=3, size=SIZE, style="sim", length=20, further=FURTHER)[4]


def nearest(marked: np.ndarray) -> np.ndarray:
    """Pixels to the nearest marked pixel, by trying all."""
    rows, columns = np.nonzero(marked)
    v, u = np.indices(marked.shape)
    each = np.hypot(v[..., None] - rows, u[..., None] - columns)
    return each.min(-1) if len(rows) else np.full(marked.shape, np.inf)


class TestBoundaryDistance:
    @pytest.mark.parametrize("density", [0.0, 0.002, 0.05, 1.0])
    def test_against_trying_all(self, density):
        edges = (torch.rand(1, 24, 40, generator=torch.Generator().manual_seed(0)) < density).float()
        expected = np.minimum(nearest(edges[0].numpy() > 0) / math.hypot(24, 40), BOUNDARY_LIMIT)
        np.testing.assert_allclose(boundary_distance(edges)[0], expected, rtol=1e-6)

    def test_where_an_unknown_pixel_is_nearer_it_is_unknown(self):
        edges = torch.zeros(1, 1, 9)
        edges[..., 0], edges[..., 8] = 1.0, NAN
        limit = BOUNDARY_LIMIT * math.hypot(1, 9)  # less than a pixel
        assert boundary_distance(edges)[0, 0, 1:8].tolist() == pytest.approx([limit / math.hypot(1, 9)] * 7)
        wide = torch.zeros(1, 40, 40)
        wide[..., 10], wide[..., 14] = 1.0, NAN
        found = boundary_distance(wide)[0, 0] * math.hypot(40, 40)
        assert found[10:13].tolist() == pytest.approx([0, 1, 2])
        assert found[13:17].isnan().all()

    def test_a_crop_keeps_the_pixels_and_a_resize_the_share(self, street):
        whole, part = street.labels["boundary_distance"], crop(without_centres(street), 4, 10, (30, 50))
        pixels = whole[:, 4:34, 10:60] * math.hypot(*SIZE)
        small = math.hypot(30, 50)
        torch.testing.assert_close(
            part.labels["boundary_distance"] * small, pixels.clamp(max=BOUNDARY_LIMIT * small), rtol=1e-5, atol=1e-5
        )
        half = resize(without_centres(street), (24, 48)).labels["boundary_distance"]
        assert torch.equal(half, whole[:, 1::2, 1::2])
        with pytest.raises(InputError, match=r"boundary_distance of .* has another aspect"):
            resize(without_centres(street), (40, 48))


class TestInstanceCenter:
    def test_a_gaussian_around_the_middle_of_what_is_visible(self):
        instance, semantic = torch.zeros(2, 60, 80, dtype=torch.int64)
        instance[20:31, 40:51], semantic[20:31, 40:51] = 7, CAR  # middle (25, 45)
        instance[5:8, 3:6], semantic[5:8, 3:6] = 9, PERSON  # middle (6, 4)
        instance[40:50, 10:20], semantic[40:50, 10:20] = 2, WALL  # no thing
        heat = instance_center(instance, semantic)[0]
        assert torch.nonzero(heat == 1).tolist() == [[6, 4], [25, 45]]
        v, u = np.indices((60, 80))
        square = np.minimum((v - 25) ** 2 + (u - 45) ** 2, (v - 6) ** 2 + (u - 4) ** 2)
        np.testing.assert_allclose(heat, np.exp(-square / 2 / (0.01 * 100) ** 2), atol=1e-6)  # diagonal: 100 pixels

    def test_what_is_hidden_does_not_count_nor_do_specks(self):
        instance, semantic = torch.zeros(2, 60, 80, dtype=torch.int64)
        instance[10:12, 10:20], semantic[10:12, 10:20] = 1, CAR
        instance[10:12, 14:20], semantic[10:12, 14:20] = 0, 0  # hidden by the road
        instance[50, 50], semantic[50, 50] = 2, PERSON
        assert torch.nonzero(instance_center(instance, semantic)[0] == 1).tolist() == [[11, 12]]

    def test_every_thing_of_a_street_has_one(self, street):
        instance, semantic = street.labels["instance"], street.labels["semantic"]
        things = [i for i in instance[(semantic >= 11) & (semantic <= 18)].unique().tolist() if i > 0]
        seen = [i for i in things if ((instance == i) & (semantic >= 11) & (semantic < 19)).sum() >= 2]
        assert len(seen) > 0
        centres = torch.nonzero(street.labels["instance_center"][0] == 1)
        assert len(centres) <= len(seen)  # two may fall on one pixel
        for i in seen:
            where = torch.nonzero((instance == i) & (semantic >= 11) & (semantic < 19)).double().mean(0)
            assert (centres - where).norm(dim=1).min() <= math.sqrt(0.5) + 1e-9

    def test_neither_crop_nor_resize(self, street):
        with pytest.raises(InputError, match="crop: instance_center"):
            crop(street, 0, 0, (32, 32))
        with pytest.raises(InputError, match="resize: instance_center"):
            resize(street, (24, 48))
        with pytest.raises(InputError, match=r"data.crop is \[32, 32\], but instance_center"):
            make_dataset(DataSettings(size=[48, 96], crop=[32, 32]), ["instance_center"], "cityscapes19")


def wall(normal: tuple[float, float, float], offset: float, K: torch.Tensor) -> str:
    """The plane of a pixel that sees a wall: depth from the plane's equation, for the pixel whose ray faces it best."""
    n = torch.tensor(normal, dtype=torch.float32)
    v, u = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    ray = torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)])
    towards = -(ray * n.view(3, 1, 1)).sum(0)
    depth = torch.where(towards > 1e-3, offset / towards, math.inf)
    ids = plane_ids(depth[None], n.view(3, 1, 1).expand(3, 40, 60), K)
    known = ids[ids != 255]
    assert len(known.unique()) == 1  # one wall is one plane, however far along it
    assert torch.equal(ids == 255, depth.isinf())
    return PLANES[int(known[0])]


class TestPlanes:
    K = torch.tensor([[40.0, 0, 31.0], [0, 40.0, 18.0], [0, 0, 1]])

    @pytest.mark.parametrize(
        ("normal", "offset", "name"),
        [
            ((0, -1, 0), 1.5, "facing up"),
            ((0, 1, 0), 4.0, "facing down"),
            ((-1, 0, 0), 3.9, "facing left, near"),
            ((-1, 0, 0), 4.1, "facing left, middle"),
            ((-1, 0, 0), 9.1, "facing left, far"),
            ((1, 0, 0), 2.0, "facing right, near"),
            ((0.9, 0, -math.sqrt(0.19)), 5.0, "facing right, middle"),
            ((1, 0, 0), 30.0, "facing right, far"),
            ((0, 0, -1), 11.9, "facing the camera, near"),
            ((0, 0, -1), 12.1, "facing the camera, middle"),
            ((0, 0, -1), 36.0, "facing the camera, far"),
            ((0, -math.sqrt(0.5), -math.sqrt(0.5)), 5.0, "slanted"),
        ],
    )
    def test_walls(self, normal, offset, name):
        assert wall(normal, offset, self.K) == name

    def test_what_is_unknown_has_none(self):
        depth, normals = torch.full((1, 1, 3), 5.0), torch.tensor([0.0, 0.0, -1.0]).view(3, 1, 1).repeat(1, 1, 3)
        depth[..., 0], normals[:, :, 1] = NAN, NAN
        assert plane_ids(depth, normals, self.K)[0].tolist() == [255, 255, 8]

    def test_the_mirrored_street_has_the_mirrored_planes(self, street):
        mirrored = horizontal_flip(street)
        again = plane_ids(mirrored.labels["depth"], mirrored.labels["normals"], mirrored.intrinsics)
        # at a limit, rounding of the last bit may decide
        assert (again == mirrored.labels["planes"]).float().mean() > 0.999
        assert not torch.equal(mirrored.labels["planes"], street.labels["planes"].flip(-1))


class TestShading:
    def test_open_ground_is_zero_and_half_the_light_is_one_stop_less(self):
        light = {
            "sun": torch.tensor([0.6, -0.8, 0.0]).view(1, 3, 1, 1),
            "sun_colour": torch.tensor([1.0, 0.9, 0.8]).view(1, 3, 1, 1),
            "ambient": torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1),
        }
        ground = light["sun_colour"] * 0.8 + light["ambient"]
        arriving = torch.cat([ground, ground / 2, ground * 2], 3)
        assert relative_light(light, arriving).flatten().tolist() == pytest.approx([0.0, -1.0, 1.0], abs=1e-6)

    def test_of_a_street(self, street):
        shading, sky = street.labels["shading"][0], street.labels["depth"][0].isinf()
        assert shading[sky].isnan().all()
        assert shading[~sky].isfinite().float().mean() > 0.98  # but for lamps
        road = shading[street.labels["semantic"] == 0]
        assert road[road.isfinite()].max() == pytest.approx(0.0, abs=0.02)


def without_centres(sample: Sample) -> Sample:
    kept = {n: x for n, x in sample.labels.items() if n != "instance_center"}
    return Sample(sample.image, kept, sample.intrinsics, sample.name)


class TestOfTheStreetWorld:
    def test_they_change_nothing_else(self, street):
        plain = StreetWorld(seed=3, size=SIZE, style="sim", length=20)[4]
        assert torch.equal(plain.image, street.image)
        assert set(street.labels) == {*plain.labels, *FURTHER}
        for name, label in plain.labels.items():
            assert torch.equal(label.nan_to_num(-9), street.labels[name].nan_to_num(-9))

    def test_they_do_not_depend_on_the_batch(self, street):
        batch = StreetWorld(seed=3, size=SIZE, style="sim", length=20, further=FURTHER)._render([7, 4])[1]
        for name in FURTHER:
            assert torch.equal(batch[name][1].nan_to_num(-9), street.labels[name].nan_to_num(-9))

    def test_settings_ask_for_what_their_tasks_read(self):
        data = DataSettings(size=[32, 64], train=2, flip=0.0)
        assert set(make_dataset(data, ["depth", "planes", "shading"], "cityscapes19")[0].labels) == {
            "depth", "planes", "shading"
        }  # fmt: skip
        assert set(make_dataset(data, ["semantic"], "cityscapes19")[0].labels) == {"semantic"}

    def test_an_unknown_one_is_refused(self):
        with pytest.raises(InputError, match="has no further label 'flow'; it has shading"):
            StreetWorld(further=("flow",))
