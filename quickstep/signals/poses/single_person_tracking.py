"""Follower: one person and the network that follows them, in a region around the body; and when two bodies are one person's.

Knows one frame after the other, not how people are searched for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.mediapipe_landmarker import Body, Landmarker
from quickstep.signals.poses.person_regions import Region, around, wider

PATIENCE = 0.5  # seconds for which a lost person is looked for where they were

_CUT = 0.01  # of a tile's side: a body nearer to its edge is cut off there
_SAME = 0.35  # of the body's longer side: joints nearer than this on average are the same person's


@dataclass(eq=False)
class Follower:
    """One person and the network that follows them."""

    network: Landmarker
    region: Region | None = None  # None: it follows nobody
    body: Body | None = None  # as seen in the current frame, in pixels of the picture
    since: float = 0.0  # when it was given this person
    lost: float | None = None  # since when the person is not seen

    def just_lost(self, time: float) -> bool:
        """Whether it lost, in this frame, somebody whom it had followed for a while."""
        return self.lost == time and self.lost - self.since > PATIENCE


def follow(follower: Follower, pixels: NDArray[np.uint8], time: float) -> None:
    """Look for a follower's person in this frame."""
    assert follower.region is not None
    size = (pixels.shape[1], pixels.shape[0])
    if follower.lost is not None and time - follower.lost > PATIENCE:
        follower.region = follower.lost = None
        return
    square = follower.region.cut(pixels)
    found = follower.network.look(square, time) or follower.network.look_again(square)
    if not found:
        follower.body = None
        if follower.lost is None:
            follower.lost = time
            follower.region = wider(follower.region, size)
        return
    body = Body(follower.region.place(found[0].joints), found[0].world)
    follower.body, follower.lost = body, None
    box = box_of(body.joints)
    if not follower.region.holds(box, size):
        moved = around(box, size)
        if moved != follower.region:
            follower.network.forget()
            follower.region = moved


def drop_doubles(followers: Sequence[Follower]) -> None:
    """Where two follow one person, only the surer one goes on."""
    seen = sorted((each for each in followers if each.body is not None), key=lambda each: -weight(each.body))
    for place, follower in enumerate(seen):
        if any(other.body is not None and same(follower.body, other.body) for other in seen[:place]):
            follower.region = follower.body = follower.lost = None


def box_of(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """The left, top, right and bottom of joints (K, C)."""
    return np.concatenate([joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)])


def same(one: Body | None, other: Body | None) -> bool:
    """Whether two bodies in one frame are one person, by where their surer joints are."""
    if one is None or other is None:
        return False
    weights = one.joints[:, 2] * other.joints[:, 2] + 1e-3
    apart = np.linalg.norm(one.joints[:, :2] - other.joints[:, :2], axis=1)
    boxes = box_of(one.joints), box_of(other.joints)
    longer = max(float(max(box[2] - box[0], box[3] - box[1])) for box in boxes)
    return float((apart * weights).sum() / weights.sum()) < _SAME * longer / 2


def covered(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Which share of the smaller of two boxes lies in the other."""
    shared = np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0))
    smaller = min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2]))
    return float(shared / max(smaller, 1e-6))


def inside(body: Body, part: Region, size: tuple[int, int]) -> bool:
    """Whether a body stands whole in a tile, or is cut off only where the picture is."""
    box, reach = box_of(body.joints), _CUT * part.side
    ends = part.left + part.side, part.top + part.side
    return bool(
        (box[0] > part.left + reach or part.left <= 0)
        and (box[1] > part.top + reach or part.top <= 0)
        and (box[2] < ends[0] - reach or ends[0] >= size[0])
        and (box[3] < ends[1] - reach or ends[1] >= size[1])
    )


def weight(body: Body | None) -> float:
    """How much somebody counts: by size and sureness."""
    if body is None:
        return 0.0
    box = box_of(body.joints)
    return float((box[2] - box[0]) * (box[3] - box[1]) * body.joints[:, 2].mean())
