"""What INT8 costs the network that ships: scores on the street world, and how near it stays to fp32 on real frames.

    python docs/benchmarks/int8.py --camvid CAMVID/train --judge 16

Compiles it at its own size and at 256x512, calibrated on the street world (the default) and on real frames of which a
part is held out to compare on. Everything in the file is what the bundles' manifests say.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from densemtl_core.runtime.bundle import Bundle
from deploy.compile import main as compile_bundle

SIZES = ("192x320", "256x512")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, required=True, help="folder of its images")
    parser.add_argument("--judge", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/int8.json"))
    given = parser.parse_args()
    rows = []
    for size in SIZES:
        for calibrated_on in (None, given.camvid):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "int8.bundle"
                own = ["--calibration", str(calibrated_on)] if calibrated_on else []
                wanted = [
                    "--int8",
                    "--backend",
                    "onnx",
                    "--input",
                    size,
                    "--judge",
                    str(given.judge),
                    "--out",
                    str(out),
                ]
                status = compile_bundle([*wanted, *own, "--out", str(out)])
                if status:
                    rows.append({"size": size, "calibrated_on": "CamVid" if own else "street world", "status": status})
                    continue
                manifest = Bundle(out).manifest
                rows.append(
                    {
                        "size": size,
                        "calibrated_on": "CamVid" if own else "street world",
                        "kept_in_floating_point": manifest.made_with.get("kept_in_floating_point", ""),
                        "megabytes": {name: round(file.size / 1e6, 2) for name, file in manifest.files.items()},
                        **manifest.accuracy,
                    }
                )
    given.out.write_text(json.dumps({"command": (__doc__ or "").split("\n")[2].strip(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
