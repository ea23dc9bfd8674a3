"""The street world as a dataset: labels that are exact, samples that depend on their index alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.sample import IGNORE_CLASS, Sample
from densemtl_core.data.street import StreetWorld
from densemtl_core.data.street.render import rotation
from densemtl_core.data.street.scene import COLUMN
from densemtl_core.errors import InputError

SIZE = (64, 128)
SKY = CITYSCAPES_19.id("sky")


@pytest.fixture(scope="module")
def world() -> StreetWorld:
    return StreetWorld(seed=3, size=SIZE, style="mixed", length=200)


@pytest.fixture(scope="module")
def many(world: StreetWorld) -> Sample:
    return world.batch(list(range(60)))


def same(a: Sample, b: Sample) -> bool:
    """Bit for bit, NaN equal to NaN."""
    pairs = [(a.image, b.image), (a.intrinsics, b.intrinsics)] + [(a.labels[n], b.labels[n]) for n in a.labels]
    return all(torch.equal(torch.nan_to_num(x, nan=-9), torch.nan_to_num(y, nan=-9)) for x, y in pairs)


def item(batch: Sample, k: int) -> Sample:
    assert batch.intrinsics is not None
    return Sample(batch.image[k], {n: v[k] for n, v in batch.labels.items()}, batch.intrinsics[k])


@pytest.mark.parametrize("size", [SIZE, (97, 161)])
def test_shapes_types_and_ranges(size: tuple[int, int]) -> None:
    h, w = size
    s = StreetWorld(seed=1, size=size, style="real")[5]
    assert s.image.shape == (3, h, w)
    assert s.image.dtype == torch.float32
    assert 0 <= s.image.min() < s.image.max() <= 1
    shapes = {name: (tuple(v.shape), v.dtype) for name, v in s.labels.items()}
    assert shapes == {
        "semantic": ((h, w), torch.int64),
        "depth": ((1, h, w), torch.float32),
        "normals": ((3, h, w), torch.float32),
        "edges": ((1, h, w), torch.float32),
        "albedo": ((3, h, w), torch.float32),
        "instance": ((h, w), torch.int64),
    }
    known = s.labels["semantic"][s.labels["semantic"] != IGNORE_CLASS]
    assert known.max() < len(CITYSCAPES_19)
    assert set(s.labels["edges"].unique().tolist()) == {0.0, 1.0}
    assert s.labels["depth"].min() > 0
    assert s.labels["albedo"].min() >= 0
    assert s.labels["albedo"].max() <= 1
    assert s.intrinsics is not None
    assert 0 < s.intrinsics[0, 2] < w
    assert s.intrinsics[0, 0] == s.intrinsics[1, 1]


def test_a_sample_depends_on_its_index_alone(world: StreetWorld) -> None:
    forwards, backwards = world.batch([4, 9, 2]), world.batch([2, 9, 4])
    for k, index in enumerate((4, 9, 2)):
        assert same(item(forwards, k), world[index])
        assert same(item(backwards, 2 - k), world[index])
    assert same(StreetWorld(seed=3, size=SIZE, style="mixed", length=200)[9], world[9])


def test_rendering_together_equals_rendering_alone(world: StreetWorld) -> None:
    # On a GPU a whole batch is rendered at once; the numbers are those of single renderings.
    image, labels, K = world._render([4, 9, 2])
    for k, index in enumerate((4, 9, 2)):
        assert same(item(Sample(image, labels, K), k), world[index])


@pytest.mark.parametrize("other", [{"seed": 4}, {"split": "val"}])
def test_seeds_and_splits_differ(world: StreetWorld, other: dict[str, object]) -> None:
    settings: dict[str, object] = {"seed": 3, "split": "train", "size": SIZE, "style": "mixed"} | other
    different = StreetWorld(**settings)  # type: ignore[arg-type]
    for index in range(3):
        a, b = world[index].labels["semantic"], different[index].labels["semantic"]
        assert (a != b).float().mean() > 0.05


def test_a_street_is_the_same_in_both_styles(world: StreetWorld) -> None:
    for index in (1, 4):
        sim, real = (StreetWorld(seed=3, size=SIZE, style=style)[index] for style in ("sim", "real"))
        for name in ("semantic", "depth", "normals", "edges", "instance"):
            assert torch.equal(sim.labels[name].nan_to_num(nan=-9.0), real.labels[name].nan_to_num(nan=-9.0)), name
        assert any(torch.equal(world[index].image, other.image) for other in (sim, real))
        assert (sim.image - real.image).abs().mean() > 0.02


def test_sky_has_no_surface(many: Sample) -> None:
    sky = many.labels["semantic"] == SKY
    assert sky.any()
    assert torch.equal(torch.isinf(many.labels["depth"][:, 0]), sky)
    assert torch.equal(torch.isnan(many.labels["normals"]).any(1), sky)
    assert not torch.isnan(many.labels["depth"]).any()


def rays(K: Tensor, h: int, w: int) -> Tensor:
    v, u = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    return torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)])


def test_normals_are_unit_and_face_the_camera(many: Sample) -> None:
    assert many.intrinsics is not None
    for k in range(0, 60, 6):
        n = many.labels["normals"][k].double()
        ok = ~torch.isnan(n).any(0)
        assert torch.allclose(n.norm(dim=0)[ok], torch.ones(1, dtype=torch.float64), atol=1e-5)
        assert ((n * rays(many.intrinsics[k].double(), *SIZE)).sum(0)[ok] < 1e-5).all()


def test_normals_are_those_of_the_depth(many: Sample) -> None:
    """Unproject, take differences: inside one object the analytic normals are the surface's."""
    assert many.intrinsics is not None
    errors = []
    for k in range(60):
        z = many.labels["depth"][k, 0].double()
        p = rays(many.intrinsics[k].double(), *SIZE) * z
        across, down = p[:, 1:-1, 2:] - p[:, 1:-1, :-2], p[:, 2:, 1:-1] - p[:, :-2, 1:-1]
        n = torch.linalg.cross(down, across, dim=0)
        n = n / n.norm(dim=0)
        exact = many.labels["normals"][k, :, 1:-1, 1:-1].double()
        around = torch.nn.functional.max_pool2d(many.labels["edges"][k][None], 3, 1)[0, 0] == 0
        flat = around & (z[1:-1, 1:-1] < 60)
        cosine = (n * exact).sum(0)[flat]
        errors.append(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))))
    error = torch.cat(errors)
    assert len(error) > 50_000
    assert error.median() < 0.2
    assert (error < 2).double().mean() > 0.85  # the rest: round things and the creases of boxes


