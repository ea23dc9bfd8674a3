"""Pretrained encoders and other runs as a start."""

from __future__ import annotations

import logging

import pytest
import safetensors.torch
import torch

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint, save_checkpoint
from densemtl_core.models import ModelDescription, build_model
from densemtl_core.runtime import default_bundle
from densemtl_core.tasks import make_tasks
from training import starting_weights
from training.settings import read_settings
from training.starting_weights import load_encoder, start_from


def test_an_encoder_from_a_file(tmp_path):
    torch.manual_seed(0)
    source, model = (build_model("densemtl_edge_s", ("depth",)) for _ in range(2))
    state = source.encoder.backbone.body.state_dict()
    safetensors.torch.save_file(state, tmp_path / "encoder.safetensors")
    torch.save(state, tmp_path / "encoder.pth")
    for name in ("encoder.safetensors", "encoder.pth"):
        load_encoder(model, str(tmp_path / name))
        taken = model.encoder.backbone.body.state_dict()
        assert all(torch.equal(taken[k], v) for k, v in state.items() if v.is_floating_point())


def test_no_hub_is_one_loud_line_and_a_random_start(monkeypatch, caplog):
    monkeypatch.setattr(starting_weights, "_resolves", lambda address: False)
    monkeypatch.setenv("HF_HUB_CACHE", "/nonexistent")
    model = build_model("densemtl_edge_s", ("depth",))
    before = {k: v.clone() for k, v in model.state_dict().items()}

    def nothing(name, pretrained):
        assert starting_weights.hub.constants.HF_HUB_OFFLINE, "it must not wait for a hub that cannot be reached"
        raise OSError("no file\nand a long story")

    monkeypatch.setattr(starting_weights.timm, "create_model", nothing)
    offline = starting_weights.hub.constants.HF_HUB_OFFLINE
    with caplog.at_level(logging.WARNING):
        load_encoder(model, "timm")
    assert offline == starting_weights.hub.constants.HF_HUB_OFFLINE
    (record,) = caplog.records
    assert "RANDOM weights" in record.getMessage()
    assert "encoder_weights=FILE" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_weights_by_name_are_taken(monkeypatch):
    model, other = (build_model("densemtl_edge_s", ("depth",)) for _ in range(2))
    monkeypatch.setattr(starting_weights, "_resolves", lambda address: True)
    monkeypatch.setattr(starting_weights.timm, "create_model", lambda name, pretrained: other.encoder.backbone.body)
    load_encoder(model, "timm")
    own, given = model.encoder.backbone.body.state_dict(), other.encoder.backbone.body.state_dict()
    assert all(torch.equal(own[k], v) for k, v in given.items())


def test_another_run_gives_what_fits(tmp_path, caplog):
    torch.manual_seed(0)
    old = make_tasks(["semantic", "depth"], num_classes=5)
    source = build_model("densemtl_edge_s", old)
    save_checkpoint(tmp_path, source, ModelDescription("densemtl_edge_s", old, (64, 96)))
    model = build_model("densemtl_edge_s", make_tasks(["semantic"], num_classes=7))
    head = model.decoders["semantic"].final_head.weight.clone()
    with caplog.at_level(logging.INFO):
        start_from(model, str(tmp_path))
    assert torch.equal(model.encoder.lateral8[0].weight, source.encoder.lateral8[0].weight)
    assert torch.equal(model.decoders["semantic"].final_head.weight, head), "five classes do not fit seven"
    assert "decoders.semantic.final_head" in caplog.text


def test_a_run_of_another_architecture_is_refused(tmp_path):
    tasks = make_tasks(["depth"])
    save_checkpoint(tmp_path, build_model("densemtl_r18", tasks), ModelDescription("densemtl_r18", tasks, (64, 96)))
    with pytest.raises(InputError, match="nothing of its encoder fits"):
        start_from(build_model("densemtl_edge_s", tasks), str(tmp_path))


def test_no_run_there(tmp_path):
    with pytest.raises(InputError, match=r"has no model\.json"):
        start_from(build_model("densemtl_edge_s", ("depth",)), str(tmp_path))


def test_another_camera_rule_is_told(tmp_path, caplog):
    old = make_tasks([{"kind": "depth", "canonical_focal": 180.0}])
    save_checkpoint(tmp_path, build_model("densemtl_edge_s", old), ModelDescription("densemtl_edge_s", old, (64, 96)))
    new = make_tasks(["depth"])
    model = build_model("densemtl_edge_s", new)
    start_from(model, str(tmp_path), old)
    assert "camera rule" not in caplog.text
    start_from(model, str(tmp_path), new)
    assert "learnt depth with the camera rule {'focal': 180.0" in caplog.text


def test_adapting_to_footage_keeps_the_camera_rule_of_what_ships():
    _, description = load_checkpoint(default_bundle())
    shipped = {task.name: task.camera_rule() for task in description.tasks}
    for name in ("sim_to_footage", "street_to_camvid"):
        tasks = read_settings(f"training/configs/{name}.yaml", []).made_tasks()
        assert {task.name: task.camera_rule() for task in tasks} == shipped, name
