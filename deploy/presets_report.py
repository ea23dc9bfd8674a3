"""The presets in one table: what each costs, how long a frame takes, how accurate it is, and which ones to consider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from densemtl_core.models import PRESETS
from densemtl_core.render import Picture
from deploy.benchmark_report import aligned, header_lines
from deploy.gate_table import UNITS
from deploy.presets import ENGINES, LEAST_TURNS, EngineTimes, PresetTimes, Timing
from deploy.presets_accuracy import Accuracies, Accuracy, Score
from deploy.presets_cost import COUNTED_AT
from deploy.presets_pareto import beaten_by
from deploy.presets_plot import Panel, Point, draw

__all__ = ["PresetsReport"]

JUDGED_BY = "semantic"
"""The task whose score on the street world decides who is on the front."""


@dataclass(frozen=True)
class PresetsReport:
    """All that was measured and read.

    Attributes:
        presets: in the table's order; the first one's eager engine is the reference.
        street: accuracy on the street world.
        camvid: accuracy on CamVid.
        timing: how it was timed.
        conditions: of `deploy.conditions.conditions`.
        warnings: a line each.
        command: that repeats it.
    """

    presets: Sequence[PresetTimes]
    street: Accuracies
    camvid: Accuracies
    timing: Timing
    conditions: Mapping[str, Any]
    warnings: Sequence[str]
    command: str

    @cached_property
    def beaten(self) -> dict[str, str | None]:
        """Of each preset with time and accuracy: None on the front, else who is as fast and more accurate, or so."""
        points = {}
        for preset in self.presets:
            score = _score(self.street.found.get(preset.preset), JUDGED_BY)
            if preset.fastest is not None and score is not None:
                points[preset.preset] = (preset.fastest.ms["p50"], score.mean)
        return beaten_by(points)

    def markdown(self) -> str:
        """Header, tables, and how to read them."""
        timing = self.timing
        fewest = min(LEAST_TURNS, timing.runs)
        header = [
            *header_lines(self.conditions, self.command),
            f"networks work at {_by(timing.size)}, camera {_by(timing.camera)}; up to {timing.runs} turns a preset, "
            f"fewer where they would take more than {timing.seconds:g} s (at least {fewest}), "
            f"after {timing.warm_up} others",
        ]
        sections = ["  \n".join(header), *(f"warning: {line}" for line in self.warnings)]
        sections += ["## Which one", self._summary(), self._advice(), "## Engines", self._engines(), self._reading()]
        if self.street.found:
            sections += ["## Accuracy on the street world", self._accuracy()]
        sections += ["\n".join(f"- {line}" for line in self._notes())]
        return "\n\n".join(sections)

    def data(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "schema": 1,
            "command": self.command,
            "conditions": dict(self.conditions),
            "warnings": list(self.warnings),
            "notes": self._notes(),
            "timing": asdict(self.timing),
            "reference": f"{self.presets[0].preset} eager fp32",
            "counted_at": list(COUNTED_AT),
            "unit": "ms",
            "presets": [self._fields(preset) for preset in self.presets],
        }

    def picture(self) -> Picture:
        """The Pareto plots; where no accuracy is known, time against arithmetic. ``(H, W, 3)`` uint8 RGB.

        Raises:
            ValueError: nothing was timed.
        """
        timed = [preset for preset in self.presets if preset.fastest is not None]
        if not timed:
            raise ValueError("no preset was timed")
        ms, gflop = f"ms a frame at {_by(self.timing.size)}, fastest CPU engine", f"GFLOP at {_by(COUNTED_AT)}"
        costs = {p.preset: (p.fastest.ms["p50"], p.cost.flop / 1e9) for p in timed if p.fastest is not None}
        marks = "disc: edge network; square: published network"
        if not self.beaten:
            points = [Point(_short(n), c[1], c[0], family=_family(n)) for n, c in costs.items()]
            return draw([Panel("Time against arithmetic", gflop, ms, points, log_y=True)], [f"{marks}; random weights"])
        panels = []
        for number, (title, axis) in enumerate((("time", ms), ("arithmetic", gflop))):
            scores = {name: self.street.found[name].scores[JUDGED_BY] for name in self.beaten}
            ranks = beaten_by({name: (costs[name][number], score.mean) for name, score in scores.items()})
            points = [
                Point(
                    _short(name),
                    costs[name][number],
                    _scaled(score, score.mean),
                    _scaled(score, score.std or 0.0),
                    _family(name),
                    ranks[name] is None,
                )
                for name, score in scores.items()
            ]
            metric = next(iter(scores.values())).metric
            panels.append(Panel(f"Accuracy against {title}", axis, f"{metric} on the street world, %", points))
        absent = [_short(preset.preset) for preset in self.presets if preset.preset not in self.beaten]
        captions = [f"{marks}; line: Pareto front; bar: standard deviation over the seeds, both ways"]
        if absent:
            captions.append(f"left out, as they lack accuracy or time: {', '.join(absent)}")
        return draw(panels, captions)

    def _summary(self) -> str:
        head = ["preset", "M parameters", f"GFLOP at {_by(COUNTED_AT)}", "of which exchange"]
        head += [f"{backend} {precision} ms" for backend, precision in ENGINES]
        head += ["weights MB", "INT8 file MB", "memory MiB", "street mIoU %", "CamVid mIoU %", "front"]
        lines = [head]
        for preset in self.presets:
            eager, small = preset.engine("eager", "fp32"), preset.engine("onnx", "int8")
            fastest = preset.fastest
            lines.append(
                [
                    preset.preset,
                    f"{preset.cost.parameters / 1e6:.2f}",
                    f"{preset.cost.flop / 1e9:,.1f}",
                    f"{preset.cost.exchange_flop / 1e9:,.1f}",
                    *(_milliseconds(preset.engine(*kind)) for kind in ENGINES),
                    f"{eager.file_bytes / 1e6:.1f}" if eager else "-",
                    f"{small.file_bytes / 1e6:.1f}" if small else "-",
                    f"{fastest.memory_mib:.0f}" if fastest and fastest.memory_mib is not None else "-",
                    _told(_score(self.street.found.get(preset.preset), JUDGED_BY)),
                    _told(_score(self.camvid.found.get(preset.preset), JUDGED_BY)),
                    self._standing(preset.preset),
                ]
            )
        return aligned(lines)

    def _standing(self, preset: str) -> str:
        if preset not in self.beaten:
            return "-"
        return "yes" if self.beaten[preset] is None else f"no: {_short(str(self.beaten[preset]))}"

    def _advice(self) -> str:
        """Which one a reader should take."""
        front = [preset for preset in self.presets if preset.preset in self.beaten and not self.beaten[preset.preset]]
        if not front:
            return (
                "front: it takes accuracy on the street world to tell which preset is worth its time; until that is "
                "known, begin with the smallest"
            )
        steps = []
        for preset in sorted(front, key=lambda p: p.fastest.ms["p50"] if p.fastest else 0.0):
            score = _told(_score(self.street.found[preset.preset], JUDGED_BY))
            steps.append(f"`{preset.preset}` ({_median(preset.fastest)} ms, {score} %)")
        smallest = min(front, key=lambda preset: preset.cost.parameters)
        return (
            "front: presets that no other beats in both time (fastest engine) and mIoU on the street world; *no* names "
            f"who does. The smallest on it is **`{smallest.preset}`**: begin with it. From the fastest on: "
            f"{', '.join(steps)}. A lead smaller than the seeds' spread is none"
        )

    def _engines(self) -> str:
        head = ("preset", "engine", "p50 ms", "10-90 %", "of its eager", "of the reference", "memory MiB", "turns")
        lines: list[Sequence[str]] = [head]
        for preset in self.presets:
            for engine in preset.engines:
                memory = "-" if engine.memory_mib is None else f"{engine.memory_mib:.0f}"
                lines.append(
                    (
                        preset.preset,
                        _kind(engine),
                        f"{engine.ms['p50']:.1f}",
                        f"{engine.ms['p10']:.1f}-{engine.ms['p90']:.1f}",
                        _ratio(engine.of_eager),
                        _ratio(engine.of_reference),
                        memory,
                        str(preset.turns),
                    )
                )
        return aligned(lines)

    def _reading(self) -> str:
        medians = [preset.reference_ms for preset in self.presets if preset.reference_ms is not None]
        steady = f"; it took {min(medians):.1f} to {max(medians):.1f} ms from preset to preset" if medians else ""
        return (
            "A preset's engines take turns, frame by frame, in one process. 10-90 %: where 80 % of the turns lie. of "
            "its eager: the time over the same preset's in PyTorch, turn by turn, median (10-90 %); of the reference: "
            f"over that of {self.presets[0].preset} in eager fp32, which runs in every preset's turns{steady}. memory: "
            "growth of the resident set at its peak while loading and computing one frame; above, that of the fastest "
            "engine"
        )

    def _accuracy(self) -> str:
        tasks = list(dict.fromkeys(task for found in self.street.found.values() for task in found.scores))
        head = ["preset", *(self._heading(task) for task in tasks), "seeds"]
        lines = [head]
        for preset in self.presets:
            accuracy = self.street.found.get(preset.preset)
            cells = [_told(_score(accuracy, task)) for task in tasks]
            lines.append([preset.preset, *cells, str(len(accuracy.seeds)) if accuracy else "-"])
        return aligned(lines)

    def _heading(self, task: str) -> str:
        metric = next(found.scores[task].metric for found in self.street.found.values() if task in found.scores)
        return f"{task} {metric} {UNITS.get(metric, ('', 1.0))[0]}".strip()

    def _notes(self) -> list[str]:
        """What else a reader has to know, a line each."""
        notes = [
            "times are of RANDOM weights, which are as fast as trained ones; accuracy is read from files, of trainings",
            "multiply and add are counted apart; four tasks (semantic, depth, normals, edges), 19 classes",
        ]
        notes += [source for source in (self.street.source, self.camvid.source) if source]
        notes += [*self.street.notes, *self.camvid.notes]
        return notes + [f"not timed: {line}" for preset in self.presets for line in preset.left_out]

    def _fields(self, preset: PresetTimes) -> dict[str, Any]:
        name, fastest = preset.preset, preset.fastest
        street, camvid = self.street.found.get(name), self.camvid.found.get(name)
        return {
            "preset": name,
            "text": PRESETS[name].text,
            **asdict(preset.cost),
            "turns": preset.turns,
            "reference_ms": preset.reference_ms,
            "engines": [asdict(engine) for engine in preset.engines],
            "fastest": f"{fastest.backend} {fastest.precision}" if fastest else None,
            "street": asdict(street) if street else None,
            "camvid": asdict(camvid) if camvid else None,
            "on_front": self.beaten[name] is None if name in self.beaten else None,
            "beaten_by": self.beaten.get(name),
        }


def _score(accuracy: Accuracy | None, task: str) -> Score | None:
    return accuracy.scores.get(task) if accuracy else None


def _scaled(score: Score, value: float) -> float:
    return value * UNITS.get(score.metric, ("", 1.0))[1]


def _told(score: Score | None) -> str:
    """In its unit, with its spread."""
    if score is None:
        return "-"
    spread = "" if score.std is None else f" ±{_scaled(score, score.std):.1f}"
    return f"{_scaled(score, score.mean):.1f}{spread}"


def _kind(engine: EngineTimes) -> str:
    where = "" if engine.device == "cpu" else f" on {engine.device}"
    return f"{engine.backend} {engine.precision}{where}"


def _median(engine: EngineTimes | None) -> str:
    return "-" if engine is None else f"{engine.ms['p50']:.1f}"


def _milliseconds(engine: EngineTimes | None) -> str:
    return "-" if engine is None else f"{_median(engine)} ({engine.ms['p10']:.1f}-{engine.ms['p90']:.1f})"


def _ratio(ratio: Mapping[str, float] | None) -> str:
    return "-" if ratio is None else f"{ratio['p50']:.2f} ({ratio['p10']:.2f}-{ratio['p90']:.2f})"


def _by(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def _short(preset: str) -> str:
    return preset.removeprefix("densemtl_")


def _family(preset: str) -> int:
    return 0 if "_edge_" in preset else 1
