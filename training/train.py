"""Train a network.

python -m training.train --config training/configs/street_first.yaml --out runs/mine
python -m training.train --config training/configs/street_first.yaml --out runs/mine --resume last
python -m training.train --config training/configs/street_first.yaml run.steps=20 data.size=[64,128]
python -m training.train --sim-to-real
python -m training.train --sim-to-real --target drive.mp4 --out runs/my_camera
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import OmegaConf

from densemtl_core.errors import InputError
from densemtl_core.learning.run_files import checkpoints
from densemtl_core.learning.written_files import UnwritableError
from training.adaptation import with_target_aspect
from training.checks import check_settings
from training.run import run
from training.settings import Settings, read_settings
from training.sim_to_real import BRANCHES, branches, sim_to_real
from training.targets import sniff

__all__ = ["main", "run"]

THREADS = torch.get_num_threads()
CONFIGS = Path(__file__).parent / "configs"
DEFAULT_ADAPTATION, TARGET_ADAPTATION = (str(CONFIGS / f"{name}.yaml") for name in ("sim_to_real", "sim_to_footage"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="YAML file, e.g. training/configs/street_first.yaml")
    parser.add_argument("--out", default="runs/latest", help="run folder (default: %(default)s)")
    parser.add_argument("--resume", metavar="last|CHECKPOINT", help="go on where a run stopped")
    adapting = parser.add_argument_group(
        "simulator to real", "adapt to frames without labels and compare; docs/sim_to_real.md"
    )
    adapting.add_argument(
        "--sim-to-real",
        action="store_true",
        help=f"without --config: {DEFAULT_ADAPTATION}, or, with --target, {TARGET_ADAPTATION}",
    )
    adapting.add_argument(
        "--target", metavar="PATH", help="frames to adapt to: a folder, a video, a rosbag2, or a data set in its layout"
    )
    adapting.add_argument("--target-val", metavar="PATH", help="labelled frames to judge by: a data set in its layout")
    adapting.add_argument("--rows", help=f"what to run, of {','.join(BRANCHES)} (default: what can be compared)")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved configuration and do nothing")
    parser.add_argument(
        "--threads", type=int, help="CPU threads of the network (default: the cores that loading leaves)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the file")
    given = parser.parse_intermixed_args(arguments)  # key=value may stand anywhere
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    out = Path(given.out)
    try:
        if given.threads is not None and given.threads < 1:
            raise InputError(f"--threads is {given.threads}; it must be at least 1")
        config, overrides = _adapting(given) if given.sim_to_real else _plain(given)
        settings = read_settings(config, overrides)
        torch.set_num_threads(given.threads or _free_threads(settings))
        rows = given.rows.split(",") if given.rows else None
        if given.dry_run:
            for checked in [b.settings for b in branches(settings, out, rows)] if given.sim_to_real else [settings]:
                check_settings(checked)
            print(OmegaConf.to_yaml(OmegaConf.structured(settings)), end="")
        elif given.sim_to_real:
            sim_to_real(with_target_aspect(settings), out, given.resume, rows)
        else:
            run(with_target_aspect(settings), out, given.resume)
    except UnwritableError as error:
        print(f"error: {error}, then {_further(out)}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError as error:
        line = str(error).split(". ")[0].strip()
        print(
            f"error: {line}; lower run.batch or data.size, or give precision=bf16-mixed, then {_further(out)}",
            file=sys.stderr,
        )
        return 2
    except (InputError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {_further(out)}", file=sys.stderr)
        return 130
    return 0


def _further(out: Path) -> str:
    """How a run that ended early is gone on with."""
    begun = checkpoints(out) or any(checkpoints(folder) for folder in out.glob("*"))
    if not begun:
        return "begin again: no checkpoint had been written"
    return f"go on with the same command and --resume last --out {out}"


def _free_threads(settings: Settings) -> int:
    """What loading leaves of the threads that PyTorch would take.

    A network on as many threads as there are cores, and a process that renders beside it, wait for each other.
    """
    loading = settings.run.workers if settings.adaptation is None else 2 * settings.run.workers
    # Whoever set fewer in this process meant it.
    return max(1, min(torch.get_num_threads(), THREADS - loading))


def _plain(given: argparse.Namespace) -> tuple[str, list[str]]:
    for option in ("target", "target_val", "rows"):
        if getattr(given, option):
            raise InputError(f"--{option.replace('_', '-')} belongs to --sim-to-real; add that")
    if given.config is None:
        raise InputError("--config is missing: a YAML file, e.g. training/configs/street_first.yaml; or --sim-to-real")
    return given.config, given.overrides


def _adapting(given: argparse.Namespace) -> tuple[str, list[str]]:
    """The configuration, and what the paths on the command line set in it."""
    if given.resume not in (None, "last"):
        raise InputError(
            f"--resume {given.resume}: with --sim-to-real only --resume last, which knows each run's newest"
        )
    named: list[str] = []
    for key, path in (("target", given.target), ("validation", given.target_val)):
        if path is not None:
            dataset, root = sniff(path)
            named += [f"adaptation.{key}.dataset={dataset}", f"adaptation.{key}.root={json.dumps(root)}"]
    return given.config or (TARGET_ADAPTATION if given.target else DEFAULT_ADAPTATION), [*named, *given.overrides]


if __name__ == "__main__":
    raise SystemExit(main())
