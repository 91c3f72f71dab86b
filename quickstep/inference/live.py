"""Watcher: a camera's pictures as they come -> the move that is danced now; whatever is late is dropped, so that it never lags behind.

The last seconds are looked at exactly as a video of that length would be, through the model's own view: they are written as a short video,
and `Model.predict` is asked. Skeletons are found on a thread of their own, in the newest picture there is. Knows no camera and no page.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.inference.timelines import TimelineConfig
from quickstep.inference.timelines.windows import window_of
from quickstep.models.ensemble import AnyModel, lead_of
from quickstep.models.model import Prediction
from quickstep.signals.poses import PoseEstimator
from quickstep.signals.poses.drawing import Look, draw_bodies
from quickstep.signals.video import write_video
from quickstep.storage.cache import Cache
from quickstep.types.errors import QuickstepError
from quickstep.types.signals import Frames

Pixels = NDArray[np.uint8]

EDGE = 256  # pixels of the shorter edge of what is kept to be looked at
PACE = 15.0  # pictures a second of it; a model whose view is faster is shown more
FASTEST = 30.0
REST = 0.1  # seconds between two looks at least: the pictures need the processor too
STALE = 1.2  # seconds after which a skeleton is not drawn any more
_PRUNED = 50  # looks after which what was computed for them is thrown away


@dataclass(frozen=True, eq=False)
class Now:
    """What is known at this moment."""

    prediction: Prediction | None = None
    behind: float = 0.0  # seconds from the newest picture that the answer has seen until the answer was there
    looks: int = 0
    shown: int = 0  # pictures that came
    filled: float = 0.0  # the share of the first window that has come
    bodies: float = 0.0  # seconds that finding a skeleton takes; 0 where none is looked for
    problem: str = ""


@dataclass
class _Newest:
    """The newest picture for the skeleton's thread."""

    picture: Pixels | None = None
    at: float = -1.0
    joints: NDArray[np.float32] | None = None  # (P, K, 3) of an earlier one
    found: float = -10.0
    took: float = 0.0


@dataclass
class _Kept:
    """The last seconds, small."""

    pictures: deque[Pixels] = field(default_factory=deque)
    times: deque[float] = field(default_factory=deque)


