"""Methods of optical flow: each computes the motion between two grey frames.

A method is a class made with a preset; `between(before, after)` returns the pixels, right and down, by which each point of `before` moves:
float32 (H, W, 2). A method from outside the project is named `"their.module:Class"`. Its `revision` is a part of the cache key.
The settings were chosen with `python -m benchmarks flow`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quickstep.signals import opencv
from quickstep.signals.flow.config import METHODS, FlowConfig
from quickstep.signals.opencv import cv2
from quickstep.types.errors import ConfigError
from quickstep.types.registry import look_up

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
