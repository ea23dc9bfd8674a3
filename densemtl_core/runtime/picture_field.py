"""How a manifest says that predictions are painted: checked when it is read, not when the first frame is painted."""

from __future__ import annotations

import inspect
import math
from typing import Any

from densemtl_core.render import PICTURES
from densemtl_core.runtime.field import Field, FieldError

__all__ = ["Colours", "checked_colours", "checked_picture"]

CHANNELS = {"normals": 3, "rgb": 3, "linear_rgb": 3}
"""Of the array that a picture shows, where it is not 1."""

FARTHEST = 1e6
"""Of any range that is painted, in the prediction's unit."""

MOST_COLOURS = 256

Colours = tuple[tuple[int, int, int], ...]


def checked_colours(field: Field) -> Colours:
    """A palette: RGB of 0..255, at most 256 colours.

    Raises:
        FieldError: it is none.
    """
    found = []
    for colour in field.array(0, MOST_COLOURS):
        red, green, blue = (value.whole(0, 255) for value in colour.array(3, 3))
        found.append((red, green, blue))
    return tuple(found)


def checked_picture(picture: Field, options: Field, channels: int, dtype: str, classes: int) -> tuple[str, Any]:
    """A way of painting and its options, such that it can paint what it is meant for.

    Args:
        picture: a key of `densemtl_core.render.PICTURES`.
        options: arguments of that function.
        channels: of the array to be painted.
        dtype: of that array.
        classes: of the task, 0 for one without.

    Returns:
        Both, as plain values.

    Raises:
        FieldError: no such picture, of another kind of array, an option that it has not, or a value out of range.
    """
    name = picture.one_of(PICTURES)
    if channels != CHANNELS.get(name, 1):
        raise picture.must(f"a picture of {channels} channels, as the main output has")
    if name == "classes" and dtype != "uint8":
        raise picture.must(f"another: class ids are uint8, and the main output is {dtype}")
    # the first argument is the array itself
    parameters = list(inspect.signature(PICTURES[name]).parameters.values())[1:]
    required = [p.name for p in parameters if p.default is p.empty]
    found = options.members(required, [p.name for p in parameters if p.default is not p.empty])
    checked: dict[str, Any] = {}
    for key, field in found.items():
        if key == "palette":
            checked[key] = checked_colours(field)
            if classes and len(checked[key]) != classes:
                raise FieldError(f"{field.where} has {len(checked[key])} colours for {classes} classes")
        else:
            checked[key] = field.number(0.0 if name == "depth" else -math.inf, FARTHEST)
    bounds = {p.name: checked.get(p.name, p.default) for p in parameters}
    for low, high in (("near", "far"), ("low", "high")):
        if high in bounds and not bounds[low] < bounds[high]:
            raise options.must(f"a range: {low} is {bounds[low]:g}, {high} is {bounds[high]:g}")
    return name, checked
