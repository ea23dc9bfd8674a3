"""Images and labels: the sample that flows through the package, and where samples come from."""

from densemtl_core.data.class_lists import CLASS_LISTS, ClassList, class_list
from densemtl_core.data.sample import IGNORE_CLASS, Sample, collate

__all__ = ["CLASS_LISTS", "IGNORE_CLASS", "ClassList", "Sample", "class_list", "collate"]
