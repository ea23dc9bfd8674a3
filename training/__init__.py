"""The commands that train, judge and look: `training.train`, `training.evaluate`, `training.predict`, ..."""

import sys
from importlib.util import find_spec

# Whatever `pip install densemtl-core` brings, too: outside its environment nothing is there.
_NEEDED = ("numpy", "cv2", "safetensors", "torch", "timm", "kornia", "lightning", "omegaconf", "rich")
_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    _line = (
        f"training needs {', '.join(_missing)}, which {sys.executable} lacks; in a clone: make setup, then "
        "source .venv/bin/activate; elsewhere: pip install 'densemtl-core[train]'"
    )
    if sys.argv[0] == "-m":  # python -m training.train, while it still looks for the module
        print(f"error: {_line}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(_line)
