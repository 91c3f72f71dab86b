"""ConcurrentDrawing: draw a video while the pose estimator still runs on it; at the end check whether the drawing is right.

Tracking numbers the people, and drops false detections, only when it has the whole video. So the drawing follows with a delay and uses the
preliminary numbers. If the final ones differ, the video has to be drawn again; with one dancer that is rare.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.drawing import Look, draw_video, interpolate_joints
from quickstep.signals.poses.tracking import MIN_SECONDS, Tracker
from quickstep.types.errors import QuickstepError
from quickstep.types.signals import Poses

_DELAY = 0.6  # seconds between the newest poses and the drawing: by then a new person is no longer a possible false detection


class _Stopped(Exception):
    """The drawing is not needed any more."""


class ConcurrentDrawing:
    """Draws one video in a thread: `feed` it poses, then `finish` it."""

    def __init__(self, video: Path, out: Path, look: Look) -> None:
        self._video, self._out, self._look = video, out, look
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._temporary: Path | None = None
        self._ended = self._stopped = False
        self._complete = False  # written to the end
        self._tracker: Tracker | None = None
        self._parts: list[Poses] = []
        self._owners: list[NDArray[np.int64]] = []  # (T, P) beside each part
        self._seconds: dict[int, float] = {}  # owner -> visible seconds
        self._numbers: dict[int, int] = {}  # owner -> number drawn
        self._drawn: list[tuple[float, frozenset[int]]] = []  # start of each batch, and the owners drawn from then on

    def feed(self, poses: Poses) -> None:
        """Add the next bodies, in pixels of the whole frame."""
        if self._tracker is None:
            self._tracker = Tracker(len(poses.skeleton))
            self._start(poses)
        owners = self._tracker.update(poses)
        with self._changed:
            self._parts.append(poses)
            self._owners.append(owners)
            self._changed.notify_all()

    def finish(self, poses: Poses) -> bool:
        """Wait for the end of the drawing; keep it if it shows exactly these people, and return whether it does."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        right = self._complete and self._temporary is not None and self._shows(poses)
        if right and self._temporary is not None:
            self._temporary.chmod(0o644)
            self._temporary.replace(self._out)
        self.stop()
        return right

    def stop(self) -> None:
        """End the drawing and remove the temporary file."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    def _start(self, poses: Poses) -> None:
        try:
            with tempfile.NamedTemporaryFile(
                prefix=f".{self._out.name[:80]}.", suffix=".mp4", dir=self._out.parent, delete=False
            ) as handle:
                self._temporary = Path(handle.name)
        except OSError:  # the final drawing will report what is wrong with the folder
            return
        self._thread = threading.Thread(target=self._draw, args=(poses, self._temporary), name="concurrent-drawing", daemon=True)
        self._thread.start()

    def _draw(self, poses: Poses, temporary: Path) -> None:
        with suppress(_Stopped, QuickstepError):  # the video is drawn again at the end, which reports the same error
            draw_video(self._video, self._at, temporary, poses=poses, look=self._look)
            self._complete = True

    def _at(self, moments: NDArray[np.float64]) -> tuple[tuple[int, ...], NDArray[np.float32]]:
        """Return the people at some moments and their joints; wait until the poses are `_DELAY` ahead."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._ended or (bool(self._parts) and self._last() >= moments[-1] + _DELAY))
            if self._stopped:
                raise _Stopped
            parts, owners = list(self._parts), list(self._owners)
        near = [number for number, part in enumerate(parts) if part.times[-1] >= moments[0] - 1 and part.times[0] <= moments[-1] + 1]
        parts, owners = [parts[number] for number in near], [owners[number] for number in near]
        self._number_people(parts, owners)
        drawn = sorted(self._numbers, key=lambda owner: self._numbers[owner])
        self._drawn.append((float(moments[0]), frozenset(drawn)))
        if not parts:
            return (), np.zeros((len(moments), 0, 0, 3), np.float32)
        window = _by_owner(parts, owners, drawn)
        return tuple(self._numbers[owner] for owner in drawn), interpolate_joints(window, moments)

    def _last(self) -> float:
        return float(self._parts[-1].times[-1])

    def _number_people(self, parts: list[Poses], owners: list[NDArray[np.int64]]) -> None:
        """Give a number to everybody who is visible long enough, in the order in which they appeared."""
        times = np.concatenate([part.times for part in parts]) if parts else np.zeros(0)
        step = float(np.median(np.diff(times))) if len(times) > 1 else MIN_SECONDS
        for owner in {owner for who in owners for owner in np.unique(who[who >= 0]).tolist()}:
            moments = sum(int((who == owner).any(axis=1).sum()) for who in owners)
            self._seconds[owner] = max(self._seconds.get(owner, 0.0), step * moments)
        for owner in sorted(self._seconds):
            if owner not in self._numbers and self._seconds[owner] >= MIN_SECONDS - 1e-6:
                self._numbers[owner] = len(self._numbers) + 1

    def _shows(self, poses: Poses) -> bool:
        """Whether the drawing shows these poses: the same people with the same numbers at all moments."""
        drawn = sorted(self._numbers, key=lambda owner: self._numbers[owner])
        if poses.people != tuple(range(1, len(drawn) + 1)):
            return False
        arranged = _by_owner(self._parts, self._owners, drawn)
        if arranged.joints.shape != poses.joints.shape or not np.array_equal(arranged.joints, poses.joints, equal_nan=True):
            return False
        starts = np.array([start for start, _ in self._drawn])
        for place, owner in enumerate(drawn):
            seen = poses.times[poses.seen[:, place].any(axis=1)]
            since = next(start for start, owners in self._drawn if owner in owners)
            if len(seen) and seen[0] < since and starts[0] < since:
                return False  # drawn too late: at first taken for a false detection
        return True


def _by_owner(parts: list[Poses], owners: list[NDArray[np.int64]], drawn: list[int]) -> Poses:
    """Arrange the bodies of some owners, each with one place in the array."""
    times = np.concatenate([part.times for part in parts])
    first = parts[0]
    joints = np.full((len(times), len(drawn), *first.joints.shape[2:]), np.nan, np.float32)
    joints[..., -1] = 0
    at = 0
    for part, who in zip(parts, owners, strict=True):
        for place, owner in enumerate(drawn):
            moments, slots = np.nonzero(who == owner)
            joints[at + moments, place] = part.joints[moments, slots]
        at += len(part)
    return Poses(joints, times, first.skeleton, tuple(range(1, len(drawn) + 1)), first.size)
