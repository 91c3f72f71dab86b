"""Follow people with MediaPipe: square regions of a frame, and one network that follows one person in a region.

`Region` and its functions are geometry: where to search for people, and where to follow one. `Follower` runs a network in its region.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.mediapipe_landmarker import Body, Landmarker

LOST_SECONDS = 0.5  # a lost person is searched for in the region this long

_REGION_SIZE = 2.2  # side of a person's region over the longer side of the person's box
_MARGIN = 0.12  # of the longer side of the box: nearer than this to the region's edge, the region has to move
_SMALL = 0.3  # of the region's side: a smaller person needs a smaller region
_WHOLE = 0.75  # of the frame's longer side: a larger region becomes the whole frame
_SMALLEST = 64  # pixels
_OVERLAP = 0.35  # of a tile's side: neighbours share so much that a person is whole in one of them
_CLOSE = 0.62  # of the frame's shorter side: the tiles of the closest search
_CUT = 0.01  # of a tile's side: a body nearer to its edge is cut off there
_SAME = 0.35  # of the body's longer side: joints nearer than this on average belong to one person


# -- regions -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """A square of the frame, which may reach beyond its edges."""

    left: int
    top: int
    side: int

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return its pixels (S, S, 3), black outside the frame."""
        height, width = pixels.shape[:2]
        x0, y0 = max(0, self.left), max(0, self.top)
        x1, y1 = min(width, self.left + self.side), min(height, self.top + self.side)
        if x1 - x0 == self.side and y1 - y0 == self.side:
            return np.ascontiguousarray(pixels[y0:y1, x0:x1])
        square = np.zeros((self.side, self.side, 3), np.uint8)
        if x1 > x0 and y1 > y0:
            square[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left] = pixels[y0:y1, x0:x1]
        return square

    def to_frame(self, joints: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert joints (..., C) from shares of the square's side to pixels of the frame."""
        placed = joints.copy()
        placed[..., 0] = joints[..., 0] * self.side + self.left
        placed[..., 1] = joints[..., 1] * self.side + self.top
        return placed

    def holds(self, box: NDArray[np.float32], size: tuple[int, int]) -> bool:
        """Whether a person with this box (left, top, right, bottom) can still be followed in the region."""
        longer = float(max(box[2] - box[0], box[3] - box[1]))
        if self.side >= max(size):
            return longer > _WHOLE / _REGION_SIZE * 0.7 * self.side or longer < 1
        margin = _MARGIN * longer
        inside = (
            box[0] - self.left > margin
            and box[1] - self.top > margin
            and self.left + self.side - box[2] > margin
            and self.top + self.side - box[3] > margin
        )
        return bool(inside and longer > _SMALL * self.side)


def whole_frame(size: tuple[int, int]) -> Region:
    """Return the square around the whole frame."""
    width, height = size
    side = max(width, height)
    return Region((width - side) // 2, (height - side) // 2, side)


def region_around(box: NDArray[np.float32], size: tuple[int, int]) -> Region:
    """Return the region in which a person with this box (left, top, right, bottom) is followed."""
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    side = max(_SMALLEST, math.ceil(_REGION_SIZE * longer))
    if side > _WHOLE * max(size):
        return whole_frame(size)
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    return Region(round(x - side / 2), round(y - side / 2), side)


def regions_near(box: NDArray[np.float32]) -> list[Region]:
    """Return two squares around the box of a person who was just lost: a close one and a wider one."""
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    sides = [max(_SMALLEST, math.ceil(times * longer)) for times in (1.5, 3.0)]
    return [Region(round(x - side / 2), round(y - side / 2), side) for side in sides]


def wider_region(region: Region, size: tuple[int, int]) -> Region:
    """Return a region half as large again, for a person who was just lost."""
    side = math.ceil(region.side * 1.5)
    if side > _WHOLE * max(size):
        return whole_frame(size)
    return Region(region.left - (side - region.side) // 2, region.top - (side - region.side) // 2, side)


def tiles(size: tuple[int, int]) -> list[Region]:
    """Return squares that cover the frame, large ones first: in them, people who are small in the frame can be found."""
    width, height = size
    short = min(width, height)
    large = list(_grid(size, short)) if max(size) > 1.15 * short else []
    close = max(_SMALLEST, math.ceil(_CLOSE * short))
    return large + (list(_grid(size, close)) if close < short else [])


def _grid(size: tuple[int, int], side: int) -> Iterator[Region]:
    for top in _starts(size[1], side):
        for left in _starts(size[0], side):
            yield Region(left, top, side)


def _starts(length: int, side: int) -> list[int]:
    """Return where squares of this side start so that they cover a length."""
    spare = max(0, length - side)
    gaps = math.ceil(spare / (side * (1 - _OVERLAP)) - 1e-9)
    return [round(spare * number / gaps) for number in range(gaps + 1)] if gaps else [(length - side) // 2]


# -- followers ---------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Follower:
    """A network that follows one person."""

    network: Landmarker
    region: Region | None = None  # None: it follows nobody
    body: Body | None = None  # in the current frame, in pixels of the frame
    since: float = 0.0  # seconds: when it was given this person
    lost: float | None = None  # seconds: since when the person is not visible

    def just_lost(self, time: float) -> bool:
        """Whether it lost, in this frame, a person that it had followed for a while."""
        return self.lost == time and self.lost - self.since > LOST_SECONDS

    def follow(self, pixels: NDArray[np.uint8], time: float) -> None:
        """Find the person in this frame; move the region along, or give up after `LOST_SECONDS`."""
        assert self.region is not None
        size = (pixels.shape[1], pixels.shape[0])
        if self.lost is not None and time - self.lost > LOST_SECONDS:
            self.region = self.lost = None
            return
        square = self.region.cut(pixels)
        bodies = self.network.detect(square, time) or self.network.detect_again(square)
        if not bodies:
            self.body = None
            if self.lost is None:
                self.lost = time
                self.region = wider_region(self.region, size)
            return
        self.body, self.lost = Body(self.region.to_frame(bodies[0].joints), bodies[0].world), None
        box = box_of(self.body.joints)
        if not self.region.holds(box, size):
            moved = region_around(box, size)
            if moved != self.region:
                self.network.forget()
                self.region = moved


def drop_duplicates(followers: Sequence[Follower]) -> None:
    """Where two followers have one person, stop all but the one with the largest weight."""
    with_body = sorted((follower for follower in followers if follower.body is not None), key=lambda follower: -weight(follower.body))
    for place, follower in enumerate(with_body):
        if any(other.body is not None and same_person(follower.body, other.body) for other in with_body[:place]):
            follower.region = follower.body = follower.lost = None


# -- bodies ------------------------------------------------------------------------------------------------------------------


def box_of(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the left, top, right and bottom of joints (K, C)."""
    return np.concatenate([joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)])


def same_person(one: Body | None, other: Body | None) -> bool:
    """Whether two bodies in one frame are one person, by the distance of their joints, weighted by score."""
    if one is None or other is None:
        return False
    weights = one.joints[:, 2] * other.joints[:, 2] + 1e-3
    distances = np.linalg.norm(one.joints[:, :2] - other.joints[:, :2], axis=1)
    boxes = box_of(one.joints), box_of(other.joints)
    longer = max(float(max(box[2] - box[0], box[3] - box[1])) for box in boxes)
    return float((distances * weights).sum() / weights.sum()) < _SAME * longer / 2


def overlap_share(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the share of the smaller of two boxes that lies in the other."""
    shared = np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0))
    smaller = min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2]))
    return float(shared / max(smaller, 1e-6))


def is_whole_in(body: Body, tile: Region, size: tuple[int, int]) -> bool:
    """Whether a body is whole in a tile, or cut off only where the frame ends."""
    box, reach = box_of(body.joints), _CUT * tile.side
    ends = tile.left + tile.side, tile.top + tile.side
    return bool(
        (box[0] > tile.left + reach or tile.left <= 0)
        and (box[1] > tile.top + reach or tile.top <= 0)
        and (box[2] < ends[0] - reach or ends[0] >= size[0])
        and (box[3] < ends[1] - reach or ends[1] >= size[1])
    )


def weight(body: Body | None) -> float:
    """Return the area of a body times its mean score: the larger, the more important."""
    if body is None:
        return 0.0
    box = box_of(body.joints)
    return float((box[2] - box[0]) * (box[3] - box[1]) * body.joints[:, 2].mean())
