"""DenseMTL: dense multi-task vision for robots, with cross-task attention.

The packages, from the ground up: `metrics`, `render`, `geometry`; `tasks`, `data`; `models`; `learning`, `runtime`.
Each imports only from those below it; importing this package imports none of them.
"""

__version__ = "0.1.0"
