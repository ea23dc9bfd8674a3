"""What one perception node sees as a rerun recording: pictures, class names, metric depth and the camera that saw it.

Nothing here opens a port or starts a program. The rerun SDK, unlike rerun's viewer, reports nothing to anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from numpy.typing import NDArray

from densemtl_ros.viewer_legend import UNLABELLED, ClassLegend

__all__ = ["STREAMS", "TIMELINE", "FrameLog", "blueprint"]

STREAMS: Mapping[str, tuple[str, str]] = {
    "classes": ("semantic/image", "mono8"),
    "colours": ("semantic/color", "rgb8"),
    "overlay": ("overlay/image", "rgb8"),
    "depth": ("depth/image", "32FC1"),
    "normals": ("normals/color", "rgb8"),
    "edges": ("edges/image", "mono8"),
}
"""Stream to the node's topic and its encoding. ``colours`` is not logged: it tells the colour of each class."""

TIMELINE = "stamp"
"""Name of the time line; its times are the camera's stamps."""

_FARTHEST = 80.0
"""Metres of the dark end of the depth colours."""


class FrameLog:
    """Writes the frames of one camera below one entity.

    Args:
        recording: where to.
        name: full name of the perception node, which becomes the entity.
        quality: of JPEG for colour pictures, 1 to 100; 0 = as they are. Classes, depth and edges are always exact.
    """

    def __init__(self, recording: rr.RecordingStream, name: str, quality: int = 85) -> None:
        self._recording = recording
        self._root = name.strip("/")
        self._camera = f"{self._root}/camera"
        self._quality = quality
        self._legend = ClassLegend()
        self._mask: tuple[int, NDArray[np.uint8]] | None = None
        self._colours: tuple[int, NDArray[np.uint8]] | None = None
        self._told: list[tuple[Any, ...]] = []
        # The axes of a camera's optical frame: x right, y down, z forward.
        recording.log(self._root, rr.ViewCoordinates.RDF, static=True)

    def put_labels(self, names: Mapping[int, str]) -> None:
        """Take the class names."""
        self._legend.rename(names)
        self._tell_classes()

    def put_intrinsics(self, stamp: int, k: Sequence[float], size: tuple[int, int]) -> None:
        """Log the camera, so that depth is shown as points.

        Args:
            stamp: nanoseconds.
            k: nine numbers of the camera matrix of the outputs, row by row; those of an uncalibrated camera are left.
            size: ``(height, width)`` of the outputs.
        """
        if not k[0] > 0:
            return
        matrix = np.asarray(k, np.float64).reshape(3, 3)
        camera = rr.Pinhole(image_from_camera=matrix, resolution=[size[1], size[0]], camera_xyz=rr.ViewCoordinates.RDF)
        self._log(stamp, self._camera, camera)

    def put(self, stream: str, stamp: int, values: NDArray[Any]) -> None:
        """Log one image.

        Args:
            stream: a key of `STREAMS`, or ``image`` for the camera's own.
            stamp: nanoseconds.
            values: class ids ``(H, W)`` uint8; metres ``(H, W)`` float32; edge probability x 255 ``(H, W)`` uint8;
                else ``(H, W, 3)`` uint8 RGB.
        """
        if stream == "colours":
            self._colours = (stamp, values)
            self._learn_colours()
            return
        entity = f"{self._camera}/{stream}"
        if stream == "classes":
            self._mask = (stamp, values)
            self._log(stamp, entity, rr.SegmentationImage(values))
            self._learn_colours()
        elif stream == "depth":
            # One range for all frames, else the colours of the same wall change from frame to frame.
            self._log(stamp, entity, rr.DepthImage(values, meter=1.0, depth_range=(0.0, _FARTHEST)))
        elif stream == "edges" or not self._quality:
            self._log(stamp, entity, rr.Image(values))
        else:
            bgr = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2BGR)
            done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
            if done:
                self._log(stamp, entity, rr.EncodedImage(contents=data.tobytes(), media_type="image/jpeg"))

    def _log(self, stamp: int, entity: str, what: Any) -> None:
        # Times are set for the calling thread, and another camera may have logged in between.
        self._recording.set_time(TIMELINE, timestamp=np.datetime64(stamp, "ns"))
        self._recording.log(entity, what)

    def _learn_colours(self) -> None:
        """Compare mask and class picture of one frame: messages carry names but no colours."""
        if self._mask is None or self._colours is None or self._mask[0] != self._colours[0]:
            return
        ids, colours = self._mask[1], self._colours[1]
        if ids.shape == colours.shape[:2]:
            self._legend.learn(ids, colours)
            self._tell_classes()

    def _tell_classes(self) -> None:
        known = [(e["id"], e["name"], e["colour"]) for e in self._legend.entries() if e["id"] != UNLABELLED]
        if known != self._told:
            self._told = known
            classes = [rr.AnnotationInfo(id=i, label=name, color=colour) for i, name, colour in known]
            unlabelled = rr.AnnotationInfo(id=UNLABELLED, label="unlabelled", color=(0, 0, 0, 0))
            self._recording.log(self._root, rr.AnnotationContext([*classes, unlabelled]), static=True)


def blueprint(names: Sequence[str], streams: Sequence[str]) -> rrb.Blueprint:
    """Lay out the viewer: points on one side, one picture a stream on the other, a tab a camera.

    Args:
        names: full names of the perception nodes.
        streams: what is logged of each, as for `FrameLog.put`.
    """
    tabs = []
    for name in names:
        root = name.strip("/")
        pictures = [
            rrb.Spatial2DView(origin=f"{root}/camera", contents=f"$origin/{stream}", name=stream)
            for stream in streams
            if stream != "colours"
        ]
        views: list[Any] = [rrb.Grid(*pictures)]
        if "depth" in streams:
            points = ["$origin/camera", "$origin/camera/depth"]
            views.append(rrb.Spatial3DView(origin=root, contents=points, name="points"))
        tabs.append(rrb.Horizontal(*views, column_shares=[2, 1][: len(views)], name=name))
    return rrb.Blueprint(rrb.Tabs(*tabs), rrb.TimePanel(timeline=TIMELINE, state="collapsed"), collapse_panels=True)
