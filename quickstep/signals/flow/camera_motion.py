"""Camera: where a camera that moved would have shown each point had it stayed; knows two pictures and nothing else.

Most of a picture is the scene behind the dancer, and the scene moves as one plane does: a homography (pan, tilt, zoom, roll). A quick
look for motion, at points that stand denser towards the edges where the dancer seldom is, says which; what disagrees is left out. The
later picture is then brought to where the camera was before, and the flow is found anew between the two, so that a fast pan
neither exceeds the flow's bound nor smears it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow.methods import Grey, quick_look

Plane = NDArray[np.float64]  # (3, 3) a point of the earlier picture -> where the camera's motion brings it

_STEP = 8  # pixels between the points that are asked
_EDGE = 0.18  # share of a side that is near an edge; a point there counts twice
_NEAR = 1.0  # pixels within which a point agrees
_AGREED = 0.4  # share of the points that must agree, or the camera is taken to rest
_REST = 0.9  # where a camera at rest explains this share of what the best plane does, it rests
_FARTHEST = 0.5  # share of the picture by which a corner may move at most


def stay(before: Grey, after: Grey) -> Grey:
    """The later picture as a camera that had not moved would have taken it; what it has not seen is as it was before."""
    plane = camera_motion(before, after)
    if plane is None:
        return after
    height, width = before.shape
    how = cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(after, plane, (width, height), flags=how | cv2.INTER_LINEAR)
    seen = cv2.warpPerspective(np.full_like(after, 255), plane, (width, height), flags=how | cv2.INTER_LINEAR)
    return np.where(seen == 255, moved, before)


def camera_motion(before: Grey, after: Grey) -> Plane | None:
    """How the camera's own motion moves the points of a picture; None for a camera at rest, or where that cannot be told."""
    flow = quick_look(before, after)
    height, width = before.shape
    y, x = np.mgrid[_STEP // 2 : height : _STEP, _STEP // 2 : width : _STEP]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    inward = np.minimum(np.minimum(points, [width, height] - points) / [width, height], 1).min(axis=1)
    asked = np.repeat(points, np.where(inward < _EDGE, 2, 1), axis=0)  # (N, 2)
    moves = flow[asked[:, 1], asked[:, 0]].astype(np.float64)
    try:
        plane, _ = cv2.findHomography(asked.astype(np.float64), asked + moves, cv2.RANSAC, _NEAR, maxIters=500, confidence=0.995)
    except cv2.error:
        return None
    if plane is None or not _plausible(plane, width, height):
        return None
    agreed = float((np.linalg.norm(_moved(plane, asked) - asked - moves, axis=1) < _NEAR).mean())
    resting = float((np.linalg.norm(moves, axis=1) < _NEAR).mean())
    return None if agreed < _AGREED or resting >= _REST * agreed else plane


def _plausible(plane: Plane, width: int, height: int) -> bool:
    """Whether a camera can do that from one picture to the next: no corner goes far, and nothing turns inside out."""
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    depth = corners @ plane[2, :2] + plane[2, 2]
    if not np.isfinite(plane).all() or (depth <= 0).any():
        return False
    apart = np.abs(_moved(plane, corners) - corners)
    return bool((apart <= _FARTHEST * min(width, height)).all())


def _moved(plane: Plane, points: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = points @ plane[:, :2].T + plane[:, 2]
    moved: NDArray[np.float64] = whole[:, :2] / whole[:, 2:]
    return moved
