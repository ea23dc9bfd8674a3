"""Pinhole geometry: rays, unprojection, reprojection, and normals from depth."""

from densemtl_core.geometry.camera import intrinsics_matrix, pixel_rays, project, scale_intrinsics, unproject
from densemtl_core.geometry.normals import normals_from_depth
from densemtl_core.geometry.warp import warp

__all__ = [
    "intrinsics_matrix",
    "normals_from_depth",
    "pixel_rays",
    "project",
    "scale_intrinsics",
    "unproject",
    "warp",
]