class Watcher:
    """Give it pictures with `see`, ask it for `now`, have it `draw`; `close` it in the end."""

    def __init__(
        self, model: AnyModel, *, estimator: PoseEstimator | None = None, window: float | None = None, lock: Lock | None = None
    ) -> None:
        self._model, self._estimator = model, estimator
        self._lock = lock or Lock()  # of a model that others ask too
        self.window = window or window_of(lead_of(model), TimelineConfig())
        self._pace = float(np.clip(lead_of(model).view.fps or PACE, PACE, FASTEST))
        self._folder = Path(tempfile.mkdtemp(prefix="quickstep-live-"))
        self._cache = Cache(self._folder / "cache")
        self._kept, self._newest, self._now = _Kept(), _Newest(), Now()
        self._changed, self._closed = threading.Condition(), False
        works = [self._look, *([self._find] if estimator is not None else [])]
        self._threads = [threading.Thread(target=work, name=f"live-{work.__name__}", daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    @property
    def now(self) -> Now:
        """What is known at this moment."""
        with self._changed:
            times = self._kept.times
            filled = min(1.0, (times[-1] - times[0]) / self.window) if len(times) > 1 else 0.0
            return replace(self._now, filled=filled, bodies=self._newest.took)

    def see(self, picture: Pixels, at: float | None = None) -> None:
        """The next picture (H, W, 3), RGB; takes a millisecond, whatever the model takes."""
        at = time.monotonic() if at is None else at
        small = _small(picture)
        with self._changed:
            kept = self._kept
            if kept.pictures and (kept.pictures[-1].shape != small.shape or at <= kept.times[-1] or at - kept.times[-1] > self.window):
                kept.pictures.clear()  # another camera, or a long pause: what was before is not a part of it
                kept.times.clear()
            if not kept.times or at - kept.times[-1] > 0.8 / self._pace:
                kept.pictures.append(small)
                kept.times.append(at)
            while kept.times and kept.times[0] < at - self.window - 1 / self._pace:
                kept.pictures.popleft()
                kept.times.popleft()
            self._newest.picture, self._newest.at = picture, at
            self._now = replace(self._now, shown=self._now.shown + 1)
            self._changed.notify_all()

    def draw(self, picture: Pixels) -> None:
        """Draw the bodies that were found last into a picture."""
        if self._estimator is None:
            return
        with self._changed:
            joints, fresh = self._newest.joints, self._newest.at - self._newest.found < STALE
        if joints is not None and fresh:
            people = [number for number, body in enumerate(joints, start=1) if (body[:, 2] > 0).any()]
            names = dict.fromkeys(people, "")
            draw_bodies(picture, joints[[number - 1 for number in people]], people, self._estimator.skeleton, look=Look(names=names))

    def close(self) -> None:
        """End it and remove everything of it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=30)
        if self._estimator is not None:
            self._estimator.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- the model's thread ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at the newest window, again and again; what came meanwhile and is over by then is never looked at."""
        last = -1.0
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._ready, last))
                if self._closed:
                    return
                pictures, times = list(self._kept.pictures), list(self._kept.times)
            last, began = times[-1], time.monotonic()
            prediction, problem = self._ask(pictures, times)
            with self._changed:
                behind, looks = time.monotonic() - began, self._now.looks + 1
                self._now = replace(self._now, prediction=prediction, behind=behind, looks=looks, problem=problem)
            if looks % _PRUNED == 0:
                shutil.rmtree(self._cache.folder / "arrays", ignore_errors=True)
            time.sleep(max(REST, 0.5 * behind))

    def _ready(self, last: float) -> bool:
        times = self._kept.times
        return self._closed or (len(times) > 1 and times[-1] > last and times[-1] - times[0] >= 0.95 * self.window - 1 / self._pace)

    def _ask(self, pictures: Sequence[Pixels], times: Sequence[float]) -> tuple[Prediction | None, str]:
        file = self._folder / "now.mp4"
        try:
            write_video(file, _evenly(pictures, times, self._pace), fps=self._pace, crf=18, preset="ultrafast")
            with self._lock:
                found = self._model.predict([file], cache=self._cache)
        except QuickstepError as error:
            return None, str(error)
        if found.failures:
            return None, str(found.failures[0].error).replace(str(file), "the camera's picture")
        return found.predictions[0], ""

    def _newer(self, last: float) -> bool:
        return self._closed or self._newest.at > last

    # -- the skeleton's thread ---------------------------------------------------------------------------------------------

    def _find(self) -> None:
        """Find the bodies in the newest picture, again and again."""
        assert self._estimator is not None
        last, first = -1.0, time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._newer, last))
                if self._closed:
                    return
                picture, at = self._newest.picture, self._newest.at
            assert picture is not None
            last, began = at, time.monotonic()
            try:
                seen = np.ascontiguousarray(picture)[None]  # rows without padding: the estimator misreads others
                poses = self._estimator.estimate(Frames(seen, np.array([began - first])))
            except QuickstepError as error:
                with self._changed:
                    self._now = replace(self._now, problem=str(error))
                return
            with self._changed:
                self._newest.joints, self._newest.found = poses.joints[0], at
                self._newest.took = time.monotonic() - began


def _small(picture: Pixels) -> Pixels:
    """The picture as it is kept: small, of an even width and height."""
    height, width = picture.shape[:2]
    scale = min(1.0, EDGE / min(height, width))
    size = max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _evenly(pictures: Sequence[Pixels], times: Sequence[float], pace: float) -> list[Pixels]:
    """The pictures shown at even steps of time: a camera's come when they come."""
    moments = np.arange(times[0], times[-1] + 0.5 / pace, 1 / pace)
    places = np.clip(np.searchsorted(np.array(times), moments + 1e-6, side="right") - 1, 0, len(pictures) - 1)
    return [pictures[place] for place in places.tolist()]
