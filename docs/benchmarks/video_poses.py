"""The camera's motion that a pose network learnt from video alone, against the drive's own odometry.

    python docs/benchmarks/video_poses.py --run runs/kitti_video --root DRIVE --out docs/benchmarks/video_poses.json

The run is one of training.train with `self_supervised` (training/configs/kitti_video.yaml), whose last checkpoint holds
the pose network; it learnt from the first 80 % of the drive. Motion from video has no unit: translations are scaled
once a split, by least squares.
Three predictors that have learnt nothing stand beside it: no motion, straight ahead, and the split's own mean motion
(which knows the answer on average: an oracle that a car at constant speed makes hard to beat).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from kornia.geometry.conversions import Rt_to_matrix4x4, axis_angle_to_rotation_matrix
from torch import Tensor

from densemtl_core.data.kitti import Kitti
from densemtl_core.data.sample import collate
from densemtl_core.data.transforms import resize
from densemtl_core.learning.run_files import checkpoints
from densemtl_core.learning.self_supervised import SelfSupervisedDepth
from densemtl_core.learning.state_files import read_state
from densemtl_core.models.pose import PoseNetwork
from densemtl_core.tasks import make_tasks
from training.objectives import make_objective
from training.settings import read_settings


def angle(rotation: Tensor) -> Tensor:
    """``(B, 3, 3)`` to the angle of each rotation, degrees."""
    cosine = (rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    return cosine.double().clamp(-1, 1).acos().rad2deg()


def compare(found: Tensor, true: Tensor) -> dict[str, float]:
    """``(B, 4, 4)`` motions against true ones."""
    step, given = found[:, :3, 3], true[:, :3, 3]
    scale = (step * given).sum() / step.square().sum().clamp(min=1e-12)
    cosine = torch.nn.functional.cosine_similarity(step, given).double().clamp(-1, 1)
    turn = angle(found[:, :3, :3].transpose(1, 2) @ true[:, :3, :3])
    return {
        "rotation_error_deg": turn.mean().item(),
        "direction_error_deg": cosine.acos().rad2deg().mean().item(),
        "translation_error_m_scaled": (scale * step - given).norm(dim=1).mean().item(),
        "length_spread": (step.norm(dim=1).std() / step.norm(dim=1).mean().clamp(min=1e-9)).item(),
    }


def compare_all(pose: PoseNetwork, image: Tensor, after: Tensor, true: Tensor) -> dict[str, dict[str, float]]:
    """The network's motion from each picture to the one after it, and three that have learnt nothing."""
    still = torch.eye(4).expand_as(true).clone()
    ahead, mean = still.clone(), still.clone()
    ahead[:, 2, 3] = -1.0
    mean[:, :3, 3] = true[:, :3, 3].mean(0)
    motions = {"no motion": still, "straight ahead": ahead, "the split's mean motion": mean}
    with torch.inference_mode():
        for name, training in (("learnt", False), ("learnt, statistics of the batch", True)):
            pose.train(training)
            parts = [pose(image[i : i + 8], after[i : i + 8]) for i in range(0, len(true), 8)]
            turn, step = (torch.cat(values) for values in zip(*parts, strict=True))
            motions[name] = Rt_to_matrix4x4(axis_angle_to_rotation_matrix(turn), step[..., None])
    return {name: compare(motion, true) for name, motion in motions.items()}


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--root", type=Path, help="the drive, with poses.txt (default: the run's)")
    parser.add_argument("--out", type=Path, help="JSON to write")
    given = parser.parse_args()
    settings = read_settings(given.run / "config.yaml")
    tasks = make_tasks(settings.tasks)
    objective = make_objective(settings, tasks, fresh=False)
    checkpoint = read_state(checkpoints(given.run)[-1])
    objective.load_state_dict(checkpoint["objective"])
    if not isinstance(objective, SelfSupervisedDepth) or objective.pose is None or settings.data.size is None:
        raise SystemExit(f"{given.run} is no run that learnt depth and motion from video alone, at one size")
    pose, size = objective.pose, (settings.data.size[0], settings.data.size[1])
    report: dict[str, Any] = {
        "command": f"python docs/benchmarks/video_poses.py --run {given.run.name}",
        "size": list(size),
        "steps": checkpoint["step"],
        "splits": {},
    }
    for split in ("train", "val"):
        drive = Kitti(root=given.root or settings.data.root or "", split=split, labels=(), frames=(-1, 1))
        samples = collate([resize(drive[i], size) for i in range(len(drive))])
        rows = compare_all(pose, samples.image, samples.labels["image+1"], samples.labels["pose+1"])
        report["splits"][split] = {"pairs": len(samples.image), "rows": rows}
        print(f"{split}, {len(samples.image)} pairs")
        for name, row in rows.items():
            print(f"  {name:<34}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
