"""The commands that train, judge and look: `training.train`, `training.evaluate`, `training.predict`, ..."""

from importlib.util import find_spec

_missing = [name for name in ("lightning", "omegaconf", "rich", "kornia", "timm", "torch") if find_spec(name) is None]
if _missing:
    raise ImportError(f"training needs {', '.join(_missing)}; install with: pip install 'densemtl-core[train]'")
