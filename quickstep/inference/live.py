"""Watcher: classifies the pictures of a camera as they arrive; it drops what is late, so that it never lags behind.

One thread scores the newest seconds with `Model.score`, in memory. Another estimates the pose in the newest picture.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from quickstep.inference.timelines import TimelineConfig
from quickstep.inference.timelines.windows import window_length
from quickstep.models.classifier import Prediction
from quickstep.models.ensemble import AnyModel
from quickstep.signals.opencv import cv2
from quickstep.signals.poses import PoseEstimator
from quickstep.signals.poses.drawing import Look, draw_bodies
from quickstep.types.errors import QuickstepError
from quickstep.types.signals import Frames

Pixels = NDArray[np.uint8]

SHORT_EDGE = 256  # pixels of the pictures that are kept for the model
PICTURES_PER_SECOND = 15.0  # of those that are kept; a model whose view has a higher rate gets more
MAX_PICTURES_PER_SECOND = 30.0
PAUSE = 0.1  # seconds between two predictions at least: the camera needs the processor too
LONGEST_GAP = 2.0  # seconds between two pictures of a slow camera or a busy machine; after a longer one a new window begins
POSE_LIFETIME = 1.2  # seconds after which a pose is not drawn any more

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LiveState:
    """The newest prediction, and how far it lags behind the camera."""

    prediction: Prediction | None = None
    latency: float = 0.0  # seconds from the newest picture that was scored to its prediction
    predictions: int = 0  # made so far
    pictures: int = 0  # received so far
    filled: float = 0.0  # share of the first window that has arrived
    pose_seconds: float = 0.0  # that one pose estimation takes; 0 without an estimator
    problem: str = ""  # why there is no prediction


@dataclass
class _PoseInput:
    """The newest picture, and the newest pose that was estimated."""

    picture: Pixels | None = None
    time: float = -1.0
    joints: NDArray[np.float32] | None = None  # (P, K, 3)
    joints_time: float = -10.0
    seconds: float = 0.0


@dataclass
class _Buffer:
    """The frames of the last seconds, scaled down."""

    window: float  # seconds that the model needs
    rate: float  # pictures a second that are kept
    pictures: deque[Pixels] = field(default_factory=deque)
    times: deque[float] = field(default_factory=deque)

    def add(self, picture: Pixels, now: float) -> None:
        """Add a picture and drop what is older than a window; two are always kept, however slowly they arrive."""
        small = _shrink(picture)
        if self.pictures:
            before, gap = self.pictures[-1], now - self.times[-1]
            if not (0 < gap <= max(self.window, LONGEST_GAP) and _same_shape(before, small)):
                self.pictures.clear()  # another camera, or a long pause
                self.times.clear()
            else:
                small = _resized(small, before.shape[1], before.shape[0])  # a browser sends smaller pictures when it is busy
        if not self.times or now - self.times[-1] > 0.8 / self.rate:
            self.pictures.append(small)
            self.times.append(now)
        while len(self.times) > 2 and self.times[0] < now - self.window - 1 / self.rate:
            self.pictures.popleft()
            self.times.popleft()

    @property
    def seconds(self) -> float:
        """Return how much time the pictures span."""
        return self.times[-1] - self.times[0] if len(self.times) > 1 else 0.0


class Watcher:
    """Give it pictures with `add`, read `state`, let it `draw` the pose, and `close` it at the end."""

    def __init__(
        self, model: AnyModel, *, estimator: PoseEstimator | None = None, window: float | None = None, lock: Lock | None = None
    ) -> None:
        self._model, self._estimator = model, estimator
        self._lock = lock or Lock()  # of a model that other threads use too
        self.window = window or window_length(model.lead, TimelineConfig())
        rate = float(np.clip(model.lead.view.fps or PICTURES_PER_SECOND, PICTURES_PER_SECOND, MAX_PICTURES_PER_SECOND))
        self._buffer, self._pose, self._state = _Buffer(self.window, rate), _PoseInput(), LiveState()
        self._changed, self._closed = threading.Condition(), False
        loops = [self._predict, *([self._estimate_poses] if estimator is not None else [])]
        self._threads = [threading.Thread(target=loop, name=f"live{loop.__name__}", daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()

    @property
    def state(self) -> LiveState:
        """Return the newest prediction and what is known about it."""
        with self._changed:
            filled = min(1.0, self._buffer.seconds / self.window)
            return replace(self._state, filled=filled, pose_seconds=self._pose.seconds)

    def add(self, picture: Pixels, time_shown: float | None = None) -> None:
        """Add the next picture (H, W, 3), RGB; takes a millisecond, however slow the model is."""
        now = time.monotonic() if time_shown is None else time_shown
        with self._changed:
            self._buffer.add(picture, now)
            self._pose.picture, self._pose.time = picture, now
            self._state = replace(self._state, pictures=self._state.pictures + 1)
            self._changed.notify_all()

    def draw(self, picture: Pixels) -> None:
        """Draw the newest poses into a picture."""
        if self._estimator is None:
            return
        with self._changed:
            joints, recent = self._pose.joints, self._pose.time - self._pose.joints_time < POSE_LIFETIME
        if joints is not None and recent:
            people = [number for number, body in enumerate(joints, start=1) if (body[:, 2] > 0).any()]
            look = Look(names=dict.fromkeys(people, ""))
            draw_bodies(picture, joints[[number - 1 for number in people]], people, self._estimator.skeleton, look=look)

    def close(self) -> None:
        """Stop the threads and close the estimator."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=30)
        if self._estimator is not None:
            self._estimator.close()

    # -- the prediction thread ---------------------------------------------------------------------------------------------

    def _predict(self) -> None:
        """Score the newest window, again and again; what arrives and passes meanwhile is never scored."""
        last = -1.0
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._has_window_after, last))
                if self._closed:
                    return
                pictures, times = list(self._buffer.pictures), list(self._buffer.times)
            last, started = times[-1], time.monotonic()
            prediction, problem = self._score(pictures, times)
            latency = time.monotonic() - started
            with self._changed:
                count = self._state.predictions + 1
                if problem and problem != self._state.problem:
                    _log.warning("live prediction failed: %s", problem)
                self._state = replace(self._state, prediction=prediction, latency=latency, predictions=count, problem=problem)
            time.sleep(max(PAUSE, 0.5 * latency))

    def _has_window_after(self, last: float) -> bool:
        buffer = self._buffer
        return self._closed or (
            len(buffer.times) > 1 and buffer.times[-1] > last and buffer.seconds >= 0.95 * self.window - 1 / buffer.rate
        )

    def _score(self, pictures: Sequence[Pixels], times: Sequence[float]) -> tuple[Prediction | None, str]:
        try:
            with self._lock:
                answer = self._model.score(Frames(np.stack(pictures), np.array(times) - times[0]))
        except QuickstepError as error:
            return None, str(error)
        if answer.failures:
            return None, str(answer.failures[0].error).replace(str(answer.failures[0].segment.path), "the camera's picture")
        return answer.predictions[0], ""

    # -- the pose thread ---------------------------------------------------------------------------------------------------

    def _has_picture_after(self, last: float) -> bool:
        return self._closed or self._pose.time > last

    def _estimate_poses(self) -> None:
        """Estimate the poses in the newest picture, again and again."""
        assert self._estimator is not None
        last, first = -1.0, time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._has_picture_after, last))
                if self._closed:
                    return
                picture, moment = self._pose.picture, self._pose.time
            assert picture is not None
            last, started = moment, time.monotonic()
            try:
                pixels = np.ascontiguousarray(picture)[None]  # rows without padding: the estimator misreads others
                poses = self._estimator.estimate(Frames(pixels, np.array([started - first])))
            except QuickstepError as error:
                _log.warning("live pose estimation stopped: %s", error)
                with self._changed:
                    self._state = replace(self._state, problem=str(error))
                return
            with self._changed:
                self._pose.joints, self._pose.joints_time = poses.joints[0], moment
                self._pose.seconds = time.monotonic() - started


def _shrink(picture: Pixels) -> Pixels:
    """Scale a picture down to the size that is kept, with an even width and height."""
    height, width = picture.shape[:2]
    scale = min(1.0, SHORT_EDGE / min(height, width))
    size = max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
    return _resized(picture, *size)


def _resized(picture: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _same_shape(one: Pixels, other: Pixels) -> bool:
    """Tell whether two pictures are equally wide for their height, but for what rounding to even numbers does."""
    (height, width), (other_height, other_width) = one.shape[:2], other.shape[:2]
    return bool(abs(width / height - other_width / other_height) < 0.05)
