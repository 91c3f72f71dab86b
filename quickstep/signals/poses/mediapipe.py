"""MediaPipe: BlazePose through the Tasks API: 33 joints of some people, in the picture and in metres.

The network itself searches a picture at 224 pixels and follows one body well. So people are searched for in the whole picture and in closer
tiles of it, now and then; each one found is followed by a network of its own in a region around the body. Knows no file of videos.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.downloads import fetch
from quickstep.signals.poses.mediapipe_landmarker import JOINTS, VERSION, Body, Landmarker, Model, read_model
from quickstep.signals.poses.person_regions import Region, around, closely, tiles, whole
from quickstep.signals.poses.single_person_tracking import Follower, box_of, covered, drop_doubles, follow, inside, same, weight
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, read_skeleton

WAY_ON = "give a model file (--pose-model FILE or QUICKSTEP_POSE_MODEL)"

# The published models: the address and the sha256 of version 1 of each.
_ADDRESS = "https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_{0}/float16/1/pose_landmarker_{0}.task"
MODELS = {
    "lite": "59929e1d1ee95287735ddd833b19cf4ac46d29bc7afddbbf6753c459690d574a",
    "full": "5134a3aad27a58b93da0088d431f366da362b44e3ccfbe3462b3827a839011b1",
    "heavy": "64437af838a65d18e5ba7a0d39b465540069bc8aae8308de3e318aad31fcbc7b",
}

_REVISION = 1  # raise it whenever the same frames give other joints than before
_MOST = 8  # people: each is followed by a network of its own, of about 100 MB
_SEARCH = (1.0, 8.0)  # seconds between searches for further people: at first, and after many that found nobody new
_SURE = 0.5  # mean score of shoulders and hips below which a body found in a search is none
_SURER = 0.9  # the same for one who is small in the picture, beside others: bags and chairs have their moments
_CORE = (11, 12, 23, 24)  # shoulders and hips
_COVERED = 0.5  # of the smaller of two boxes


@dataclass(eq=False)
class _State:
    """What is known of the video at hand."""

    followers: list[Follower] = field(default_factory=list)
    searched: float = -10.0  # when people were last searched for everywhere
    due: float = 0.0  # when they will be next
    pause: float = _SEARCH[0]
    last: NDArray[np.float32] | None = None  # where somebody was seen last, while nobody is
    turn: int = 0  # whose turn it is among the tiles while nobody is seen


class MediaPipe:
    """The estimator; `space` says whether `estimate` gives joints in the picture or in metres."""

    name = "mediapipe"
    batch = 16
    license = "Apache-2.0"

    def __init__(
        self,
        *,
        model: str | Path | None = None,
        people: int = 4,
        space: Literal["picture", "world"] = "picture",
        cache: Cache | None = None,
    ) -> None:
        if not 1 <= people <= _MOST:
            raise ConfigError("people", f"from 1 to {_MOST} with mediapipe, not {people}; vitpose and rtmpose find more")
        self.people = people
        self.space = space
        self.world_skeleton = read_skeleton("blazepose-33-3d")
        self.picture_skeleton = read_skeleton("blazepose-33")
        self._asked = model
        self._cache = cache or Cache()
        self._read: Model | None = None
        self._finder: Landmarker | None = None
        self._state = _State()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def skeleton(self) -> Skeleton:
        """The 33 joints, flat or in space."""
        return self.world_skeleton if self.space == "world" else self.picture_skeleton

    @property
    def model(self) -> Model:
        """The model file; downloaded where none is given and none was kept."""
        if self._read is None:
            self._read = read_model(_find_model(self._asked, self._cache))
        return self._read

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values."""
        return {
            "name": self.name,
            "revision": _REVISION,
            "library": VERSION,
            "model": self.model.sha256,
            "people": self.people,
            "space": self.space,
        }

    def start(self) -> None:
        """A new video begins."""
        for follower in self._state.followers:
            follower.network.close()
        self._state = _State()

    def estimate(self, frames: Frames) -> Poses:
        """The people in each frame, in the space that was chosen."""
        picture, world = self.estimate_both(frames)
        return world if self.space == "world" else picture

    def estimate_both(self, frames: Frames) -> tuple[Poses, Poses]:
        """The people in each frame, in pixels of the picture and in metres; the same place in both arrays is the same person."""
        flat = np.full((len(frames), self.people, JOINTS, 3), np.nan, np.float32)
        metres = np.full((len(frames), self.people, JOINTS, 4), np.nan, np.float32)
        flat[..., -1] = metres[..., -1] = 0
        for number, (pixels, time) in enumerate(zip(frames.pixels, frames.times, strict=True)):
            self._watch(pixels, float(time))
            for place, follower in enumerate(self._state.followers):
                if follower.body is not None:
                    flat[number, place], metres[number, place] = follower.body.joints, follower.body.world
        people = tuple(range(self.people))
        size = (frames.pixels.shape[2], frames.pixels.shape[1])
        return (
            Poses(flat, frames.times, self.picture_skeleton, people, size),
            Poses(metres, frames.times, self.world_skeleton, people, size),
        )

    def close(self) -> None:
        """Free the networks."""
        self.start()
        if self._finder is not None:
            self._finder.close()
        if self._pool is not None:
            self._pool.shutdown()
        self._finder, self._pool = None, None

    def _watch(self, pixels: NDArray[np.uint8], time: float) -> None:
        """Follow everybody into this frame; search for people where it is time to."""
        state = self._state
        busy = [follower for follower in state.followers if follower.region is not None]
        if len(busy) > 1:
            list(self._threads().map(lambda follower: follow(follower, pixels, time), busy))
        elif busy:
            follow(busy[0], pixels, time)
        drop_doubles(busy)
        if any(follower.just_lost(time) for follower in busy):
            state.due = min(state.due, max(time, state.searched + _SEARCH[0] / 2))
        if seen := self._seen():
            state.last = box_of(max(seen, key=weight).joints)
        elif all(follower.region is None for follower in busy):
            state.last = None  # too long ago
        if time >= state.due and len(self._seen()) < self.people:
            self._search(pixels, time, thoroughly=True)
        elif not self._seen():
            self._search(pixels, time, thoroughly=False)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(self.people, os.cpu_count() or 1), thread_name_prefix="pose")
        return self._pool

    def _search(self, pixels: NDArray[np.uint8], time: float, *, thoroughly: bool) -> None:
        """Look for people who are not followed: in the whole picture, and in all its tiles or in the one whose turn it is."""
        state, size = self._state, (pixels.shape[1], pixels.shape[0])
        if self._finder is None:
            self._finder = Landmarker(self.model, follows=False, people=max(2, self.people))
        new = self._adopt_all(self._bodies(whole(size), pixels), time, size)
        if not self._seen() and state.last is not None:
            lost = [body for part in closely(state.last) for body in self._bodies(part, pixels)]
            new += self._adopt_all(lost, time, size)
        if self.people > 1 or not self._seen():
            parts = tiles(size)
            if not thoroughly and parts:
                state.turn += 2
                parts = [parts[(state.turn + more) % len(parts)] for more in range(min(2, len(parts)))]
            sure = _SURE if not self._seen() else _SURER
            close = [body for part in parts for body in self._bodies(part, pixels, sure) if inside(body, part, size)]
            new += self._adopt_all([body for body in close if not self._hidden(body)], time, size)
        if thoroughly:
            state.pause = _SEARCH[0] if new else min(2 * state.pause, _SEARCH[1])
            state.searched, state.due = time, time + state.pause

    def _bodies(self, part: Region, pixels: NDArray[np.uint8], sure: float = _SURE) -> list[Body]:
        """The bodies in a part of the picture that are surely some."""
        assert self._finder is not None
        found = [Body(part.place(body.joints), body.world) for body in self._finder.look(part.cut(pixels))]
        return [body for body in found if body.joints[_CORE, 2].mean() > sure and body.joints[:, 2].mean() > 0.8 * sure]

    def _hidden(self, body: Body) -> bool:
        """Whether a body found in a tile lies mostly on somebody who is seen: then it is a part of them, seen too closely."""
        return any(covered(box_of(body.joints), box_of(other.joints)) > _COVERED for other in self._seen())

    def _adopt_all(self, bodies: list[Body], time: float, size: tuple[int, int]) -> int:
        """Have those who are not followed yet followed, the largest first; returns how many."""
        new = 0
        for body in sorted(bodies, key=weight, reverse=True):
            if not any(same(body, other) for other in self._seen()):
                new += self._adopt(body, time, size)
        return new

    def _seen(self) -> list[Body]:
        return [follower.body for follower in self._state.followers if follower.body is not None]

    def _adopt(self, body: Body, time: float, size: tuple[int, int]) -> bool:
        """Have somebody who was found followed from the next frame on, by a network that is free or has lost its person."""
        state = self._state
        free = [follower for follower in state.followers if follower.body is None]
        follower = min(free, key=lambda each: each.region is not None, default=None)
        if follower is None:
            if len(state.followers) >= self.people:
                return False
            follower = Follower(Landmarker(self.model, follows=True))
            state.followers.append(follower)
        elif follower.region is not None:
            follower.network.forget()
        else:  # its network still smooths towards somebody else's scores, whatever it forgets
            follower.network.close()
            follower.network = Landmarker(self.model, follows=True)
        follower.region, follower.body = around(box_of(body.joints), size), body
        follower.since, follower.lost = time, None
        return True


def _find_model(asked: str | Path | None, cache: Cache) -> Path:
    """The file that is meant: the one given, the setting's, or the published one of that name."""
    wanted = str(asked or os.environ.get("QUICKSTEP_POSE_MODEL") or "full")
    name = wanted.strip().casefold()
    if name in MODELS:
        return fetch(_ADDRESS.format(name), sha256=MODELS[name], cache=cache, way_on=WAY_ON)
    file = Path(wanted).expanduser()
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise ConfigError("pose_model", f"{wanted} {what}; give a pose_landmarker_*.task file, or one of {', '.join(MODELS)}")
    return file
