"""Class lists: ids, subsets, look-up."""

from __future__ import annotations

import pytest

from densemtl_core.data.class_lists import CITYSCAPES_16, CITYSCAPES_19, CLASS_LISTS, ClassList, class_list


def test_cityscapes_train_ids() -> None:
    assert len(CITYSCAPES_19) == 19
    assert [CITYSCAPES_19.id(n) for n in ("road", "sky", "person", "car", "bicycle")] == [0, 10, 11, 13, 18]


def test_a_subset_keeps_order_and_colours() -> None:
    assert len(CITYSCAPES_16) == 16
    assert not {"terrain", "truck", "train"} & set(CITYSCAPES_16.classes)
    for name in CITYSCAPES_16.classes:
        assert CITYSCAPES_16.palette[CITYSCAPES_16.id(name)] == CITYSCAPES_19.palette[CITYSCAPES_19.id(name)]
    ids = [CITYSCAPES_19.id(n) for n in CITYSCAPES_16.classes]
    assert ids == sorted(ids)


@pytest.mark.parametrize("name", sorted(CLASS_LISTS))
def test_every_list_is_found_by_its_name_and_its_colours_differ(name: str) -> None:
    found = class_list(name)
    assert found.name == name
    assert len(set(found.palette)) == len(found)


def test_an_unknown_list_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="cityscapes19"):
        class_list("cityscape")


@pytest.mark.parametrize(("classes", "palette"), [(("a", "b"), ((0, 0, 0),)), (("a", "a"), ((0, 0, 0), (1, 1, 1)))])
def test_an_inconsistent_list_is_refused(classes: tuple[str, ...], palette: tuple[tuple[int, int, int], ...]) -> None:
    with pytest.raises(ValueError, match="class list 'x'"):
        ClassList("x", classes, palette)
