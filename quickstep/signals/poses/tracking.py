"""track: bodies found frame by frame -> people over time; and which of them is the dancer.

A Kalman filter of constant velocity says where each person's box will be; the Hungarian method gives each found body to the person
whose box and joints it fits best. Everything counts in seconds and body lengths, so that frame rate and picture size do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.person_importance import FEWEST, importance
from quickstep.types.signals import Poses

# A part of every cache key: raise it whenever the same bodies are joined otherwise than before.
TRACKING_VERSION = 2

Floats = NDArray[np.float32]

PATIENCE = 2.0  # seconds after which somebody unseen is no longer waited for
BRIEF = 0.2  # seconds: who is seen more briefly, and for less than RARE of the moments, is taken for a mistake
RARE = 0.1

_DOUBLE = 0.1  # body lengths: a body whose joints lie nearer than this to another's, on average, is no newcomer
_SHAKE = 0.03  # body lengths: how exactly a box is found
_PUSH = 4.0  # body lengths a second, each second: how suddenly people move
_COAST = 0.7  # seconds in which the speed of somebody unseen fades
_REACH, _RUN = 0.6, 2.5  # body lengths: how far from where they are expected people turn up, and how much farther each second unseen
_FAR = (1.2, 3.0, 0.5)  # the same where nobody else fits: a leap, a swinging camera; until so many seconds unseen
_HALF = 0.2  # body lengths between joints at which they speak against a match half as loudly as they can
_LIMIT = 1e4  # what costs more than this is no match


def track(poses: Poses, *, of: Poses | None = None) -> Poses:
    """The same bodies, with one place in the array for each person over time; person 1 is the one who counts most.

    `of` are other joints of the same bodies (in metres, say), which are then returned instead, joined in the same way.
    """
    if of is not None and of.joints.shape[:2] != poses.joints.shape[:2]:
        raise ValueError(f"{of} are not of the bodies {poses}")
    owners = Tracker(len(poses.skeleton)).follow(poses)  # (T, P)
    count = int(owners.max(initial=-1)) + 1
    joined = _arranged(poses, owners, count)
    kept = _lasting(joined)
    order = kept[np.argsort(-importance(joined)[kept], kind="stable")]
    target = joined if of is None else _arranged(of, owners, count)
    return replace(target, joints=target.joints[:, order], people=tuple(range(1, len(order) + 1)))


def the_dancer(poses: Poses) -> int:
    """The number of the person who counts most: seen longest, largest, moving most."""
    if not poses.people:
        raise ValueError("nobody is seen in the poses")
    return poses.people[int(importance(poses).argmax())]


# -- bodies ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Bodies:
    """The bodies found in one frame."""

    slots: NDArray[np.int64]  # (N,): their places in the array of poses
    joints: Floats  # (N, K, 2), zero where unseen
    sure: Floats  # (N, K): how much each joint counts, 0 where unseen
    boxes: Floats  # (N, 4): middle x, middle y, width, height
    lengths: Floats  # (N,): the longer side of each box

    def __len__(self) -> int:
        return len(self.slots)


def _bodies(poses: Poses) -> list[_Bodies]:
    """The bodies of each frame."""
    flat, scores = poses.joints[..., :2], poses.joints[..., -1]  # (T, P, K, 2), (T, P, K)
    seen = scores > 0
    there = seen.sum(axis=2) >= min(FEWEST, seen.shape[2])  # (T, P)
    top = np.where(seen, scores, 0).max(axis=2, initial=0)[..., None]
    firm = seen & (scores >= 0.3 * top)  # what is guessed far from the body does not stretch its box
    firm = np.where((firm.sum(axis=2) >= min(FEWEST, seen.shape[2]))[..., None], firm, seen)[..., None]
    low = np.where(firm, flat, np.inf).min(axis=2, initial=np.inf)  # (T, P, 2)
    high = np.where(firm, flat, -np.inf).max(axis=2, initial=-np.inf)
    with np.errstate(invalid="ignore"):
        boxes = np.concatenate([(low + high) / 2, high - low], axis=2).astype(np.float32)
    lengths = np.maximum(boxes[..., 2:].max(axis=2), 1e-6)
    joints = np.where(seen[..., None], flat, 0).astype(np.float32)
    sure = np.where(seen, np.clip(scores, 0.01, 1), 0).astype(np.float32)
    frames = []
    for moment in range(len(poses)):
        slots = np.flatnonzero(there[moment])
        frames.append(_Bodies(slots, joints[moment, slots], sure[moment, slots], boxes[moment, slots], lengths[moment, slots]))
    return frames


def _newcomers(bodies: _Bodies, known: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bodies that are people not known yet: those that lie on a known or surer body are the same person found twice."""
    rest = np.setdiff1d(np.arange(len(bodies)), known)
    if not len(rest) or len(bodies) == 1:
        return rest
    apart = _apart(bodies.joints[rest], bodies.sure[rest], bodies) / np.maximum(bodies.lengths[rest, None], bodies.lengths)  # (R, N)
    taken = np.isin(np.arange(len(bodies)), known)
    new = []
    for place in np.argsort(-bodies.sure[rest].sum(axis=1), kind="stable"):
        if not (apart[place, taken] < _DOUBLE).any():
            taken[rest[place]] = True
            new.append(rest[place])
    return np.sort(np.array(new, np.int64))


