"""What the trained exchanges do: parts of them silenced, and where their attention looks.

    OMP_NUM_THREADS=1 python docs/benchmarks/compare_silenced.py --compare runs/compare

Takes the finished runs of `training.compare`. A silenced network is the trained one with the correlation branch
(alpha = 0) or the whole exchange (features pass unchanged) left out: if scores stay, that part had learnt nothing that
the rest of the network relies on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.learning.evaluation import evaluate
from densemtl_core.models import DenseMTL, exchange
from densemtl_core.models import edge as edge_parts
from training.datasets import batches, make_dataset
from training.settings import read_settings


def silence_correlation(model: DenseMTL) -> None:
    """Set every alpha to zero."""
    for name, parameter in model.named_parameters():
        if "alpha" in name.split("."):
            nn.init.zeros_(parameter)


def silence_exchange(model: DenseMTL) -> None:
    """Let features pass as they are."""
    model.exchange = nn.Identity()


VARIANTS: dict[str, Callable[[DenseMTL], None]] = {
    "as trained": lambda model: None,
    "correlation silent": silence_correlation,
    "exchange silent": silence_exchange,
}


def attention_maps(model: DenseMTL, image: Tensor) -> list[Tensor]:
    """Every direction's attention ``(B, n, n')`` for these images."""
    seen: list[Tensor] = []
    plain = exchange.attend

    def spy(queries: list[Tensor], keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
        for q, k in zip(queries, keys, strict=True):
            scores = q.flatten(2).transpose(1, 2) @ k.flatten(2) / math.sqrt(q.shape[1])
            seen.append(scores.softmax(dim=2))
        return plain(queries, keys, values)

    exchange.attend = edge_parts.attend = spy
    try:
        with torch.inference_mode():
            model(image)
    finally:
        exchange.attend = edge_parts.attend = plain
    return seen


def attention(model: DenseMTL, image: Tensor) -> dict[str, float]:
    """How spread attention is: its entropy as a share of the largest, and the weight of the query's own place."""
    maps = attention_maps(model, image)
    entropies, own = [], []
    for a in maps:
        entropies.append((-(a * a.clamp(min=1e-12).log()).sum(2)).mean().item() / math.log(a.shape[2]))
        side = min(a.shape[1:])
        own.append(a.diagonal(dim1=1, dim2=2)[:, :side].mean().item() * a.shape[2])
    alphas = torch.cat([p.detach().flatten() for n, p in model.named_parameters() if "alpha" in n.split(".")])
    return {
        "entropy_share": statistics.fmean(entropies),
        "own_place_times_uniform": statistics.fmean(own),
        "mean_abs_alpha": alphas.abs().mean().item(),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", type=Path, default=Path("runs/compare"))
    parser.add_argument("--methods", default="xTAM,edge exchange,PAD-Net,3-ways PAD-Net")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/compare_silenced.json"))
    given = parser.parse_args()
    rows = []
    for method in given.methods.split(","):
        for folder in sorted(given.compare.glob(f"runs/{method}/*/seed_*")):
            if not (folder / "model.json").is_file():
                continue
            settings = read_settings(folder / "config.yaml")
            tasks = settings.made_tasks()
            names = [task.name for task in tasks]
            frames = make_dataset(settings.data, names, settings.class_list, "val")
            row: dict[str, Any] = {"method": method, "seed": settings.run.seed, "scores": {}}
            for variant, silence in VARIANTS.items():
                model, _ = load_checkpoint(folder)
                if variant == "correlation silent" and not any("alpha" in n for n, _ in model.named_parameters()):
                    continue
                silence(model)
                scores = evaluate(model, tasks, batches(frames, 8), quick=True)
                row["scores"][variant] = {t.name: scores[t.name][t.metric().primary] for t in tasks}
                if variant == "as trained" and method in ("xTAM", "edge exchange"):
                    row["attention"] = attention(model, torch.stack([frames[i].image for i in range(8)]))
            rows.append(row)
            print(json.dumps(row))
    given.out.write_text(json.dumps({"command": __doc__.split("\n\n")[1].strip(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
