"""What is cut out and pasted: whole classes, half of them, and never what has no class."""

from __future__ import annotations

import pytest
import torch

from densemtl_core.learning.class_mix import class_mask, paste


def random_ids(seed: int, classes: int = 7, batch: int = 3) -> torch.Tensor:
    """With unlabelled pixels."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, classes, (batch, 12, 16), generator=g)
    return torch.where(torch.rand(ids.shape, generator=g) < 0.2, 255, ids)


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_unions_of_half_the_classes(seed):
    torch.manual_seed(seed)
    ids = random_ids(seed)
    mask = class_mask(ids)
    assert mask.shape == (3, 1, 12, 16)
    assert mask.dtype == torch.bool
    for image, cut in zip(ids, mask[:, 0], strict=True):
        present = set(image.unique().tolist())
        inside, outside = set(image[cut].tolist()), set(image[~cut].tolist())
        assert not inside & outside, "a class is in the mask wholly or not at all"
        assert 255 in outside
        assert len(inside) == (len(present - {255}) + 1) // 2


def test_every_image_and_every_call_draws_its_own():
    torch.manual_seed(0)
    ids = random_ids(0, batch=1).repeat(6, 1, 1)
    masks = class_mask(ids)
    assert len({tuple(m.flatten().tolist()) for m in masks}) > 1
    assert not torch.equal(class_mask(ids), masks)


def test_the_draw_is_the_global_generators():
    ids = random_ids(1)
    torch.manual_seed(3)
    first = class_mask(ids)
    torch.manual_seed(3)
    assert torch.equal(class_mask(ids), first)


def test_every_class_has_its_turn():
    torch.manual_seed(0)
    ids = torch.arange(4).view(1, 2, 2)
    counts = torch.stack([class_mask(ids)[0, 0] for _ in range(200)]).float().mean(0)
    assert ((counts - 0.5).abs() < 0.15).all(), "two of four, each as often as the others"


@pytest.mark.parametrize(("ids", "cut"), [([[255, 255]], [[False, False]]), ([[3, 255]], [[True, False]])])
def test_few_classes(ids, cut):
    assert class_mask(torch.tensor([ids]))[0, 0].tolist() == cut


def test_paste_by_hand():
    mask = torch.tensor([[[[True, False], [False, True]]]])
    image, other = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    assert paste(mask, image, other)[0].tolist() == [[[1, 0], [0, 1]]] * 3
    ids = paste(mask, torch.tensor([[[5, 6], [7, 8]]]), torch.tensor([[[1, 2], [3, 4]]]))
    assert ids.tolist() == [[[5, 2], [3, 8]]]


def test_paste_keeps_nan_where_it_belongs():
    mask = torch.tensor([[[[True, False]]]])
    nan = torch.full((1, 3, 1, 2), torch.nan)
    assert not paste(mask, torch.zeros(1, 3, 1, 2), nan)[..., 0].isnan().any()
    assert paste(mask, torch.zeros(1, 3, 1, 2), nan)[..., 1].isnan().all()


def test_paste_hands_gradients_to_each_side_alone():
    mask = torch.tensor([[[[True, False]]]])
    one, other = (torch.zeros(1, 1, 1, 2, requires_grad=True) for _ in range(2))
    paste(mask, one, other).sum().backward()
    assert one.grad.flatten().tolist() == [1, 0]
    assert other.grad.flatten().tolist() == [0, 1]