def test_the_ground_lies_at_the_cameras_height(world: StreetWorld) -> None:
    road = CITYSCAPES_19.id("road")
    for index in (0, 1, 2):
        s, camera = world[index], world.scene(index).camera
        assert s.intrinsics is not None
        p = rays(s.intrinsics.double(), *SIZE) * s.labels["depth"].double()
        on = (s.labels["semantic"] == road) & (s.labels["depth"][0] < 30)
        n = s.labels["normals"].double()
        distance = -(p * n).sum(0)[on]
        assert torch.allclose(distance, torch.tensor(camera.height, dtype=torch.float64), atol=1e-3)


def test_every_change_of_class_is_an_edge_and_edges_are_thin(many: Sample) -> None:
    label, edge = many.labels["semantic"], many.labels["edges"][:, 0] > 0
    for axis in (1, 2):
        n = label.shape[axis] - 1
        change = label.narrow(axis, 0, n) != label.narrow(axis, 1, n)
        marked = edge.narrow(axis, 0, n) | edge.narrow(axis, 1, n)
        assert marked[change].all()
    assert 0.02 < edge.float().mean() < 0.3


def test_edges_only_where_something_changes(many: Sample) -> None:
    pad = torch.nn.functional.pad
    edge = many.labels["edges"][:, 0] > 0
    depth = many.labels["depth"][:, 0].clamp(max=1e5)
    reason = torch.zeros_like(edge)
    for values, rule in (
        (many.labels["semantic"].float(), lambda a, b: a != b),
        (many.labels["instance"].float(), lambda a, b: a != b),
        (depth, lambda a, b: (a - b).abs() > 0.05 * torch.minimum(a, b)),
    ):
        padded = pad(values[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
            reason |= rule(padded[:, dy : dy + SIZE[0], dx : dx + SIZE[1]], values)
    assert (reason | ~edge).all()


def test_the_world_has_what_a_street_has(many: Sample) -> None:
    counts = torch.bincount(many.labels["semantic"].flatten(), minlength=19)
    share = {name: counts[i].item() / counts.sum().item() for i, name in enumerate(CITYSCAPES_19.classes)}
    for name in ("road", "building", "vegetation", "sky"):
        assert share[name] > 0.05, name
    for name in ("sidewalk", "car", "terrain"):
        assert share[name] > 0.01, name
    for name in ("person", "pole", "traffic sign", "fence", "wall", "truck", "bus", "rider", "bicycle"):
        assert share[name] > 1e-4, name
    assert all(share.values()), [name for name, value in share.items() if value == 0]
    # Nearly every picture has a road to drive on; here and there a bus hides it.
    road = (many.labels["semantic"] == CITYSCAPES_19.id("road")).flatten(1).float().mean(1)
    assert (road > 0.05).float().mean() > 0.9


def test_pictures_are_exposed(many: Sample) -> None:
    mean, spread = many.image.flatten(1).mean(1), many.image.flatten(1).std(1)
    assert ((mean > 0.1) & (mean < 0.85)).all()
    assert (spread > 0.05).all()
    assert mean.std() > 0.05  # and not all alike


def test_a_drive_passes_static_things_at_the_cameras_speed(world: StreetWorld) -> None:
    index = next(i for i in range(200) if abs(world.scene(i).camera.yaw) < 0.2)
    scene = world.scene(index)
    frames = list(world.sequence(index, frames=3, fps=10))
    assert len({f.name for f in frames}) == 3
    assert same(next(world.sequence(index, 1, 10)), frames[0])
    first, second = scene.table(0.0, 0.0), scene.table(0.1, 0.8)
    # A row keeps its place in the table: static things come 0.8 m closer, or wrap around far ahead.
    moved = first[:, COLUMN["z"]] - second[:, COLUMN["z"]]
    static = (first[:, COLUMN["speed"]] == 0) & (first[:, COLUMN["distant"]] == 0)
    assert static.sum() > 10
    assert torch.isclose(moved[static], torch.tensor(0.8), atol=1e-3).float().mean() > 0.9
    assert not torch.equal(frames[0].image, frames[1].image)


def test_a_wall_ahead_comes_closer_by_the_way_driven(world: StreetWorld) -> None:
    """The depth of a building's points falls as the camera's motion says."""
    checked = 0
    building = CITYSCAPES_19.id("building")
    for index in range(40):
        if checked == 4:
            break
        frames = list(world.sequence(index, frames=2, fps=10))
        a, b = frames
        assert a.intrinsics is not None
        K = a.intrinsics.double()
        R = torch.tensor(rotation(world.scene(index).camera), dtype=torch.float64)
        step = R.T @ torch.tensor([0.0, 0.0, 0.8], dtype=torch.float64)
        p = (rays(K, *SIZE) * a.labels["depth"].double()).flatten(1)
        moved = p - step[:, None]
        u = (K[0, 0] * moved[0] / moved[2] + K[0, 2]).round()
        v = (K[1, 1] * moved[1] / moved[2] + K[1, 2]).round()
        quiet = torch.nn.functional.max_pool2d(a.labels["edges"][None], 5, 1, 2)[0].flatten() == 0
        inside = (u >= 0) & (u < SIZE[1]) & (v >= 0) & (v < SIZE[0]) & (moved[2] > 2) & (p[2] < 40) & quiet
        wall = inside & (a.labels["semantic"].flatten() == building)
        if wall.sum() < 200:
            continue
        at = (v[wall] * SIZE[1] + u[wall]).long()
        z = b.labels["depth"].double().flatten()[at]
        relative = (z - moved[2][wall]).abs() / moved[2][wall]
        assert relative.median() < 0.03, index
        checked += 1
    assert checked == 4


def test_wrong_settings_are_refused_in_one_line(world: StreetWorld) -> None:
    for settings in ({"split": "test"}, {"style": "cartoon"}, {"size": (4, 4)}, {"length": 0}):
        with pytest.raises(InputError, match="street world: ") as error:
            StreetWorld(**settings)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    with pytest.raises(IndexError):
        world[200]
    with pytest.raises(InputError, match="at least one"):
        world.batch([])
    with pytest.raises(InputError, match="fps"):
        next(world.sequence(0, 1, 0))


def test_as_a_dataset_it_ends(world: StreetWorld) -> None:
    tiny = StreetWorld(size=(16, 32), length=2)
    assert len(tiny) == 2
    assert len(list(tiny)) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_renders_the_same_street(world: StreetWorld) -> None:
    there = StreetWorld(seed=3, size=SIZE, style="mixed", length=200, device="cuda").batch([4, 9])
    here = world.batch([4, 9])
    assert there.image.is_cuda
    # Rounding differs, so a few pixels on outlines may belong to a neighbour.
    assert (there.labels["semantic"].cpu() == here.labels["semantic"]).float().mean() > 0.999
    depth = there.labels["depth"].cpu()
    assert torch.isclose(depth, here.labels["depth"], rtol=1e-3).float().mean() > 0.999
    assert (there.image.cpu() - here.image).abs().mean() < 2e-3
