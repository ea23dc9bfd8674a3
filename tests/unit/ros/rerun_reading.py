"""Reads recordings of rerun back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from rerun.chunk import RrdReader


def rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What a file holds: by entity, a dictionary a row, in the order of their stamps; what is static comes first.

    Components are by name without the archetype, a single value instead of a list of one; ``stamp`` in nanoseconds.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for chunk in RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        columns = {
            name.rpartition(":")[2]: (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        values = {name: column.to_pylist() for name, column in columns.items()}
        for number in range(batch.num_rows):
            row = {name: column[number] for name, column in values.items()}
            single = {name: v[0] if isinstance(v, list) and len(v) == 1 else v for name, v in row.items()}
            found.setdefault(chunk.entity_path, []).append(single)
    for entity in found.values():
        entity.sort(key=lambda row: (row.get("stamp", -1), row["rerun.controls.RowId"]))
    return found
