"""Every loss against a plain NumPy float64 writing of its formula, for whole, partial, empty and infinite labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densemtl_core.tasks import DepthTask, EdgesTask, NormalsTask, SemanticTask

SIZE = (5, 7)
SEMANTIC = SemanticTask(class_names=("road", "sky", "car", "tree"))
KNOWN = ["all known", "some unknown", "none known"]


def known_pixels(which: str) -> np.ndarray:
    """``(2, H, W)`` bool."""
    mask = np.ones((2, *SIZE), bool)
    if which == "some unknown":
        mask = np.random.default_rng(3).random((2, *SIZE)) < 0.6
    return mask & (which != "none known")


def mean(values: np.ndarray, known: np.ndarray) -> float:
    """Over known pixels; 0 where there are none."""
    return float(values[known].mean()) if known.any() else 0.0


def log_softmax(raw: np.ndarray) -> np.ndarray:
    return raw - raw.max(1, keepdims=True) - np.log(np.exp(raw - raw.max(1, keepdims=True)).sum(1, keepdims=True))


def chosen(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """``(B, C, H, W)`` at the class of each pixel, ``(B, H, W)``."""
    return np.take_along_axis(values, ids[:, None], axis=1)[:, 0]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("which", KNOWN)
def test_semantic(rng, which):
    raw, ids, known = rng.normal(size=(2, 4, *SIZE)) * 3, rng.integers(0, 4, (2, *SIZE)), known_pixels(which)
    label = torch.from_numpy(np.where(known, ids, 255))
    expected = mean(-chosen(log_softmax(raw), ids), known)
    assert SEMANTIC.loss(torch.from_numpy(raw), label).item() == pytest.approx(expected, rel=1e-12)


def enlarged(raw: np.ndarray) -> np.ndarray:
    """Bilinear, corners on corners, one row and one column after the other: ``(B, C, h, w)`` to ``SIZE``."""
    for axis, count in zip((2, 3), SIZE, strict=True):
        at = np.linspace(0, raw.shape[axis] - 1, count)
        below = np.minimum(at.astype(int), raw.shape[axis] - 2)
        share = (at - below).reshape(-1, *[1] * (3 - axis))
        raw = raw.take(below, axis) * (1 - share) + raw.take(below + 1, axis) * share
    return raw


def test_a_coarse_output_is_enlarged_to_the_label(rng):
    raw, ids = rng.normal(size=(2, 4, 3, 4)) * 3, rng.integers(0, 4, (2, *SIZE))
    expected = float(-chosen(log_softmax(enlarged(raw)), ids).mean())
    assert SEMANTIC.loss(torch.from_numpy(raw), torch.from_numpy(ids)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("edge_weight", [0.95, 0.5])
@pytest.mark.parametrize("which", KNOWN)
def test_edges(rng, which, edge_weight):
    raw, ids, known = rng.normal(size=(2, 2, *SIZE)) * 3, rng.integers(0, 2, (2, *SIZE)), known_pixels(which)
    weight = np.where(ids == 1, edge_weight, 1 - edge_weight) * known
    total = (-chosen(log_softmax(raw), ids) * weight).sum()
    expected = total / weight.sum() if known.any() else 0.0
    label = torch.from_numpy(np.where(known, ids, np.nan))[:, None]
    loss = EdgesTask(edge_weight=edge_weight).loss(torch.from_numpy(raw), label)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("paper_compatible", [False, True])
@pytest.mark.parametrize("which", KNOWN)
def test_normals(rng, which, paper_compatible):
    raw, label, known = rng.normal(size=(2, 3, *SIZE)), rng.normal(size=(2, 3, *SIZE)), known_pixels(which)
    label /= np.linalg.norm(label, axis=1, keepdims=True)
    off = 1 - (raw * label).sum(1) / np.linalg.norm(raw, axis=1)
    expected = mean(off, known)
    if paper_compatible:  # the unknown pixels count as if they were right
        expected = float(np.where(known, off, 0).sum() / known.size)
    task = NormalsTask(paper_compatible=paper_compatible)
    given = torch.from_numpy(np.where(known[:, None], label, np.nan))
    assert task.loss(torch.from_numpy(raw), given).item() == pytest.approx(expected, rel=1e-12)
    assert which != "some unknown" or expected != pytest.approx(float(off.mean()), rel=1e-3)


def test_half_known_normals_cost_half_in_the_papers_way():
    raw, label = torch.ones(1, 3, 2, 4), torch.zeros(1, 3, 2, 4)
    label[:, 2] = -1.0
    label[..., :2] = torch.nan
    ours, papers = (NormalsTask(paper_compatible=way).loss(raw, label) for way in (False, True))
    assert papers.item() == pytest.approx(ours.item() / 2)


def depths(rng: np.random.Generator, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Metres with sky (+inf) and a stretch beyond 80 m, NaN where unknown; and the known pixels. ``(2, H, W)``."""
    metres = rng.uniform(1.5, 78, (2, *SIZE))
    metres[:, 0], metres[:, 1] = np.inf, 90.0
    known = known_pixels(which)
    return np.where(known, metres, np.nan), known


