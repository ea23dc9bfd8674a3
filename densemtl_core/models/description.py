"""``model.json``: what it takes to build a network again, beside the weights in ``model.safetensors``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import safetensors.torch
from torch import Tensor

from densemtl_core.errors import InputError
from densemtl_core.models.densemtl import DenseMTL
from densemtl_core.models.zoo import build_model
from densemtl_core.tasks import Task, from_config

__all__ = ["ModelDescription"]

FORMAT = 1


@dataclass(frozen=True)
class ModelDescription:
    """A network without its weights.

    Attributes:
        preset: name in `densemtl_core.models.PRESETS`.
        tasks: in output order.
        input_size: ``(H, W)`` in pixels for which it was trained.
    """

    preset: str
    tasks: tuple[Task, ...]
    input_size: tuple[int, int]

    def to_json(self) -> str:
        """The text of ``model.json``."""
        fields = {
            "format": FORMAT,
            "preset": self.preset,
            "tasks": [task.config() for task in self.tasks],
            "input_size": list(self.input_size),
        }
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, origin: str) -> ModelDescription:
        """Read ``model.json``.

        Args:
            text: of the file.
            origin: where it lies, for messages.

        Raises:
            InputError: not such a file, or an unknown format.
        """
        try:
            fields = json.loads(text)
            if fields["format"] != FORMAT:
                raise InputError(f"{origin}: model.json has format {fields['format']!r}; this package reads {FORMAT}")
            height, width = (int(v) for v in fields["input_size"])
            return cls(str(fields["preset"]), tuple(from_config(t) for t in fields["tasks"]), (height, width))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{origin}: model.json is damaged ({error!r}); save the checkpoint again") from None

    def files(self, model: DenseMTL) -> dict[str, bytes]:
        """The two files from which `from_json` and `build` make a network again, as name to bytes."""
        state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        return {"model.safetensors": safetensors.torch.save(state), "model.json": self.to_json().encode()}

    def build(self, weights: Mapping[str, Tensor] | bytes, origin: str) -> DenseMTL:
        """The network with its weights.

        Args:
            weights: a state dict, or the bytes of a safetensors file.
            origin: where they come from, for messages.

        Raises:
            InputError: not safetensors, or the weights of another network.
        """
        model = build_model(self.preset, self.tasks)
        if isinstance(weights, bytes):
            try:
                weights = safetensors.torch.load(weights)
            except Exception as error:  # the library raises its own type and plain ones; all mean the same here
                raise InputError(f"{origin}: model.safetensors cannot be read ({error}); copy it again") from None
        differing = _differing(model.state_dict(), weights)
        if differing:
            raise InputError(
                f"{origin}: the weights are not those of {self.preset} with tasks "
                f"{', '.join(t.name for t in self.tasks)}: {len(differing)} tensors differ, first {differing[0]!r}"
            )
        model.load_state_dict(dict(weights))
        return model


def _differing(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Sequence[str]:
    names = own.keys() | given.keys()
    return sorted(n for n in names if n not in own or n not in given or own[n].shape != given[n].shape)
