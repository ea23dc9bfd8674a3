"""What a network starts from: a pretrained encoder, or another run."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import huggingface_hub as hub
import safetensors.torch
import timm
import torch
from torch import Tensor

from densemtl_core.errors import InputError
from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.models import DenseMTL
from densemtl_core.models.encoder import Encoder
from densemtl_core.runtime import default_bundle
from densemtl_core.tasks import Task

__all__ = ["load_encoder", "load_pretrained", "start_folder", "start_from"]

log = logging.getLogger("densemtl.train")


class HasBackbone(Protocol):
    """What pretrained weights can be loaded into."""

    def load_backbone(self, state: dict[str, Tensor], origin: str) -> None:
        """Take over weights, or refuse those of another architecture."""


def load_encoder(model: DenseMTL, weights: str) -> None:
    """Fill the encoder with pretrained weights; see `load_pretrained`."""
    encoder = getattr(model.encoder, "backbone", model.encoder)
    assert isinstance(encoder, Encoder)  # noqa: S101  (every preset's encoder is one or holds one)
    load_pretrained(encoder, encoder.name, weights, "encoder")


def load_pretrained(into: HasBackbone, architecture: str, weights: str, what: str) -> None:
    """Fill a backbone with pretrained weights.

    Args:
        into: the module.
        architecture: timm's name of its backbone.
        weights: ``timm`` asks timm's hub by that name; anything else is a file.
        what: its name in messages.

    Raises:
        InputError: no such file, no weights in it, or weights of another architecture.
    """
    if weights == "timm":
        state = _from_hub(architecture, what)
        if state is not None:
            into.load_backbone(state, f"timm's {architecture}")
        return
    file = Path(weights)
    if not file.is_file():
        raise InputError(f"{what} weights not found: {file}; leave {what}_weights out to start from random weights")
    try:
        state = (
            safetensors.torch.load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except Exception:  # torch and safetensors raise many types, with advice that is not ours to give
        raise InputError(f"{what} weights {file}: no state dict (.pth of tensors only, or .safetensors)") from None
    into.load_backbone(state, str(file))


def _from_hub(name: str, what: str) -> dict[str, Tensor] | None:
    try:
        # Offline the hub's client retries for most of a minute, then looks into its cache: go there at once.
        with _quiet_hub(offline=not _resolves(hub.constants.ENDPOINT)):
            return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:  # offline, no such weights, a hub that refuses: each raises its own type
        log.warning(
            "%s starts from RANDOM weights: timm's hub gave none for %s (%s); give %s_weights=FILE",
            what,
            name,
            type(error).__name__,
            what,
        )
        return None


def _resolves(address: str) -> bool:
    try:
        return bool(socket.getaddrinfo(urlsplit(address).hostname, 443))
    except OSError:
        return False


@contextlib.contextmanager
def _quiet_hub(offline: bool) -> Iterator[None]:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level, hub.constants.HF_HUB_OFFLINE
    logger.setLevel(logging.CRITICAL)
    hub.constants.HF_HUB_OFFLINE = offline or before[1]
    try:
        yield
    finally:
        logger.setLevel(before[0])
        hub.constants.HF_HUB_OFFLINE = before[1]


def start_folder(start: str) -> Path:
    """The folder that a ``start`` names: ``shipped`` is the bundle that comes with the package."""
    return default_bundle() if start == "shipped" else Path(start)


def start_from(model: DenseMTL, start: str, tasks: Sequence[Task] = ()) -> None:
    """Take over the weights of another run's network wherever name and shape agree.

    Args:
        model: changed.
        start: a run folder, a bundle, or ``shipped``.
        tasks: of `model`; a warning tells where what was learnt would mean something else now.

    Heads of other class lists, tasks that it did not have: these start at random, and the log says how many.

    Raises:
        InputError: no checkpoint there, or nothing in it fits.
    """
    folder = start_folder(start)
    other, description = load_checkpoint(folder)
    own, given = model.state_dict(), other.state_dict()
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    learned = [name for name in own if not name.endswith("num_batches_tracked")]
    taken = [name for name in learned if name in fitting]
    # Without the encoder a few biases may still fit by chance: that is no start.
    if not any(name.startswith("encoder.") for name in taken):
        raise InputError(f"start={folder} is a {description.preset}: nothing of its encoder fits this network")
    model.load_state_dict(fitting, strict=False)
    before = {task.name: task.camera_rule() for task in description.tasks}
    for task in tasks:
        if before.get(task.name, task.camera_rule()) != task.camera_rule():
            log.warning(
                "%s learnt %s with the camera rule %s, here it has %s: its values mean something else",
                folder, task.name, before[task.name] or "none", task.camera_rule() or "none",
            )  # fmt: skip
    rest = sorted({name.rsplit(".", 1)[0] for name in learned if name not in fitting})
    log.info(
        "started from %s: %d of %d tensors%s",
        folder,
        len(taken),
        len(learned),
        f"; at random: {', '.join(rest[:4])}{' ...' if len(rest) > 4 else ''}" if rest else "",
    )