def encoded(metres: np.ndarray, encoding: str) -> np.ndarray:
    """What the network regresses. The sky is 655.35 m on the paper's scale and 120 m on the logarithmic one."""
    if encoding == "inverse":
        return 65536 / (100 * np.minimum(metres, 655.35) + 1)
    return np.log(np.minimum(metres, 120.0) / 10)


def decoded(raw: np.ndarray, encoding: str) -> np.ndarray:
    """Metres."""
    return (65536 / raw - 1) / 100 if encoding == "inverse" else 10 * np.exp(raw)


def predicted(rng: np.random.Generator, encoding: str) -> np.ndarray:
    """Raw output for depths of 2 to 79 metres, ``(2, H, W)``."""
    return encoded(rng.uniform(2, 79, (2, *SIZE)), encoding)


def depth_loss(task: DepthTask, raw: np.ndarray, metres: np.ndarray) -> float:
    return task.loss(torch.from_numpy(raw)[:, None], torch.from_numpy(metres)[:, None]).item()


@pytest.mark.parametrize("paper_compatible", [False, True])
@pytest.mark.parametrize("encoding", ["inverse", "log"])
@pytest.mark.parametrize("which", KNOWN)
def test_depth_berhu(rng, which, encoding, paper_compatible):
    metres, known = depths(rng, which)
    raw = predicted(rng, encoding)
    error = np.where(known, np.abs(raw - encoded(metres, encoding)), 0)  # the sky counts, as in the paper
    c = max(0.2 * error.max(), 1e-6)
    expected = mean(np.where(error <= c, error, (error**2 + c**2) / (2 * c)), known)
    if paper_compatible:  # unknown pixels count as if they were right
        expected *= known.mean()
    task = DepthTask(encoding=encoding, paper_compatible=paper_compatible)
    assert depth_loss(task, raw, metres) == pytest.approx(expected, rel=1e-9)
    assert which == "none known" or (error[known] > c).any()


@pytest.mark.parametrize("encoding", ["inverse", "log"])
@pytest.mark.parametrize("which", KNOWN)
def test_depth_l1_and_silog_do_not_see_past_their_range(rng, which, encoding):
    metres, known = depths(rng, which)
    raw = predicted(rng, encoding)
    known = known & (metres <= 80)
    z = decoded(raw, encoding)
    l1 = mean(np.abs(z - metres), known)
    assert depth_loss(DepthTask(encoding=encoding, criterion="l1"), raw, metres) == pytest.approx(l1, rel=1e-9)
    with np.errstate(invalid="ignore"):
        d = np.log(z) - np.log(metres)
    silog = 10 * np.sqrt(mean(d**2, known) - 0.85 * mean(d, known) ** 2 + 1e-8) if known.any() else 0.0
    assert depth_loss(DepthTask(encoding=encoding, criterion="silog"), raw, metres) == pytest.approx(silog, rel=1e-9)
