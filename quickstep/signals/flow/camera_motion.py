"""Camera motion: two ways to remove it from optical flow.

`stabilize` is for flow that is shown or read by networks. It fits a homography (pan, tilt, zoom, roll) to a fast flow and warps the later
frame, so that the flow between the two is that of the scene; a fast pan then neither exceeds the flow's bound nor blurs it.

`affine_camera_flow` is for histograms of flow, which need a smooth field at low cost. It fits an affine field to an existing flow by
weighted least squares; the caller subtracts it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow.methods import Field, Grey, fast_flow
from quickstep.signals.opencv import cv2

Homography = NDArray[np.float64]  # (3, 3) maps a point of the earlier frame to where the camera's motion moves it

_STEP = 8  # pixels between the sampled points
_EDGE = 0.18  # share of a side: points nearer to an edge count twice, because the dancer is seldom there
_TOLERANCE = 1.0  # pixels within which a point agrees
_MIN_AGREEMENT = 0.4  # share of the points that must agree, or the camera is taken as static
_STATIC = 0.9  # a static camera is preferred if it explains this share of what the homography explains
_MAX_MOVE = 0.5  # share of the frame by which a corner may move


def stabilize(before: Grey, after: Grey) -> Grey:
    """Warp the later frame to the camera position of the earlier one; where it shows nothing, copy the earlier one."""
    homography = find_homography(before, after)
    if homography is None:
        return after
    height, width = before.shape
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    warped = cv2.warpPerspective(after, homography, (width, height), flags=flags)
    inside = cv2.warpPerspective(np.full_like(after, 255), homography, (width, height), flags=flags)
    return np.where(inside == 255, warped, before)


def find_homography(before: Grey, after: Grey) -> Homography | None:
    """Return how the camera moves the points of a frame; None for a static camera, or if that is not clear."""
    flow = fast_flow(before, after)
    height, width = before.shape
    y, x = np.mgrid[_STEP // 2 : height : _STEP, _STEP // 2 : width : _STEP]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    inward = np.minimum(np.minimum(points, [width, height] - points) / [width, height], 1).min(axis=1)
    points = np.repeat(points, np.where(inward < _EDGE, 2, 1), axis=0)  # (N, 2)
    moves = flow[points[:, 1], points[:, 0]].astype(np.float64)
    try:
        homography, _ = cv2.findHomography(
            points.astype(np.float64), points + moves, cv2.RANSAC, _TOLERANCE, maxIters=500, confidence=0.995
        )
    except cv2.error:
        return None
    if homography is None or not _is_plausible(homography, width, height):
        return None
    agreement = float((np.linalg.norm(_map(homography, points) - points - moves, axis=1) < _TOLERANCE).mean())
    static = float((np.linalg.norm(moves, axis=1) < _TOLERANCE).mean())
    return None if agreement < _MIN_AGREEMENT or static >= _STATIC * agreement else homography


def _is_plausible(homography: Homography, width: int, height: int) -> bool:
    """Whether a camera can move so between two frames: no corner moves far, and nothing is turned inside out."""
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    depth = corners @ homography[2, :2] + homography[2, 2]
    if not np.isfinite(homography).all() or (depth <= 0).any():
        return False
    moves = np.abs(_map(homography, corners) - corners)
    return bool((moves <= _MAX_MOVE * min(width, height)).all())


def _map(homography: Homography, points: NDArray[np.float64]) -> NDArray[np.float64]:
    homogeneous = points @ homography[:, :2].T + homography[:, 2]
    mapped: NDArray[np.float64] = homogeneous[:, :2] / homogeneous[:, 2:]
    return mapped


# -- an affine field ---------------------------------------------------------------------------------------------------------


def affine_camera_flow(flow: Field, *, rounds: int = 12) -> Field:
    """Return the affine field that most of a flow (H, W, 2) follows; zero if it explains hardly more than a static camera."""
    y, x = image_coordinates(*flow.shape[:2])
    basis = np.stack([np.ones_like(x), x, y], axis=-1)  # (H, W, 3)
    design = basis[::2, ::2].reshape(-1, 3)
    vectors = flow[::2, ::2].reshape(-1, 2)
    field = np.zeros((3, 2))
    field[0] = np.median(vectors, axis=0)
    for number in range(rounds):
        scale = max(0.25, 4.0 * 0.5**number)  # pixels: the tolerance shrinks
        weight = (1.0 + np.square(vectors - design @ field).sum(1) / scale**2) ** -2
        weighted = design * weight[:, None]
        field = np.linalg.solve(weighted.T @ design + 1e-3 * np.eye(3), weighted.T @ vectors)
    if _unexplained(vectors - design @ field) > 0.95 * _unexplained(vectors):
        return np.zeros_like(flow)
    return (basis @ field).astype(np.float32)


def _unexplained(residual: NDArray[Any]) -> float:
    """Return the share of flow vectors with a residual of some quarter of a pixel or more."""
    square = np.square(residual).sum(1) / 0.25**2
    return float((square / (1.0 + square)).mean())


def image_coordinates(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the coordinates (y, x) of the points of an image, each (H, W): its centre is 0, its short edge is 1 long."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (y + 0.5 - height / 2) / min(height, width), (x + 0.5 - width / 2) / min(height, width)
