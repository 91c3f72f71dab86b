"""LiveDrawing: draws a video while the bodies in it are still being found, and says in the end whether it drew the truth.

Who is who, and who was a mistake, is known for certain only at the end. So it draws, some way behind, what seems true by then; where the
end knows better (another order of people, somebody taken for a mistake), the video has to be drawn again. Of one dancer it hardly ever has.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.drawing import Look, draw_video, joints_at
from quickstep.signals.poses.tracking import BRIEF, Tracker
from quickstep.types.errors import QuickstepError
from quickstep.types.signals import Poses

_BEHIND = 0.6  # seconds by which it draws after what was found: by then a newcomer is somebody


class _Stopped(Exception):
    """Nobody wants the drawing any more."""


class LiveDrawing:
    """One video being drawn; `feed` it what was found, then ask whether it is `finished` as it should be."""

    def __init__(self, video: Path, out: Path, look: Look) -> None:
        self._video, self._out, self._look = video, out, look
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._aside: Path | None = None
        self._ended = self._stopped = False
        self._whole = False  # written to the end
        self._tracker: Tracker | None = None
        self._parts: list[Poses] = []
        self._owners: list[NDArray[np.int64]] = []  # (T, P) beside each part
        self._known: dict[int, float] = {}  # owner -> for how many seconds they were seen
        self._numbers: dict[int, int] = {}  # owner -> number drawn
        self._shown: list[tuple[float, frozenset[int]]] = []  # from when on which owners were drawn

    def feed(self, poses: Poses) -> None:
        """The next bodies, in pixels of the whole picture."""
        if self._tracker is None:
            self._tracker = Tracker(len(poses.skeleton))
            self._start(poses)
        owners = self._tracker.follow(poses)
        with self._changed:
            self._parts.append(poses)
            self._owners.append(owners)
            self._changed.notify_all()

    def finished(self, poses: Poses) -> bool:
        """Wait for the drawing's end; whether it shows just these people, and so is kept."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        true = self._whole and self._aside is not None and self._shows(poses)
        if true and self._aside is not None:
            self._aside.chmod(0o644)
            self._aside.replace(self._out)
        self.stop()
        return true

    def stop(self) -> None:
        """End it, and leave nothing behind."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._aside is not None:
            self._aside.unlink(missing_ok=True)

    def _start(self, poses: Poses) -> None:
        try:
            with tempfile.NamedTemporaryFile(
                prefix=f".{self._out.name[:80]}.", suffix=".mp4", dir=self._out.parent, delete=False
            ) as handle:
                self._aside = Path(handle.name)
        except OSError:  # what is wrong with the folder is said when the video is drawn for good
            return
        self._thread = threading.Thread(target=self._draw, args=(poses, self._aside), name="draw-live", daemon=True)
        self._thread.start()

    def _draw(self, poses: Poses, aside: Path) -> None:
        with suppress(_Stopped, QuickstepError):  # drawn again at the end, where the same error is told
            draw_video(self._video, self._at, aside, poses=poses, look=self._look)
            self._whole = True

    def _at(self, moments: NDArray[np.float64]) -> tuple[tuple[int, ...], NDArray[np.float32]]:
        """Who seems to be there at some moments, and where their joints are; waits until enough was found after them."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._ended or (bool(self._parts) and self._last() >= moments[-1] + _BEHIND))
            if self._stopped:
                raise _Stopped
            parts, owners = list(self._parts), list(self._owners)
        near = [number for number, part in enumerate(parts) if part.times[-1] >= moments[0] - 1 and part.times[0] <= moments[-1] + 1]
        parts, owners = [parts[number] for number in near], [owners[number] for number in near]
        self._get_to_know(parts, owners)
        drawn = sorted(self._numbers, key=lambda owner: self._numbers[owner])
        self._shown.append((float(moments[0]), frozenset(drawn)))
        if not parts:
            return (), np.zeros((len(moments), 0, 0, 3), np.float32)
        window = _arranged(parts, owners, drawn)
        return tuple(self._numbers[owner] for owner in drawn), joints_at(window, moments)

    def _last(self) -> float:
        return float(self._parts[-1].times[-1])

    def _get_to_know(self, parts: list[Poses], owners: list[NDArray[np.int64]]) -> None:
        """Whoever is seen for long enough gets a number, in the order in which they turned up."""
        times = np.concatenate([part.times for part in parts]) if parts else np.zeros(0)
        step = float(np.median(np.diff(times))) if len(times) > 1 else BRIEF
        for owner in {owner for who in owners for owner in np.unique(who[who >= 0]).tolist()}:
            moments = sum(int((who == owner).any(axis=1).sum()) for who in owners)
            self._known[owner] = max(self._known.get(owner, 0.0), step * moments)
        for owner in sorted(self._known):
            if owner not in self._numbers and self._known[owner] >= BRIEF - 1e-6:
                self._numbers[owner] = len(self._numbers) + 1

    def _shows(self, poses: Poses) -> bool:
        """Whether what was drawn is what these poses say: the same people under the same numbers at all moments."""
        drawn = sorted(self._numbers, key=lambda owner: self._numbers[owner])
        if poses.people != tuple(range(1, len(drawn) + 1)):
            return False
        told = _arranged(self._parts, self._owners, drawn)
        if told.joints.shape != poses.joints.shape or not np.array_equal(told.joints, poses.joints, equal_nan=True):
            return False
        starts = np.array([start for start, _ in self._shown])
        for place, owner in enumerate(drawn):
            seen = poses.times[poses.seen[:, place].any(axis=1)]
            since = next(start for start, owners in self._shown if owner in owners)
            if len(seen) and seen[0] < since and starts[0] < since:
                return False  # drawn too late: at first taken for a mistake
        return True


def _arranged(parts: list[Poses], owners: list[NDArray[np.int64]], drawn: list[int]) -> Poses:
    """The bodies of some owners, each in a place of their own."""
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
