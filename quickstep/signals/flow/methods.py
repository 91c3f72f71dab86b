"""Methods: what finds the motion between two grey pictures; knows no video, no camera and no window.

A method is a class made with a preset; `between(before, after)` gives the pixels, right and down, by which each point of `before` moves:
float32 (H, W, 2). From outside the project: `"their.module:Class"`, which may say its `revision`. The settings were chosen by what
`python -m benchmarks flow` measures.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow.config import METHODS, FlowConfig
from quickstep.types.errors import ConfigError
from quickstep.types.registry import look_up

Grey = NDArray[np.uint8]  # (H, W)
Field = NDArray[np.float32]  # (H, W, 2) pixels, right and down


class Method(Protocol):
    """What finds motion; used by one thread at a time."""

    def between(self, before: Grey, after: Grey) -> Field:
        """The motion of each point of `before`."""


class Dis:
    """Dense inverse search: patches found coarse to fine, then made smooth."""

    def __init__(self, preset: str) -> None:
        self._preset, self._finest = {
            "quick": (cv2.DISOPTICAL_FLOW_PRESET_FAST, 2),
            "usual": (cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, 1),
            "fine": (cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, 0),
        }[preset]

    def between(self, before: Grey, after: Grey) -> Field:
        finder = cv2.DISOpticalFlow.create(self._preset)  # each time: it adapts its patches to a small picture, and keeps them so
        finder.setFinestScale(self._finest)
        return np.asarray(finder.calc(before, after, None), np.float32)


class TvL1:
    """Total variation with an L1 term, begun from a quick look by DIS.

    OpenCV's own settings (five scales of 0.8 from no motion at all) lose whatever moves by more than some ten pixels, at a tenth of the
    speed.
    """

    def __init__(self, preset: str) -> None:
        if not hasattr(cv2, "optflow") or not hasattr(cv2.optflow, "DualTVL1OpticalFlow"):
            raise ConfigError(
                "method",
                "tvl1 needs OpenCV's contributed modules, and another OpenCV is installed over them: "
                "pip uninstall opencv-python opencv-python-headless, then pip install --force-reinstall "
                "opencv-contrib-python-headless; or take --method dis",
            )
        self._finder = cv2.optflow.DualTVL1OpticalFlow.create()
        self._finder.setUseInitialFlow(True)
        self._finder.setScaleStep(0.5)
        self._finder.setScalesNumber(3)
        self._finder.setEpsilon({"quick": 0.06, "usual": 0.03, "fine": 0.01}[preset])

    def between(self, before: Grey, after: Grey) -> Field:
        return np.asarray(self._finder.calc(before, after, quick_look(before, after)), np.float32)


class Farneback:
    """Polynomials fitted to each neighbourhood, and how far they moved."""

    def __init__(self, preset: str) -> None:
        self._rounds = {"quick": 1, "usual": 3, "fine": 10}[preset]

    def between(self, before: Grey, after: Grey) -> Field:
        found = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 5, 15, self._rounds, 5, 1.1, 0)
        return np.asarray(found, np.float32)


def quick_look(before: Grey, after: Grey) -> Field:
    """About what moves where, in some milliseconds."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    finder.setFinestScale(1)
    return np.asarray(finder.calc(before, after, None), np.float32)


def open_method(config: FlowConfig) -> Method:
    """What finds motion as the settings say."""
    made = look_up("method of flow", config.method, METHODS)
    return made(config.preset)  # type: ignore[no-any-return]


def revision_of(config: FlowConfig) -> str:
    """What a method from elsewhere says of its revision; ours follow OpenCV's version."""
    own = "" if config.method in METHODS else f"{getattr(look_up('method of flow', config.method, METHODS), 'revision', '')} "
    return f"{own}opencv {cv2.__version__}"


_threads = threading.Lock()
_inside = 0
_threads_outside = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV's flow depends on its number of threads, which belongs to the process: one while anybody is inside, then as before."""
    global _inside, _threads_outside
    with _threads:
        if _inside == 0:
            _threads_outside = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _inside += 1
    try:
        yield
    finally:
        with _threads:
            _inside -= 1
            if _inside == 0:
                cv2.setNumThreads(_threads_outside)
