"""MediaPipe: BlazePose through the Tasks API: 33 joints of several people, in pixels and in metres.

The network searches a frame at 224 pixels and follows one person well. So the estimator searches for people in the whole frame and, at
intervals, in tiles of it; each person found is followed by a network of its own, in a region around the body.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses import EstimatorCapabilities, EstimatorOptions
from quickstep.signals.poses.mediapipe_landmarker import JOINTS, VERSION, Body, Landmarker, Model, find_model, read_model
from quickstep.signals.poses.mediapipe_tracking import (
    Follower,
    Region,
    box_of,
    drop_duplicates,
    is_whole_in,
    overlap_share,
    region_around,
    regions_near,
    same_person,
    tiles,
    weight,
    whole_frame,
)
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, read_skeleton

_REVISION = 1  # raise it whenever the same frames give other joints than before
_MOST_PEOPLE = 8  # a network of about 100 MB follows each
_SEARCH_PAUSE = (1.0, 8.0)  # seconds between searches for further people: at first, and after many that found nobody new
_MIN_SCORE = 0.5  # mean score of shoulders and hips of a body found in a search
_MIN_TILE_SCORE = 0.9  # the same in a tile beside other people: bags and chairs score up to this
_CORE = (11, 12, 23, 24)  # shoulders and hips
_COVERED = 0.5  # of the smaller of two boxes


@dataclass(eq=False)
class _State:
    """The people of the current video, and when to search for more."""

    followers: list[Follower] = field(default_factory=list)
    searched: float = -10.0  # seconds: the last complete search
    due: float = 0.0  # seconds: the next complete search
    pause: float = _SEARCH_PAUSE[0]
    last_box: NDArray[np.float32] | None = None  # where somebody was visible last, while nobody is
    turn: int = 0  # the tile to search next while nobody is visible


class MediaPipe:
    """The estimator; `space` chooses whether `estimate` returns pixels of the frame or metres."""

    name = "mediapipe"
    batch = 16
    license = "Apache-2.0"
    capabilities = EstimatorCapabilities(depth=True)

    def __init__(self, options: EstimatorOptions | None = None, *, space: Literal["picture", "world"] = "picture") -> None:
        options = options or EstimatorOptions()
        if not 1 <= options.people <= _MOST_PEOPLE:
            limit = f"must be from 1 to {_MOST_PEOPLE} with mediapipe, not {options.people}"
            raise ConfigError("people", f"{limit}; vitpose and rtmpose find more")
        self.people = options.people
        self.space = space
        self.world_skeleton = read_skeleton("blazepose-33-3d")
        self.picture_skeleton = read_skeleton("blazepose-33")
        self._model_name = options.model
        self._cache = options.cache or Cache()
        self._model: Model | None = None
        self._searcher: Landmarker | None = None
        self._state = _State()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def skeleton(self) -> Skeleton:
        """The 33 joints, in two or three dimensions."""
        return self.world_skeleton if self.space == "world" else self.picture_skeleton

    @property
    def model(self) -> Model:
        """The model file; downloaded if none is given and none is cached."""
        if self._model is None:
            self._model = read_model(find_model(self._model_name, self._cache))
        return self._model

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
        """Start a new video."""
        for follower in self._state.followers:
            follower.network.close()
        self._state = _State()

    def estimate(self, frames: Frames) -> Poses:
        """Estimate the people in each frame, in the chosen space."""
        picture, world = self.estimate_both(frames)
        return world if self.space == "world" else picture

    def estimate_both(self, frames: Frames) -> tuple[Poses, Poses]:
        """Estimate the people in each frame in pixels and in metres; the same index in both arrays is the same person."""
        flat = np.full((len(frames), self.people, JOINTS, 3), np.nan, np.float32)
        metres = np.full((len(frames), self.people, JOINTS, 4), np.nan, np.float32)
        flat[..., -1] = metres[..., -1] = 0
        for number, (pixels, time) in enumerate(zip(frames.pixels, frames.times, strict=True)):
            self._process(pixels, float(time))
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
        if self._searcher is not None:
            self._searcher.close()
        if self._pool is not None:
            self._pool.shutdown()
        self._searcher, self._pool = None, None

    def _process(self, pixels: NDArray[np.uint8], time: float) -> None:
        """Follow everybody into this frame; search for people where it is due."""
        state = self._state
        busy = [follower for follower in state.followers if follower.region is not None]
        if len(busy) > 1:
            list(self._threads().map(lambda follower: follower.follow(pixels, time), busy))
        elif busy:
            busy[0].follow(pixels, time)
        drop_duplicates(busy)
        if any(follower.just_lost(time) for follower in busy):
            state.due = min(state.due, max(time, state.searched + _SEARCH_PAUSE[0] / 2))
        if visible := self._visible():
            state.last_box = box_of(max(visible, key=weight).joints)
        elif all(follower.region is None for follower in busy):
            state.last_box = None  # too long ago
        if time >= state.due and len(self._visible()) < self.people:
            self._search(pixels, time, complete=True)
        elif not self._visible():
            self._search(pixels, time, complete=False)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(self.people, os.cpu_count() or 1), thread_name_prefix="pose")
        return self._pool

    def _search(self, pixels: NDArray[np.uint8], time: float, *, complete: bool) -> None:
        """Search for people who are not followed: in the whole frame, and in all tiles or only in the next ones."""
        state, size = self._state, (pixels.shape[1], pixels.shape[0])
        if self._searcher is None:
            self._searcher = Landmarker(self.model, follows=False, people=max(2, self.people))
        new = self._adopt_all(self._bodies(whole_frame(size), pixels), time, size)
        if not self._visible() and state.last_box is not None:
            lost = [body for region in regions_near(state.last_box) for body in self._bodies(region, pixels)]
            new += self._adopt_all(lost, time, size)
        if self.people > 1 or not self._visible():
            regions = tiles(size)
            if not complete and regions:
                state.turn += 2
                regions = [regions[(state.turn + more) % len(regions)] for more in range(min(2, len(regions)))]
            score = _MIN_SCORE if not self._visible() else _MIN_TILE_SCORE
            close = [body for tile in regions for body in self._bodies(tile, pixels, score) if is_whole_in(body, tile, size)]
            new += self._adopt_all([body for body in close if not self._is_part_of_another(body)], time, size)
        if complete:
            state.pause = _SEARCH_PAUSE[0] if new else min(2 * state.pause, _SEARCH_PAUSE[1])
            state.searched, state.due = time, time + state.pause

    def _bodies(self, region: Region, pixels: NDArray[np.uint8], score: float = _MIN_SCORE) -> list[Body]:
        """Return the bodies in a region with at least this score."""
        assert self._searcher is not None
        bodies = [Body(region.to_frame(body.joints), body.world) for body in self._searcher.detect(region.cut(pixels))]
        return [body for body in bodies if body.joints[_CORE, 2].mean() > score and body.joints[:, 2].mean() > 0.8 * score]

    def _is_part_of_another(self, body: Body) -> bool:
        """Whether a body found in a tile lies mostly on a visible person: then it is a part of that person, too close."""
        return any(overlap_share(box_of(body.joints), box_of(other.joints)) > _COVERED for other in self._visible())

    def _adopt_all(self, bodies: list[Body], time: float, size: tuple[int, int]) -> int:
        """Start to follow the bodies that nobody follows, the largest first; return how many."""
        new = 0
        for body in sorted(bodies, key=weight, reverse=True):
            if not any(same_person(body, other) for other in self._visible()):
                new += self._adopt(body, time, size)
        return new

    def _visible(self) -> list[Body]:
        return [follower.body for follower in self._state.followers if follower.body is not None]

    def _adopt(self, body: Body, time: float, size: tuple[int, int]) -> bool:
        """Follow a body from the next frame on, with a network that is free or has lost its person."""
        state = self._state
        free = [follower for follower in state.followers if follower.body is None]
        follower = min(free, key=lambda one: one.region is not None, default=None)
        if follower is None:
            if len(state.followers) >= self.people:
                return False
            follower = Follower(Landmarker(self.model, follows=True))
            state.followers.append(follower)
        elif follower.region is not None:
            follower.network.forget()
        else:  # `forget` does not reset the network's smoothing of the scores
            follower.network.close()
            follower.network = Landmarker(self.model, follows=True)
        follower.region, follower.body = region_around(box_of(body.joints), size), body
        follower.since, follower.lost = time, None
        return True
