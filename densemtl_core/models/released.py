"""The authors' released weights: their names become ours.

The released state dicts (S-D and S-D-N on ResNet-101) hold ``backbone.encoder.*``, ``heads.T.decoder.N.*`` and
``m.T.1.*`` (the exchange of target T), each also a second time as ``params.T.*``. Only names and shapes are used here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from densemtl_core.errors import InputError
from densemtl_core.models.densemtl import DenseMTL

__all__ = ["RELEASED_TASKS", "from_released", "load_released"]

RELEASED_TASKS = {"semseg": "semantic", "depth": "depth", "normals": "normals", "edge": "edges"}
"""The release's task names and ours."""

# heads.T.decoder.N: the release numbers its layers in the order in which they run.
_DECODER = {
    "0.project": "squeeze.4.project.0",
    "2.block.0": "merge.4",
    "3.block.0": "squeeze.3",
    "5.block.0": "merge.3",
    "6.block.0": "squeeze.2",
    "8.block.0": "merge.2",
    "9.block.0": "squeeze.1",
    "11.block.0": "merge.1",
    "12.block.0": "squeeze.0",
    "13.block.0": "merge.0",
    "14": "final_head",
    "15": "initial_head",
}
_ATTENTION = {"conv_b": "query", "conv_c": "key", "conv_d": "value"}


def from_released(
    state: Mapping[str, Tensor], source_order: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Tensor]:
    """Translate a released state dict.

    Args:
        state: the authors' names and tensors.
        source_order: for each target, in the release's task names, the order in which its fusion convolution
            concatenates its sources. The release takes that order from a hashed set, so with three tasks or more it
            varied from process to process and is not recorded in the file; alphabetical when not given.

    Returns:
        The same tensors under the names of the preset ``densemtl_r101``.

    Raises:
        InputError: a key that is not of the release.
    """
    tasks = {k.split(".")[1] for k in state if k.startswith("heads.")}
    translated: dict[str, Tensor] = {}
    gates: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith("params."):
            continue  # the same tensors once more
        if key.startswith("backbone.encoder."):
            translated["encoder.body." + key.removeprefix("backbone.encoder.")] = value
        elif key.startswith("heads."):
            translated[_decoder_key(key)] = value
        elif match := re.fullmatch(r"m\.(\w+)\.1\.SA_(\w+)\.(attention\.0|conv)\.weight", key):
            target, source, part = match.groups()
            gates.setdefault(_direction(target, source) + "gate.weight", {})[part] = value
        elif match := re.fullmatch(r"m\.(\w+)\.1\.post\.(.+)", key):
            target, rest = match.groups()
            if rest == "0.weight":
                value = _alphabetical(value, target, tasks, source_order)
            translated[f"exchange.fusion.{RELEASED_TASKS[target]}.{rest}"] = value
        else:
            translated[_exchange_key(key)] = value
    for key, parts in gates.items():
        translated[key] = torch.cat([parts["attention.0"], parts["conv"]])
    return translated


def load_released(
    model: DenseMTL, state: Mapping[str, Tensor], source_order: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Load the authors' weights into ``build_model("densemtl_r101", ...)`` of the same tasks and classes.

    Args:
        model: of preset ``densemtl_r101``.
        state: the released state dict (read it with ``torch.load(path, weights_only=True)``).
        source_order: see `from_released`.

    Raises:
        InputError: other tasks, other classes, or not a released state dict.
    """
    translated = from_released(state, source_order)
    own = model.state_dict()
    missing, unknown = sorted(set(own) - set(translated)), sorted(set(translated) - set(own))
    wrong = [k for k in translated if k in own and own[k].shape != translated[k].shape]
    for keys, what in ((missing, "lack"), (unknown, "have more than"), (wrong, "differ in shape from")):
        if keys:
            raise InputError(
                f"released weights {what} this network: {len(keys)} tensors, first {keys[0]!r}; "
                f"the network's tasks are {', '.join(model.tasks)}"
            )
    model.load_state_dict(translated)


def _decoder_key(key: str) -> str:
    match = re.fullmatch(r"heads\.(\w+)\.decoder\.(.+)", key)
    if match and match[1] in RELEASED_TASKS:
        task, rest = RELEASED_TASKS[match[1]], match[2]
        if pyramid := re.fullmatch(r"0\.convs\.(\d)\.(.+)", rest):
            branch, tail = int(pyramid[1]), pyramid[2]
            if branch < 4:
                return f"decoders.{task}.squeeze.4.branches.{branch}.{tail}"
            index, name = tail.split(".", 1)  # the pooling itself is number 0 there
            return f"decoders.{task}.squeeze.4.pooled.{int(index) - 1}.{name}"
        for theirs, ours in _DECODER.items():
            if rest.startswith(theirs + "."):
                return f"decoders.{task}.{ours}.{rest.removeprefix(theirs + '.')}"
    raise InputError(f"not a key of the released weights: {key!r}")


def _exchange_key(key: str) -> str:
    match = re.fullmatch(r"m\.(\w+)\.1\.(extract|SxTAM|proj)_(\w+?)\.(.+)", key)
    if match and {match[1], match[3]} <= set(RELEASED_TASKS):
        target, part, source, rest = match.groups()
        start = _direction(target, source)
        if part == "extract":
            return f"{start}extract.{rest}"
        if part == "proj":
            return f"{start}merge.{rest}"
        if rest == "alpha":
            return f"{start}alpha"
        name, tail = rest.split(".", 1)
        if name in _ATTENTION:
            return f"{start}{_ATTENTION[name]}.{tail}"
    raise InputError(f"not a key of the released weights: {key!r}")


def _direction(target: str, source: str) -> str:
    if not {target, source} <= set(RELEASED_TASKS):
        raise InputError(f"released weights name an unknown task: {target!r} or {source!r}")
    return f"exchange.directions.{RELEASED_TASKS[target]}.{RELEASED_TASKS[source]}."


def _alphabetical(
    weight: Tensor, target: str, tasks: set[str], source_order: Mapping[str, Sequence[str]] | None
) -> Tensor:
    """Permute a fusion convolution's input channels from the release's source order to ours."""
    ours = sorted((t for t in tasks if t != target), key=lambda t: RELEASED_TASKS[t])
    theirs = list(source_order[target]) if source_order else ours
    if sorted(theirs) != sorted(ours):
        raise InputError(f"source_order[{target!r}] is {theirs}; it must hold exactly {', '.join(ours)}")
    blocks = dict(zip(theirs, weight.chunk(len(theirs), dim=1), strict=True))
    return torch.cat([blocks[t] for t in ours], dim=1)
