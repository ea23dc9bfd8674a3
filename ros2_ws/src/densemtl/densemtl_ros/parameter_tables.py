"""Writes the documentation's tables of the parameters that are fixed when their node starts.

``python -m densemtl_ros.parameter_tables replay|viewer``; those of perception are in `densemtl_ros.parameters`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping

from densemtl_ros.parameters import Declaration
from densemtl_ros.replay_parameters import REPLAY_PARAMETERS
from densemtl_ros.viewer_parameters import VIEWER_PARAMETERS

__all__ = ["TABLES", "as_markdown"]

TABLES: Mapping[str, tuple[Declaration, ...]] = {"replay": REPLAY_PARAMETERS, "viewer": VIEWER_PARAMETERS}
"""Parameters by node."""


def as_markdown(declarations: Iterable[Declaration]) -> str:
    """Write one table."""
    lines = ["| parameter | type | default | allowed | what it does |", "|---|---|---|---|---|"]
    for declaration in declarations:
        cells = [
            f"`{declaration.name}`",
            declaration.type.__name__,
            f"`{json.dumps(declaration.default)}`",
            declaration.constraint,
            declaration.text,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TABLES:
        sys.exit(f"usage: python -m densemtl_ros.parameter_tables {'|'.join(TABLES)}")
    sys.stdout.write(as_markdown(TABLES[sys.argv[1]]))
