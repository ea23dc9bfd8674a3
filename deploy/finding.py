"""What a probe of the doctor found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """What a probe found.

    Attributes:
        name: of what was looked for.
        state: ``ok``; ``absent``: not there; ``broken``: there, and of no use as it is; ``no GPU``: there, and nothing
            can be said of it on a machine without the GPU that it is for.
        detail: one line for a person.
        remedy: the command or step that mends it, empty where nothing does or nothing has to.
        facts: what other parts reason with: versions, the GPU's name, ....
    """

    name: str
    state: str
    detail: str
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it can be used."""
        return self.state == "ok"
