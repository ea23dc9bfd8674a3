"""Every class list and every dataset's table: checked against the published ids, written out here once more."""

from __future__ import annotations

import numpy as np
import pytest

from densemtl_core.data import camvid, cityscapes, nyudv2, synthia, vkitti2
from densemtl_core.data.class_lists import (
    CITYSCAPES_16,
    CITYSCAPES_19,
    CLASS_LISTS,
    VKITTI_8_IDS,
    NativeClasses,
    class_list,
)
from densemtl_core.errors import InputError

TABLES = {
    "vkitti2": vkitti2.CLASSES,
    "synthia": synthia.CLASSES,
    "cityscapes": cityscapes.CLASSES,
    "train ids": cityscapes.TRAIN_IDS,
    "nyudv2": nyudv2.CLASSES,
    "camvid": camvid.CLASSES,
    "ids of the 8-list": VKITTI_8_IDS,
}


def ids(table: NativeClasses, name: str) -> dict[int, int]:
    """Native id to list id, void left out."""
    natives = sorted(table.names)
    mapped = table.to(name)(np.array([natives]), "here")[0].tolist()
    return {n: m for n, m in zip(natives, mapped, strict=True) if m != 255}


def test_the_lists_have_the_promised_lengths():
    assert sorted(len(c) for c in CLASS_LISTS.values()) == [7, 7, 8, 11, 13, 14, 16, 19, 40]
    assert class_list("cityscapes13").classes == tuple(
        c for c in CITYSCAPES_16.classes if c not in ("wall", "fence", "pole")
    )


def test_synthia_16():
    raw = (3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11)
    assert ids(synthia.CLASSES, "cityscapes16") == dict(zip(raw, range(16), strict=True))


def test_cityscapes_16_19_and_8():
    raw = (7, 8, 11, 12, 13, 17, 19, 20, 21, 23, 24, 25, 26, 28, 32, 33)
    assert ids(cityscapes.CLASSES, "cityscapes16") == dict(zip(raw, range(16), strict=True))
    raw19 = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    assert ids(cityscapes.CLASSES, "cityscapes19") == dict(zip(raw19, range(19), strict=True))
    assert ids(cityscapes.CLASSES, "vkitti8") == {7: 0, 11: 1, 17: 2, 19: 3, 20: 4, 21: 5, 23: 6, 26: 7, 28: 7}


def test_cityscapes_7():
    named = {n: i for i, n in cityscapes.CLASSES.names.items()}
    groups = {
        "flat": ("road", "sidewalk"),
        "construction": ("building", "fence"),
        "object": ("pole", "traffic light", "traffic sign"),
        "nature": ("vegetation",),
        "sky": ("sky",),
        "human": ("person",),
        "vehicle": ("car", "bicycle"),
    }
    expected = {named[n]: k for k, names in enumerate(groups.values()) for n in names}
    assert class_list("cityscapes7").classes == tuple(groups)
    assert ids(cityscapes.CLASSES, "cityscapes7") == expected


def test_vkitti_8_and_14():
    def code(r, g, b):
        return r << 16 | g << 8 | b

    assert ids(vkitti2.CLASSES, "vkitti14")[code(250, 100, 255)] == 6
    assert len(ids(vkitti2.CLASSES, "vkitti14")) == 14
    assert ids(vkitti2.CLASSES, "vkitti8") == {
        code(100, 60, 100): 0,  # road
        code(140, 140, 140): 1,  # building
        code(255, 130, 0): 2,  # pole
        code(200, 200, 0): 3,  # traffic light
        code(255, 255, 0): 4,  # traffic sign
        code(0, 199, 0): 5,  # tree
        code(90, 240, 0): 5,  # vegetation
        code(90, 200, 255): 6,  # sky
        code(160, 60, 60): 7,  # truck
        code(255, 127, 80): 7,  # car
        code(0, 139, 139): 7,  # van
    }


