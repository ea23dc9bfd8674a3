"""Values that no run can use are refused before anything is read or written."""

from __future__ import annotations

import pytest

from densemtl_core.errors import InputError
from training.checks import check_settings
from training.settings import SelfSupervision, Settings


def settings(**changes) -> Settings:
    made = Settings(preset="densemtl_edge_s")
    for key, value in changes.items():
        place = made
        *path, name = key.split("__")
        for part in path:
            place = getattr(place, part)
        setattr(place, name, value)
    return made


def test_the_defaults_pass():
    check_settings(settings())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "8-bit"}, "precision is 8-bit"),
        ({"nodes": 0}, "nodes is 0"),
        ({"devices": 0}, "devices is 0"),
        ({"run__batch": 0}, "run.batch is 0; it must be at least 1"),
        ({"run__seed": -5}, "run.seed is -5"),
        ({"run__average": 1.0}, "run.average is 1.0"),
        ({"run__keep": 0}, "run.keep is 0"),
        ({"run__validate_every": -1}, "run.validate_every is -1"),
        ({"optimisation__optimiser": "lion"}, "one of adamw, adam, sgd"),
        ({"optimisation__lr": float("inf")}, "optimisation.lr is inf"),
        ({"optimisation__lr": float("nan")}, "optimisation.lr is nan"),
        ({"optimisation__clip": -1.0}, "optimisation.clip is -1.0"),
        ({"optimisation__betas": [0.9]}, "two numbers"),
        ({"optimisation__betas": [2.0, 3.0]}, "two numbers"),
        ({"optimisation__warmup": float("nan")}, "optimisation.warmup is nan"),
        ({"optimisation__step_at": -1.0}, "optimisation.step_at is -1.0"),
        ({"optimisation__weight_decay": -1.0}, "optimisation.weight_decay is -1.0"),
        ({"preset": "densemtl_edge_z"}, "did you mean 'densemtl_edge_s'"),
        ({"class_list": "cityscapes18"}, "cityscapes18"),
        ({"tasks": [{"kind": "depth", "encodng": "log"}]}, "did you mean 'encoding'"),
        ({"tasks": [{"kind": "depth", "encoding": "lgo"}]}, "^task 'depth': encoding is 'lgo'"),
        ({"tasks": [{"knd": "depth"}]}, "has no kind"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        check_settings(settings(**changes))


def test_a_fused_update_cannot_clip_scaled_gradients():
    changes = {"precision": "16-mixed", "optimisation__fused": True}
    with pytest.raises(InputError, match=r"optimisation\.fused is True; it must be false with precision 16-mixed"):
        check_settings(settings(**changes))
    check_settings(settings(**changes, optimisation__clip=0.0))
    check_settings(settings(precision="bf16-mixed", optimisation__fused=True))


def test_a_task_that_nothing_teaches_is_refused():
    camvid = {"data__dataset": "camvid", "class_list": "camvid11", "tasks": ["semantic", "depth"]}
    with pytest.raises(InputError, match="tasks has depth, but camvid has labels of semantic, edges"):
        check_settings(settings(**camvid))
    check_settings(settings(**camvid, start="runs/one_that_knows_depth"))
    check_settings(settings(data__dataset="video", tasks=["depth"], self_supervised=SelfSupervision()))
