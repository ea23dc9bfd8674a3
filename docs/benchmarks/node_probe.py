"""The perception node, with the times of every frame written to a file when it ends.

``node_probe.py FILE --ros-args ...``. Its diagnostics tell percentiles of each stage; what a frame costs apart from
its own inference needs each frame's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from densemtl_ros.frame_statistics import FrameStatistics
from densemtl_ros.perception_node import main

if __name__ == "__main__":
    rows: list[dict[str, float]] = []
    count = FrameStatistics.processed

    def processed(self: FrameStatistics, seconds: Mapping[str, float], total: float, *more: Any) -> None:
        """Keep the row, then count as ever."""
        rows.append({**seconds, "total": total})
        count(self, seconds, total, *more)

    FrameStatistics.processed = processed  # type: ignore[method-assign]
    status = main()
    Path(sys.argv[1]).write_text(json.dumps(rows))
    sys.exit(status)
