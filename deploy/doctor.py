"""What this machine has and lacks for running DenseMTL, and which engine it would take.

python deploy/doctor.py
python deploy/doctor.py --json my.bundle

Needs no library but those that it looks for. Versions are read from installed metadata; what has to import to be of
use is imported in a process of its own, because native libraries without their driver raise anything, crash or hang.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, Python looks for imports beside it first, where modules could hide libraries of the same name.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deploy.finding import Finding
from deploy.installed import instead
from deploy.machine import Machine
from deploy.probes import PROBES, examine
from deploy.verdict import Choice, choose, inspect_bundle

__all__ = ["PROBES", "Choice", "Finding", "Machine", "choose", "examine", "inspect_bundle", "main", "render"]


def main(arguments: Sequence[str] | None = None, machine: Machine | None = None) -> int:
    """Command line.

    Returns:
        0 where a backend can run, with a bundle: where one of its engines can; else 1. 130 when interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="python deploy/doctor.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", nargs="?", type=Path, help="also check this bundle, and load its engines")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds an import may take (default: %(default)s)")
    given = parser.parse_args(arguments)
    machine = machine or Machine(timeout=given.timeout)
    try:
        findings = examine(machine, _progress if sys.stderr.isatty() else lambda name: None)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    bundle = inspect_bundle(given.bundle, findings, machine) if given.bundle else []
    choice = choose(findings, bundle)
    if given.json:
        report = {
            "schema": 1,
            "findings": [dataclasses.asdict(finding) for finding in findings.values()],
            "auto": dataclasses.asdict(choice),
            "bundle": [dataclasses.asdict(finding) for finding in bundle] or None,
        }
        print(json.dumps(report, indent=2))
    else:
        print(render(list(findings.values()), choice, bundle))
        if (other := instead("deploy/doctor.py")) and not findings["densemtl"].ok:
            print(f"\nThis was said of {sys.executable}; of the Python of make setup: {other}")
    return 0 if choice.backend else 1


def render(findings: Sequence[Finding], choice: Choice, bundle: Sequence[Finding]) -> str:
    """The report for a person: an aligned table, the verdict, and what would mend what is missing."""
    rows = [*findings, *bundle]
    width = max(len(row.name) for row in rows)
    table = [f"{row.name:<{width}}  {row.state:<6}  {row.detail}" for row in findings]
    if bundle:
        table += ["", *(f"{row.name:<{width}}  {row.state:<6}  {row.detail}" for row in bundle)]
    verdict = ["", f"auto takes {' or '.join(choice.candidates) or 'nothing'}: {choice.why}"]
    mend = [f"  {row.name:<{width}}  {row.remedy}" for row in rows if row.remedy]
    return "\n".join([*table, *verdict, *(["", "To mend", *mend] if mend else [])])


def _progress(name: str) -> None:
    print(f"\r\033[Klooking at {name} ...", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
