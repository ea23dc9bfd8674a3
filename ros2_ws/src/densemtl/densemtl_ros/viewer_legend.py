"""What the colours on the class picture mean: names from the node's labels, colours from the node's own pictures.

A label message carries names but no colours. Mask and class picture of one stamp tell both, so that the viewer needs no
palette of its own and cannot disagree with the node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNLABELLED", "ClassLegend", "read_labels"]

UNLABELLED = 255
_LONGEST_NAME = 80


def read_labels(message: Any) -> dict[int, str]:
    """Read the class names of a label message.

    Args:
        message: `vision_msgs/LabelInfo`, or `std_msgs/String` of JSON with the same ``class_map``.

    Returns:
        Class id to name.

    Raises:
        ValueError: it is neither, or an id or a name is unusable; the text says which.
    """
    if hasattr(message, "class_map"):
        pairs = [(entry.class_id, entry.class_name) for entry in message.class_map]
    else:
        try:
            content = json.loads(message.data)
            pairs = [(entry["class_id"], entry["class_name"]) for entry in content["class_map"]]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"labels: not the JSON of a class_map ({type(error).__name__})") from None
    for number, name in pairs:
        if type(number) is not int or not 0 <= number < UNLABELLED or not isinstance(name, str):
            raise ValueError(f"labels: id {number!r} with name {str(name)[:40]!r}; ids are 0 to 254, names are texts")
    return {number: name[:_LONGEST_NAME] for number, name in pairs}


class ClassLegend:
    """Names, colours and shares of one camera's classes."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._colours: dict[int, tuple[int, int, int]] = {}
        self._shares: Mapping[int, float] = {}

    def rename(self, names: Mapping[int, str]) -> None:
        """Take new names; colours are learnt again, because another bundle may paint otherwise."""
        if dict(names) != self._names:
            self._names, self._colours, self._shares = dict(names), {}, {}

    def learn(self, ids: NDArray[np.uint8], colours: NDArray[np.uint8]) -> None:
        """Look at a mask and the class picture of the same frame.

        Args:
            ids: ``(H, W)`` uint8 class ids, 255 = unlabelled.
            colours: ``(H, W, 3)`` uint8 RGB.
        """
        counts = np.bincount(ids.ravel(), minlength=256)
        present = np.flatnonzero(counts)
        for number in present:
            if int(number) not in self._colours:
                row, column = np.unravel_index(int(np.argmax(ids == number)), ids.shape)
                red, green, blue = colours[row, column].tolist()
                self._colours[int(number)] = (red, green, blue)
        self._shares = {int(number): float(counts[number]) / ids.size for number in present}

    def name(self, number: int) -> str:
        """The name of a class id."""
        return self._names.get(number, "unlabelled" if number == UNLABELLED else f"class {number}")

    def entries(self) -> list[dict[str, Any]]:
        """List every class.

        Returns:
            In id order ``id``, ``name``, ``colour`` (RGB, None until it was seen once) and ``share`` of the newest
            frame; unlabelled pixels as a last one where there are any.
        """
        shares, names = self._shares, self._names
        rows = [*sorted(set(names) | (set(shares) - {UNLABELLED}))]
        if shares.get(UNLABELLED):
            rows.append(UNLABELLED)
        return [
            {
                "id": number,
                "name": self.name(number),
                "colour": self._colours.get(number),
                "share": round(shares.get(number, 0.0), 4),
            }
            for number in rows
        ]