def _apart(joints: Floats, sure: Floats, bodies: _Bodies) -> Floats:
    """How far apart the joints are that both have, in pixels, the surer ones counting more: (M, N); infinite where hardly one is shared."""
    weights = sure[:, None] * bodies.sure[None]  # (M, N, K)
    distances = np.sqrt(np.square(joints[:, None] - bodies.joints[None]).sum(axis=-1))
    total = weights.sum(axis=-1)
    shared = (weights > 0).sum(axis=-1) >= min(FEWEST, joints.shape[1])
    return np.where(shared, (distances * weights).sum(axis=-1) / np.maximum(total, 1e-12), np.inf).astype(np.float32)


# -- people ------------------------------------------------------------------------------------------------------------------


class _People:
    """Who is being followed: M people, each with a state that a Kalman filter keeps.

    The state of a box is (middle x, middle y, width, height) and how fast each changes. All four share one covariance, in body lengths.
    """

    def __init__(self, joints: int) -> None:
        self.numbers = np.zeros(0, np.int64)
        self.place = np.zeros((0, 4), np.float32)  # (M, 4) the boxes
        self.speed = np.zeros((0, 4), np.float32)  # (M, 4) a second
        self.spread = np.zeros((0, 3), np.float32)  # (M, 3): variance of place, covariance, variance of speed
        self.length = np.zeros(0, np.float32)  # (M,): body lengths, in pixels
        self.joints = np.zeros((0, joints, 2), np.float32)  # as last seen, moved along with the box
        self.sure = np.zeros((0, joints), np.float32)
        self.unseen = np.zeros(0, np.float32)  # (M,): seconds

    def __len__(self) -> int:
        return len(self.numbers)

    def expect(self, seconds: float) -> None:
        """Move everybody on by so much time."""
        fading = np.exp(-self.unseen / _COAST)[:, None]
        step = self.speed * np.float32(seconds) * fading
        self.place += step
        self.place[:, 2:] = np.maximum(self.place[:, 2:], 1e-3)
        self.joints += step[:, None, :2]
        place, both, speed = self.spread.T
        push = np.float32(_PUSH**2 * seconds)
        self.spread = np.stack(
            [
                place + 2 * seconds * both + seconds**2 * speed + push * seconds**2 / 3,
                both + seconds * speed + push * seconds / 2,
                speed + push,
            ],
            axis=1,
        ).astype(np.float32)
        self.unseen += np.float32(seconds)

    def cost(self, bodies: _Bodies, *, leftover: bool = False) -> Floats:
        """How badly each body fits each person, (M, N). Of those that are left over more is believed, but not for long."""
        length = np.maximum(self.length[:, None], bodies.lengths)  # (M, N)
        offset = np.sqrt(np.square(self.place[:, None, :2] - bodies.boxes[None, :, :2]).sum(axis=-1)) / length
        reach = np.where(leftover, _FAR[0], _REACH) + np.where(leftover, _FAR[1], _RUN) * self.unseen[:, None]
        apart = _apart(self.joints, self.sure, bodies) / length
        apart = np.where(np.isfinite(apart), apart, offset)
        cost = 0.4 * (1 - _overlap(self.place, bodies.boxes)) + 0.6 * apart / (apart + _HALF) + 0.3 * offset / reach
        cost += 0.1 * np.abs(np.log(self.length[:, None] / bodies.lengths)) + 0.05 * np.minimum(self.unseen, PATIENCE)[:, None]
        possible = (offset < reach) & (~np.bool_(leftover) | (self.unseen[:, None] < _FAR[2]))
        return np.where(possible, cost, 2 * _LIMIT).astype(np.float32)

    def see(self, people: NDArray[np.int64], bodies: _Bodies, chosen: NDArray[np.int64]) -> None:
        """These people are seen as these bodies."""
        place, both, speed = self.spread[people].T
        total = place + np.float32(_SHAKE**2)
        gain_place, gain_speed = place / total, both / total
        surprise = bodies.boxes[chosen] - self.place[people]
        self.place[people] += gain_place[:, None] * surprise
        self.speed[people] += gain_speed[:, None] * surprise
        self.spread[people] = np.stack([(1 - gain_place) * place, (1 - gain_place) * both, speed - gain_speed * both], axis=1)
        self.length[people] += np.float32(0.1) * (bodies.lengths[chosen] - self.length[people])
        seen = bodies.sure[chosen] > 0
        self.joints[people] = np.where(seen[..., None], bodies.joints[chosen], self.joints[people])
        self.sure[people] = np.where(seen, bodies.sure[chosen], 0.8 * self.sure[people])
        self.unseen[people] = 0

    def meet(self, first: int, bodies: _Bodies, chosen: NDArray[np.int64]) -> None:
        """These bodies are people not seen before; they are numbered from `first`."""
        count = len(chosen)
        self.numbers = np.concatenate([self.numbers, np.arange(first, first + count)])
        self.place = np.concatenate([self.place, bodies.boxes[chosen]])
        self.speed = np.concatenate([self.speed, np.zeros((count, 4), np.float32)])
        unknown = np.tile(np.array([[_SHAKE**2, 0, 1.5**2]], np.float32), (count, 1))
        self.spread = np.concatenate([self.spread, unknown])
        self.length = np.concatenate([self.length, bodies.lengths[chosen]])
        self.joints = np.concatenate([self.joints, bodies.joints[chosen]])
        self.sure = np.concatenate([self.sure, bodies.sure[chosen]])
        self.unseen = np.concatenate([self.unseen, np.zeros(count, np.float32)])

    def forget(self) -> None:
        """Whoever was not seen for long is not waited for."""
        keep = self.unseen <= PATIENCE
        if not keep.all():
            for name in ("numbers", "place", "speed", "spread", "length", "joints", "sure", "unseen"):
                setattr(self, name, getattr(self, name)[keep])