STREET_7 = {
    "road": {"camvid": "road", "cityscapes": "road", "vkitti2": "road"},
    "building": {"camvid": "building", "cityscapes": "building", "vkitti2": "building"},
    "pole": {"camvid": "pole", "cityscapes": "pole", "vkitti2": "pole"},
    "traffic sign": {
        "camvid": "sign symbol",
        "cityscapes": ("traffic sign", "traffic light"),
        "vkitti2": ("traffic sign", "traffic light"),
    },
    "vegetation": {"camvid": "tree", "cityscapes": "vegetation", "vkitti2": ("tree", "vegetation")},
    "sky": {"camvid": "sky", "cityscapes": "sky", "vkitti2": "sky"},
    "vehicle": {"camvid": "car", "cityscapes": ("car", "bus"), "vkitti2": ("car", "truck", "van")},
}
"""The table of docs/datasets.md; a class that is not in it is left out."""


@pytest.mark.parametrize("table", ["camvid", "cityscapes", "train ids", "vkitti2"])
def test_street_7(table):
    assert class_list("street7").classes == tuple(STREET_7)
    native = TABLES[table]
    expected = {}
    for k, names in enumerate(STREET_7.values()):
        of_this = names["cityscapes" if table == "train ids" else table]
        expected |= dict.fromkeys((of_this,) if isinstance(of_this, str) else of_this, k)
    assert {native.names[i]: k for i, k in ids(native, "street7").items()} == expected


@pytest.mark.parametrize("table", ["cityscapes", "train ids", "vkitti2"])
def test_street_7_is_the_8_list_with_sign_and_light_as_one(table):
    eight, seven = ids(TABLES[table], "vkitti8"), ids(TABLES[table], "street7")
    assert eight.keys() == seven.keys()
    through_eight = ids(VKITTI_8_IDS, "street7")
    assert through_eight == {0: 0, 1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 5, 7: 6}
    assert {i: through_eight[k] for i, k in eight.items()} == seven


def test_camvid_cannot_tell_a_sign_from_a_light():
    with pytest.raises(InputError, match="CamVid has no labels in class list 'vkitti8'"):
        camvid.CLASSES.to("vkitti8")


def test_nyud_and_camvid_and_train_ids():
    assert ids(nyudv2.CLASSES, "nyud40") == {k + 1: k for k in range(40)}
    assert ids(camvid.CLASSES, "camvid11") == {k: k for k in range(11)}
    assert ids(cityscapes.TRAIN_IDS, "cityscapes19") == {k: k for k in range(19)}
    named = {
        CITYSCAPES_19.classes[k]: class_list("camvid11").classes[v]
        for k, v in ids(cityscapes.TRAIN_IDS, "camvid11").items()
    }
    assert named["rider"] == named["bicycle"] == "bicyclist"
    assert named["sidewalk"] == "pavement"


@pytest.mark.parametrize("table", TABLES)
def test_a_name_that_is_in_both_lists_is_kept(table):
    """A class that the target list knows by the same name is never mapped to another one."""
    native = TABLES[table]
    for name in native.lists:
        classes = class_list(name).classes
        for i, target in ids(native, name).items():
            if native.names[i] in classes:
                assert classes[target] == native.names[i]


def test_wrong_ids_are_refused_or_ignored_as_asked():
    label = np.zeros((3, 4), np.uint8)
    label[1, 2] = 99
    with pytest.raises(InputError, match=r"a\.png: class id 99 at pixel x=2, y=1 is no class of Cityscapes"):
        cityscapes.CLASSES.to("cityscapes19")(label, "a.png")
    assert cityscapes.CLASSES.to("cityscapes19", strict=False)(label, "a.png").unique().tolist() == [255]


def test_an_unsupported_list_names_those_supported():
    with pytest.raises(InputError, match=r"NYUDv2 has no labels in class list 'cityscapes19'; use one of nyud40"):
        nyudv2.CLASSES.to("cityscapes19")


def test_a_table_with_a_misspelt_name_is_refused():
    with pytest.raises(ValueError, match="'rode'"):
        NativeClasses("X", {0: "road"}, {"cityscapes19": {"road": "rode"}})
