"""Region: a square part of a picture to look at more closely; which ones to search for people, and which one to follow a person in.

Only geometry of boxes and squares; knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AROUND = 2.2  # side of a person's region over the person's longer side: room to move in
_NEAR_EDGE = 0.12  # of a person's longer side: nearer to the region's edge, it has to move
_SMALL = 0.3  # of the region's side: a smaller person needs a smaller region
_WHOLE = 0.75  # of the picture's longer side: a region larger than this may as well be the whole picture
_LEAST = 64  # pixels
_OVERLAP = 0.35  # of a tile's side: neighbours share so much that a person stands whole in one of them
_CLOSE = 0.62  # of the picture's shorter side: the tiles of the closest look


@dataclass(frozen=True)
class Region:
    """A square of the picture, which may reach beyond its edges."""

    left: int
    top: int
    side: int

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Its pixels (S, S, 3); what lies outside the picture is black."""
        height, width = pixels.shape[:2]
        x0, y0 = max(0, self.left), max(0, self.top)
        x1, y1 = min(width, self.left + self.side), min(height, self.top + self.side)
        if x1 - x0 == self.side and y1 - y0 == self.side:
            return np.ascontiguousarray(pixels[y0:y1, x0:x1])
        square = np.zeros((self.side, self.side, 3), np.uint8)
        if x1 > x0 and y1 > y0:
            square[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left] = pixels[y0:y1, x0:x1]
        return square

    def place(self, joints: NDArray[np.float32]) -> NDArray[np.float32]:
        """Joints (..., C) whose x and y are shares of the square's side, in pixels of the picture."""
        placed = joints.copy()
        placed[..., 0] = joints[..., 0] * self.side + self.left
        placed[..., 1] = joints[..., 1] * self.side + self.top
        return placed

    def holds(self, box: NDArray[np.float32], size: tuple[int, int]) -> bool:
        """Whether a person with that box (left, top, right, bottom) can still be followed in it."""
        longer = float(max(box[2] - box[0], box[3] - box[1]))
        if self.side >= max(size):
            return longer > _WHOLE / _AROUND * 0.7 * self.side or longer < 1
        margin = _NEAR_EDGE * longer
        inside = (
            box[0] - self.left > margin
            and box[1] - self.top > margin
            and self.left + self.side - box[2] > margin
            and self.top + self.side - box[3] > margin
        )
        return bool(inside and longer > _SMALL * self.side)


def whole(size: tuple[int, int]) -> Region:
    """The square around the whole picture."""
    width, height = size
    side = max(width, height)
    return Region((width - side) // 2, (height - side) // 2, side)


def around(box: NDArray[np.float32], size: tuple[int, int]) -> Region:
    """The square in which a person with that box (left, top, right, bottom) is followed."""
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    side = max(_LEAST, math.ceil(_AROUND * longer))
    if side > _WHOLE * max(size):
        return whole(size)
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    return Region(round(x - side / 2), round(y - side / 2), side)


def closely(box: NDArray[np.float32]) -> list[Region]:
    """Squares around the place where somebody was just lost: close up, and not so close."""
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    sides = [max(_LEAST, math.ceil(times * longer)) for times in (1.5, 3.0)]
    return [Region(round(x - side / 2), round(y - side / 2), side) for side in sides]


def wider(region: Region, size: tuple[int, int]) -> Region:
    """Half as large again: where a person who was just lost may be."""
    side = math.ceil(region.side * 1.5)
    if side > _WHOLE * max(size):
        return whole(size)
    return Region(region.left - (side - region.side) // 2, region.top - (side - region.side) // 2, side)


def tiles(size: tuple[int, int]) -> list[Region]:
    """Squares that cover the picture closer up, where people who are small in it can be found: large ones first."""
    width, height = size
    short = min(width, height)
    found = list(_grid(size, short)) if max(size) > 1.15 * short else []
    close = max(_LEAST, math.ceil(_CLOSE * short))
    return found + (list(_grid(size, close)) if close < short else [])


def _grid(size: tuple[int, int], side: int) -> Iterator[Region]:
    for top in _steps(size[1], side):
        for left in _steps(size[0], side):
            yield Region(left, top, side)


def _steps(length: int, side: int) -> list[int]:
    """Where squares of that side begin so that they cover a length."""
    spare = max(0, length - side)
    gaps = math.ceil(spare / (side * (1 - _OVERLAP)) - 1e-9)
    return [round(spare * number / gaps) for number in range(gaps + 1)] if gaps else [(length - side) // 2]