def _overlap(one: Floats, other: Floats) -> Floats:
    """Intersection over union of boxes by middle and size, (M, N)."""
    low = np.maximum((one[:, :2] - one[:, 2:] / 2)[:, None], (other[:, :2] - other[:, 2:] / 2)[None])
    high = np.minimum((one[:, :2] + one[:, 2:] / 2)[:, None], (other[:, :2] + other[:, 2:] / 2)[None])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(one[:, 2:], axis=-1)[:, None] + np.prod(other[:, 2:], axis=-1)[None] - shared
    return np.asarray(shared / np.maximum(areas, 1e-9), dtype=np.float32)


class Tracker:
    """Says who each body is, frame after frame, in as many calls as one likes."""

    def __init__(self, joints: int) -> None:
        self._people = _People(joints)
        self._met = 0
        self._before = 0.0

    def follow(self, poses: Poses) -> NDArray[np.int64]:
        """Who each body is, (T, P): numbers from 0 in the order in which people turn up, -1 for none."""
        owners = np.full(poses.joints.shape[:2], -1, np.int64)
        people = self._people
        for moment, bodies in enumerate(_bodies(poses)):
            if len(people):
                people.expect(float(poses.times[moment]) - self._before)
                people.forget()
            self._before = float(poses.times[moment])
            columns = np.zeros(0, np.int64)
            if len(people) and len(bodies):
                rows, columns = _matched(people, bodies)
                people.see(rows, bodies, columns)
                owners[moment, bodies.slots[columns]] = people.numbers[rows]
            new = _newcomers(bodies, columns)
            if len(new):
                people.meet(self._met, bodies, new)
                owners[moment, bodies.slots[new]] = np.arange(self._met, self._met + len(new))
                self._met += len(new)
        return owners


def _matched(people: _People, bodies: _Bodies) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which people are which bodies: first those who are where they are expected, then those who moved otherwise."""
    cost = people.cost(bodies)
    rows, columns = _cheapest(cost)
    if len(rows) == min(cost.shape):
        return rows, columns
    taken = np.zeros(cost.shape, np.bool_)
    taken[rows], taken[:, columns] = True, True
    more = _cheapest(np.where(taken, 2 * _LIMIT, people.cost(bodies, leftover=True)))
    return np.concatenate([rows, more[0]]), np.concatenate([columns, more[1]])


def _cheapest(cost: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from scipy.optimize import linear_sum_assignment  # slow to import, and what is cached needs none of it

    rows, columns = linear_sum_assignment(cost)
    fits = cost[rows, columns] < _LIMIT
    return rows[fits], columns[fits]


def _arranged(poses: Poses, owners: NDArray[np.int64], count: int) -> Poses:
    """The bodies with one place for each owner."""
    joints = np.full((len(poses), count, *poses.joints.shape[2:]), np.nan, np.float32)
    joints[..., -1] = 0
    moments, slots = np.nonzero(owners >= 0)
    joints[moments, owners[moments, slots]] = poses.joints[moments, slots]
    return replace(poses, joints=joints, people=tuple(range(count)))


def _lasting(poses: Poses) -> NDArray[np.int64]:
    """The people who are seen for long enough not to be mistakes; all where nobody is."""
    there = poses.seen.any(axis=2)  # (T, P)
    shares = there.mean(axis=0) if len(poses) else np.zeros(0)
    step = float(np.median(np.diff(poses.times))) if len(poses) > 1 else BRIEF
    lasting = (there.sum(axis=0) * step >= BRIEF - 1e-6) | (shares >= RARE)
    return np.flatnonzero(lasting) if lasting.any() else np.arange(len(shares))
