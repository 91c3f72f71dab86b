"""FlowEstimator: optical flow between consecutive frames; the same bits for any number of threads and any earlier window."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow.camera_motion import stabilize
from quickstep.signals.flow.config import FlowConfig
from quickstep.signals.flow.methods import Grey, Method, one_thread, open_method
from quickstep.types.signals import Flow, Frames

Levels = NDArray[np.uint8]  # (H, W, 2)

REST = 128  # the level of no motion
_SHORTEST = 32  # pixels of the short edge: smaller frames are enlarged, because OpenCV's DIS crashes on tiny ones


class FlowEstimator:
    """Estimates the flow of one window after the other; frames and fields that two windows share are computed once."""

    def __init__(self, config: FlowConfig, *, threads: int = 1) -> None:
        self._config = config
        self._local = _ThreadLocal()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flow") if threads > 1 else None
        self._greys: dict[float, Grey] = {}
        self._fields: dict[tuple[float, float], Levels] = {}
        self._method()  # a missing library is reported before anything is decoded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def estimate(self, frames: Frames) -> Flow:
        """Return the motion from each frame to the next: one field fewer than frames. A time identifies a frame."""
        times = frames.times.tolist()
        greys = {time: self._greys[time] if time in self._greys else to_grey(pixels) for time, pixels in zip(times, frames.pixels)}
        steps = list(pairwise(times))
        fields = {step: self._fields[step] for step in steps if step in self._fields}
        new = [step for step in dict.fromkeys(steps) if step not in fields]
        with one_thread():  # of OpenCV's own, which would change the values; ours compute one pair each
            pairs = [(greys[early], greys[late]) for early, late in new]
            fields |= zip(new, self._pool.map(self._levels, pairs) if self._pool else map(self._levels, pairs), strict=True)
        self._greys, self._fields = greys, fields
        height, width = frames.pixels.shape[1:3]
        levels = np.stack([fields[step] for step in steps]) if steps else np.zeros((0, height, width, 2), np.uint8)
        return Flow(levels, frames.times[:-1], self._config.bound, min(frames.lost, len(steps)))

    def _levels(self, pair: tuple[Grey, Grey]) -> Levels:
        before, after = pair
        if before is after or np.array_equal(before, after):
            return np.full((*before.shape, 2), REST, np.uint8)
        height, width = before.shape
        scale = max(1.0, _SHORTEST / min(height, width))
        size = max(_SHORTEST, round(width * scale)), max(_SHORTEST, round(height * scale))
        if scale > 1:
            before, after = (np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), np.uint8) for grey in pair)
        field = self._method().between(before, stabilize(before, after) if self._config.camera else after)
        if scale > 1:
            shrunk = cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA)
            field = shrunk * np.array([width / size[0], height / size[1]], np.float32)
        levels: Levels = Flow.of(np.nan_to_num(field)[None], np.zeros(1), bound=self._config.bound).levels[0]
        return levels

    def _method(self) -> Method:
        """Return this thread's own method: a method is not thread-safe."""
        if self._local.method is None:
            self._local.method = open_method(self._config)
        return self._local.method


class _ThreadLocal(threading.local):
    """One method for each thread."""

    method: Method | None = None


def to_grey(pixels: NDArray[np.uint8]) -> Grey:
    """Convert a frame (H, W, 3) to grey."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
