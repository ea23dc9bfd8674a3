"""Does segmentation gain when depth is learnt from video beside it? Classes alone against classes and depth, by seed.

    OMP_NUM_THREADS=1 python docs/benchmarks/classes_beside_video_depth.py --encoder mobilenet_v2-b0353104.pth \
        --runs runs/classes_beside_video_depth --out docs/benchmarks/classes_beside_video_depth.json

Both rows see the same labelled frames of the procedural street world for as many steps from the same first weights; the
second also sees each frame's neighbours, whose motion a second network learns. A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from training.datasets import make_dataset
from training.run import run
from training.settings import read_settings

SHARED = [
    "data.size=[96,192]",
    "data.train=800",
    "data.validation=32",
    "run.batch=4",
    "run.validate_every=0",
    "run.workers=0",
]
ROWS = {
    "classes": ["tasks=[semantic]", "self_supervised=null", "data.frames=[]"],
    "classes and depth from video": ["self_supervised.pose=mobilenetv2_100"],
}


def scores(overrides: list[str], folder: Path) -> dict[str, Any]:
    """What a run comes to, trained now or before."""
    done = folder / "metrics.json"
    if not done.is_file():
        settings = read_settings("training/configs/street_video.yaml", overrides)
        run(settings, folder, "last" if (folder / "checkpoints").is_dir() else None)
    found: dict[str, Any] = json.loads(done.read_text())["scores"]
    return found


def guesses(cache: Path | None, frames: int = 64) -> dict[str, dict[str, float]]:
    """What depth is worth that has seen labels and no picture: one value, and the geometric mean of every row."""
    overrides = [*SHARED, *ROWS["classes and depth from video"]]
    settings = read_settings("training/configs/street_video.yaml", overrides)
    settings.data.cache = str(cache) if cache else None
    task = next(task for task in settings.made_tasks() if task.name == "depth")
    train, validation = (
        make_dataset(settings.data, ["depth"], settings.class_list, split) for split in ("train", "val")
    )
    logs = torch.stack([train[k].labels["depth"] for k in range(frames)]).log()
    logs = torch.where(logs.isfinite(), logs, torch.nan)
    rows = logs.nanmean(dim=(0, 1, 3)).exp()
    known = rows.isfinite()
    rows = torch.where(known, rows, rows[known].max())
    predictions = {"one value": torch.ones_like(rows) * rows.median(), "a value a row": rows}
    metrics = {name: task.metric() for name in predictions}
    for index in range(len(validation)):
        label = validation[index].labels["depth"][None]
        for name, values in predictions.items():
            metrics[name].update(values.view(1, 1, -1, 1).expand_as(label), label)
    return {name: metric.compute() for name, metric in metrics.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="MobileNetV2's ImageNet weights, for both networks")
    parser.add_argument("--runs", type=Path, default=Path("runs/classes_beside_video_depth"))
    parser.add_argument("--cache", type=Path, help="folder for rendered frames, shared by the seeds")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/classes_beside_video_depth.json"))
    given = parser.parse_args()
    rows = []
    for title, own in ROWS.items():
        values = []
        for seed in range(given.seeds):
            overrides = [*SHARED, *own, f"run.seed={seed}", f"run.steps={given.steps}"]
            overrides.append(f"encoder_weights={given.encoder}")
            if "self_supervised=null" not in own:
                overrides.append(f"self_supervised.pose_weights={given.encoder}")
            if given.cache:
                overrides.append(f"data.cache={given.cache}")
            values.append(scores(overrides, given.runs / f"{title.replace(' ', '_')}_{seed}"))
        figures = {}
        for task in values[0]:
            for name in values[0][task]:
                found = [v[task][name] for v in values]
                spread = statistics.stdev(found) if len(found) > 1 else None
                figures[f"{task} {name}"] = {"mean": statistics.fmean(found), "std": spread, "values": found}
        rows.append({"method": title, "settings": [*SHARED, *own], "figures": figures})
    command = " ".join(__doc__.split("\n\n")[1].replace("\\", " ").split())
    command += f" --steps {given.steps} --seeds {given.seeds}"
    guessed = guesses(given.cache)
    found = {"command": command, "steps": given.steps, "rows": rows, "depth_without_a_picture": guessed}
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(guessed)
    for row in rows:
        print(row["method"], {name: (value["mean"], value["std"]) for name, value in row["figures"].items()})


if __name__ == "__main__":
    main()
