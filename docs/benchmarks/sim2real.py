"""From the procedural street world to real streets: what each way of learning without labels is worth.

    OMP_NUM_THREADS=1 python docs/benchmarks/sim2real.py --camvid CAMVID --kitti DRIVE --seeds 3

Every row begins at the same network (`start` of training/configs/street_to_camvid.yaml), and takes the same number of
steps with the same rates; only what it learns from differs. The target's training frames come without their labels, but
for the last row. Judged on CamVid's validation frames in seven classes at their own resolution, and, never adapted to,
on a KITTI drive against its LiDAR. Finished runs are kept: the command may be repeated, and started several times.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from training.comparison_table import Outcome, Score, method_row, set_delta
from training.data_settings import DataSettings
from training.run import run
from training.run_folder import claimed
from training.settings import Settings, read_settings
from training.sim_to_real import branches, validation_of
from training.sim_to_real_report import judge_row

OFF = ["adaptation.self_training=null", "adaptation.restyle=null"]
ADVERSARIAL = "adaptation.adversarial={width: 16, downscale: 2}"
AGREEMENT = "adaptation.agreement={normals: 0.05, edges: 0.05}"
RESTYLE = "adaptation.restyle=0.05"

ROWS: dict[str, tuple[str, list[str]]] = {
    "source only": ("source_only", []),
    "adversarial": ("adapted", [*OFF, ADVERSARIAL]),
    "self-training": ("adapted", ["adaptation.restyle=null"]),
    "adversarial + self-training": ("adapted", ["adaptation.restyle=null", ADVERSARIAL]),
    "adversarial + self-training + agreement": ("adapted", ["adaptation.restyle=null", ADVERSARIAL, AGREEMENT]),
    "restyled source": ("adapted", ["adaptation.self_training=null", RESTYLE]),
    "restyled source + self-training": ("adapted", [RESTYLE]),
    "all": ("adapted", [RESTYLE, ADVERSARIAL, AGREEMENT]),
    "trained on CamVid's labels": ("target_labels", []),
}


def judged(settings: Settings, folder: Path, kitti: Path | None) -> dict[str, dict[str, float]]:
    """Scores of a finished run on CamVid and on the drive."""
    how = settings.adaptation
    assert how is not None  # noqa: S101
    scores = dict(judge_row("", folder, validation_of(settings), how.classes).scores)
    if kitti is not None:
        drive = DataSettings(dataset="kitti", root=str(kitti), flip=0.0)
        scores["depth"] = judge_row("", folder, drive, None).scores["depth"]
    return {task: {n: v for n, v in found.items() if isinstance(v, float)} for task, found in scores.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, required=True)
    parser.add_argument("--kitti", type=Path, help="one drive with sparse_depth")
    parser.add_argument("--runs", type=Path, default=Path("runs/sim2real"))
    parser.add_argument("--cache", type=Path, help="folder for rendered frames, shared by all rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--finished", action="store_true", help="train nothing: tabulate what is there")
    parser.add_argument("--rows", help="comma-separated; default: all")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/sim2real.json"))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ, in every row")
    given = parser.parse_intermixed_args()
    wanted = given.rows.split(",") if given.rows else list(ROWS)
    outcomes: dict[str, list[Outcome]] = {}
    for seed in range(given.seeds):
        for title in wanted:
            branch, own = ROWS[title]
            fixed = [f"adaptation.target.root={given.camvid}", f"run.seed={seed}", *own, *given.overrides]
            settings = read_settings("training/configs/street_to_camvid.yaml", fixed)
            settings.data.cache = str(given.cache) if given.cache else None
            folder = given.runs / title.replace(" ", "_") / f"seed_{seed}"
            if given.finished and not (folder / "judged.json").is_file():
                continue
            with claimed(folder, ".sim2real") as ours:
                if not ours:
                    continue
                if not (folder / "metrics.json").is_file():
                    found = next(b for b in branches(settings, folder, [branch]) if b.name == branch)
                    run(found.settings, folder, "last" if (folder / "checkpoints").is_dir() else None)
                result = folder / "judged.json"
                if not result.is_file():
                    result.write_text(json.dumps(judged(settings, folder, given.kitti)) + "\n")
                scores = json.loads(result.read_text())
            outcomes.setdefault(title, []).append(Outcome(tuple(scores), seed, scores))
            print(title, seed, json.dumps(scores), flush=True)
    judges = {"semantic": Score("mIoU", True), "edges": Score("macroF1", True)}
    if given.kitti is not None:
        judges["depth"] = Score("AbsRel_median_scaled", False)
    rows: list[dict[str, Any]] = [method_row(title, found, judges) for title, found in outcomes.items()]
    set_delta(rows, "source only")
    command = f"{__doc__.split(chr(10) * 2)[1].strip()} {' '.join(given.overrides)}".strip()
    given.out.write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
