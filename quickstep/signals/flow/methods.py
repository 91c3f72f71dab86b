"""Methods of optical flow: each computes the motion between two grey frames.

A method is a class made with a preset; `between(before, after)` returns the pixels, right and down, by which each point of `before` moves:
float32 (H, W, 2). A method from outside the project is named `"their.module:Class"`. Its `revision` is a part of the cache key.
The movement of the camera can be removed before (`stabilize`) or after (`affine_camera_flow`).
The settings were chosen with `python -m benchmarks flow`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quickstep.signals import opencv
from quickstep.signals.flow.config import METHODS, FlowConfig
from quickstep.signals.opencv import cv2
from quickstep.types.errors import ConfigError
from quickstep.types.registry import look_up

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


Grey = NDArray[np.uint8]  # (H, W)
Field = NDArray[np.float32]  # (H, W, 2) pixels, right and down


class Method(Protocol):
    """Computes optical flow; used by one thread at a time. Its class is called with a preset."""

    revision: str  # changes whenever the same frames give another flow; "" for ours, which follow OpenCV's version

    def between(self, before: Grey, after: Grey) -> Field:
        """Return the motion of each point of `before`."""


class Dis:
    """Dense inverse search: patches are matched from coarse to fine, then smoothed."""

    revision = ""

    def __init__(self, preset: str) -> None:
        self._preset, self._finest = {
            "quick": (cv2.DISOPTICAL_FLOW_PRESET_FAST, 2),
            "usual": (cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, 1),
            "fine": (cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, 0),
        }[preset]

    def between(self, before: Grey, after: Grey) -> Field:
        """Return the motion of each point of `before`."""
        dis = cv2.DISOpticalFlow.create(self._preset)  # a new one each time: it adapts its patches to a small frame and keeps them so
        dis.setFinestScale(self._finest)
        return np.asarray(dis.calc(before, after, None), np.float32)


class TvL1:
    """Total variation with an L1 term, initialized with DIS.

    OpenCV's own settings (five scales of 0.8, initialized with no motion) lose everything that moves by more than some ten pixels, at a
    tenth of the speed.
    """

    revision = ""

    def __init__(self, preset: str) -> None:
        if not hasattr(cv2, "optflow") or not hasattr(cv2.optflow, "DualTVL1OpticalFlow"):  # another build of OpenCV
            raise ConfigError(
                "method",
                "tvl1 needs OpenCV's contributed modules, which the OpenCV that runs does not have: "
                f"{opencv.mend(opencv.installed_packages())}; or use the method dis",
            )
        self._tvl1 = cv2.optflow.DualTVL1OpticalFlow.create()
        self._tvl1.setUseInitialFlow(True)
        self._tvl1.setScaleStep(0.5)
        self._tvl1.setScalesNumber(3)
        self._tvl1.setEpsilon({"quick": 0.06, "usual": 0.03, "fine": 0.01}[preset])

    def between(self, before: Grey, after: Grey) -> Field:
        """Return the motion of each point of `before`."""
        return np.asarray(self._tvl1.calc(before, after, fast_flow(before, after)), np.float32)


class Farneback:
    """Polynomials are fitted to each neighbourhood, and their displacement is measured."""

    revision = ""

    def __init__(self, preset: str) -> None:
        self._iterations = {"quick": 1, "usual": 3, "fine": 10}[preset]

    def between(self, before: Grey, after: Grey) -> Field:
        """Return the motion of each point of `before`."""
        return np.asarray(cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 5, 15, self._iterations, 5, 1.1, 0), np.float32)


def fast_flow(before: Grey, after: Grey) -> Field:
    """Return an approximate flow within some milliseconds."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(1)
    return np.asarray(dis.calc(before, after, None), np.float32)


def open_method(config: FlowConfig) -> Method:
    """Open the method of the settings."""
    method = look_up("method of flow", config.method, METHODS)
    return method(config.preset)  # type: ignore[no-any-return]


def revision_of(config: FlowConfig) -> str:
    """Return the revision of a method and of OpenCV, for cache keys."""
    kind: type[Method] = look_up("method of flow", config.method, METHODS)
    return f"{kind.revision} opencv {cv2.__version__}" if config.method not in METHODS else f"opencv {cv2.__version__}"


_lock = threading.Lock()
_inside = 0
_threads_before = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with one thread of OpenCV's own: its flow depends on their number, which belongs to the whole process."""
    global _inside, _threads_before
    with _lock:
        if _inside == 0:
            _threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                cv2.setNumThreads(_threads_before)
