"""What a benchmark measured: for a person as Markdown, for programs as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.comparison import STAGES, Row

__all__ = ["Report", "aligned", "cores_and_threads", "header_lines"]


@dataclass(frozen=True)
class Report:
    """A finished benchmark.

    Attributes:
        rows: the first is what the others are compared with.
        conditions: of `deploy.conditions.conditions`.
        notes: warnings, a line each.
        camera: ``(H, W)`` of the image.
        runs: timed frames of each engine.
        warm_up: frames before.
        command: that repeats it.
    """

    rows: Sequence[Row]
    conditions: Mapping[str, Any]
    notes: Sequence[str]
    camera: tuple[int, int]
    runs: int
    warm_up: int
    command: str

    def markdown(self) -> str:
        """Header, tables, and how to read them."""
        header = [
            *header_lines(self.conditions, self.command),
            f"camera {self.camera[0]}x{self.camera[1]}; {self.runs} frames each, in turns, after {self.warm_up} others",
        ]
        reading = (
            "size: height x width at which the network works; of the first: the time over the first row's of the same "
            "turn, median of the turns; 10-90 %: where 80 % of the turns lie. memory: growth of the resident set at "
            "its peak while loading and computing one frame"
        )
        if any(row.engine.memory_of_library for row in self.rows):
            reading += "; * with the engine's library, which later engines of its kind find loaded"
        warnings = [f"warning: {note}" for note in self.notes]
        return "\n\n".join(["  \n".join(header), *warnings, table(self.rows), reading])

    def data(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "schema": 1,
            "command": self.command,
            "conditions": dict(self.conditions),
            "notes": list(self.notes),
            "camera": list(self.camera),
            "runs": self.runs,
            "warm_up": self.warm_up,
            "reference": self.rows[0].engine.name,
            "unit": "ms",
            "rows": [_fields(row) for row in self.rows],
        }


def header_lines(conditions: Mapping[str, Any], command: str) -> list[str]:
    """When, by which command, and on which machine; ``conditions`` of `deploy.conditions.conditions`."""
    versions = ", ".join(f"{name} {version}" for name, version in conditions["versions"].items())
    load = conditions["load_average"]
    return [
        f"{conditions['date']}: `{command}`",
        f"{conditions['system']}; {versions}",
        f"CPU {conditions['cpu']}; {cores_and_threads(conditions)}; load average {load} before",
    ]


def cores_and_threads(conditions: Mapping[str, Any]) -> str:
    """What engines may use, from `deploy.conditions.conditions`."""
    threads = conditions["threads"] or "each engine's own choice"
    set_here = "".join(f", {name}={value}" for name, value in conditions["environment"].items())
    return f"{conditions['cores']} cores for this process; threads: {threads}{set_here}"


def _fields(row: Row) -> dict[str, Any]:
    engine = row.engine
    return {
        "name": engine.name,
        "backend": engine.backend,
        "device": engine.device,
        "precision": engine.precision,
        "file": engine.file,
        "file_bytes": engine.file_bytes,
        "input_size": list(engine.input_size),
        "memory_mib": engine.memory_mib,
        "memory_of_library": engine.memory_of_library,
        "random_weights": engine.random_weights,
        "stages": {stage: dict(values) for stage, values in row.stages.items()},
        "ratio": {**row.ratio, "of": row.compared},
    }


def table(rows: Sequence[Row]) -> str:
    """Two aligned tables in Markdown: what a person chooses by, and where the time goes."""
    head = (
        "engine",
        "size",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "of the first",
        "10-90 %",
        "file MB",
        "memory MiB",
        "device",
    )
    where = ("p50 / p90 / p99 ms", *STAGES)
    stages = [(row.engine.name, *(_three(row.stages.get(stage, {})) for stage in STAGES)) for row in rows]
    return f"{aligned([head, *map(_summary, rows)])}\n\n{aligned([where, *stages])}"


def _summary(row: Row) -> tuple[str, ...]:
    engine = row.engine
    memory = "-" if engine.memory_mib is None else f"{engine.memory_mib:.0f}{'*' if engine.memory_of_library else ''}"
    return (
        engine.name,
        "x".join(map(str, engine.input_size)),
        *(f"{value:.1f}" for value in row.stages["total"].values()),
        f"{row.ratio['p50']:.2f}{' (infer)' if row.compared == 'infer' else ''}",
        f"{row.ratio['p10']:.2f}-{row.ratio['p90']:.2f}",
        f"{engine.file_bytes / 1e6:.1f}",
        memory,
        engine.device,
    )


def _three(values: Mapping[str, float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values.values()) or "-"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its heading first, whose columns stand below one another as plain text too."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], ruler, *padded[1:]])
