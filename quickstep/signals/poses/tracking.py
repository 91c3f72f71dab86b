"""track: link the bodies of single frames to people over time; and find the dancer among them.

A Kalman filter of constant velocity predicts the box of each person; the Hungarian method assigns each body to the person whose box and
joints fit best. All limits are in seconds and body lengths, so they hold for any frame rate and frame size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quickstep.types.signals import Poses

# A part of every cache key: raise it whenever the same bodies are linked differently than before.
TRACKING_VERSION = 2

Floats = NDArray[np.float32]

LOST_SECONDS = 2.0  # an invisible person is tracked this long
MIN_SECONDS = 0.2  # a person visible for less, and in less than MIN_SHARE of the frames, is a false detection
MIN_SHARE = 0.1
MIN_JOINTS = 3  # visible joints of a body

_DUPLICATE = 0.1  # body lengths: a body whose joints are nearer than this to another's, on average, is the same person
_BOX_NOISE = 0.03  # body lengths: standard deviation of a box
_ACCELERATION = 4.0  # body lengths/s²: process noise
_SPEED_DECAY = 0.7  # seconds in which the predicted speed of an invisible person decays
_MAX_OFFSET, _OFFSET_GROWTH = 0.6, 2.5  # body lengths from the prediction, and how much more for each invisible second
_LEFTOVER = (1.2, 3.0, 0.5)  # the same where nobody else fits (a leap, a swinging camera), and for how many invisible seconds
_HALF_COST = 0.2  # body lengths between joints at which their cost is half of its maximum
_LIMIT = 1e4  # a higher cost forbids a match
_STRIDE = 0.4  # seconds over which movement is measured: jitter of the joints hardly counts


def track(poses: Poses, *, of: Poses | None = None) -> Poses:
    """Link the bodies of each frame to people: each has one place in the array; person 1 is the most important.

    `of` are other joints of the same bodies (in metres, say), which are then returned instead, linked in the same way.
    """
    if of is not None and of.joints.shape[:2] != poses.joints.shape[:2]:
        raise ValueError(f"{of} are not of the bodies {poses}")
    owners = Tracker(len(poses.skeleton)).update(poses)  # (T, P)
    count = int(owners.max(initial=-1)) + 1
    tracked = _by_owner(poses, owners, count)
    lasting = _lasting(tracked)
    order = lasting[np.argsort(-importance(tracked)[lasting], kind="stable")]
    target = tracked if of is None else _by_owner(of, owners, count)
    return replace(target, joints=target.joints[:, order], people=tuple(range(1, len(order) + 1)))


def find_dancer(poses: Poses) -> int:
    """Return the number of the most important person."""
    if not poses.people:
        raise ValueError("the poses have no visible person")
    return poses.people[int(importance(poses).argmax())]


def importance(poses: Poses) -> NDArray[np.float64]:
    """Rate how important each person is, (P,): visible longest, largest, moving most, with the highest scores."""
    if not len(poses) or not poses.people:
        return np.zeros(len(poses.people))
    detected = poses.seen  # (T, P, K)
    visible = detected.sum(axis=2) >= min(MIN_JOINTS, detected.shape[2])
    joint, flat = detected[..., None], poses.joints[..., :-1]
    high = np.where(joint, flat, -np.inf).max(axis=2, initial=-np.inf)
    low = np.where(joint, flat, np.inf).min(axis=2, initial=np.inf)
    longest = np.where(visible, (high - low).max(axis=-1), 0)  # (T, P)
    sizes = np.array([np.median(size[mask]) if mask.any() else 0.0 for size, mask in zip(longest.T, visible.T, strict=True)])
    scores = np.where(detected, poses.joints[..., -1], 0).sum(axis=(0, 2)) / np.maximum(detected.sum(axis=(0, 2)), 1)
    movement = _movement(poses, np.maximum(sizes, 1e-9))
    relative = [values / max(values.max(), 1e-9) for values in (visible.mean(axis=0), sizes, movement, scores)]
    presence, size, moving, score = relative
    return np.asarray(presence * np.sqrt(size) * np.sqrt(0.1 + moving) * score, dtype=np.float64)


def _movement(poses: Poses, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean speed of each person's joints, (P,), in body lengths a second."""
    later = np.searchsorted(poses.times, poses.times + _STRIDE - 1e-6)
    inside = later < len(poses)
    if not inside.any():
        later, inside = np.full(len(poses), len(poses) - 1), np.arange(len(poses)) == 0
    earlier, later = np.flatnonzero(inside), later[inside]
    both = poses.seen[earlier] & poses.seen[later]  # (N, P, K)
    moved = np.linalg.norm(poses.joints[later][..., :-1] - poses.joints[earlier][..., :-1], axis=-1)
    seconds = np.maximum(poses.times[later] - poses.times[earlier], 1e-9)[:, None, None]
    total = np.where(both, np.nan_to_num(moved) / seconds, 0).sum(axis=(0, 2)) / np.maximum(both.sum(axis=(0, 2)), 1)
    return np.asarray(np.minimum(total / sizes, 3.0), dtype=np.float64)


# -- bodies ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Bodies:
    """The bodies of one frame."""

    slots: NDArray[np.int64]  # (N,): their places in the array of poses
    joints: Floats  # (N, K, 2), zero where invisible
    weights: Floats  # (N, K): the score of each joint, 0 where invisible
    boxes: Floats  # (N, 4): centre x, centre y, width, height
    lengths: Floats  # (N,): the longer side of each box

    def __len__(self) -> int:
        return len(self.slots)


def _bodies(poses: Poses) -> list[_Bodies]:
    """Return the bodies of each frame."""
    flat, scores = poses.joints[..., :2], poses.joints[..., -1]  # (T, P, K, 2), (T, P, K)
    detected = scores > 0
    visible = detected.sum(axis=2) >= min(MIN_JOINTS, detected.shape[2])  # (T, P)
    top = np.where(detected, scores, 0).max(axis=2, initial=0)[..., None]
    firm = detected & (scores >= 0.3 * top)  # joints with a low score may lie far from the body and would stretch its box
    firm = np.where((firm.sum(axis=2) >= min(MIN_JOINTS, detected.shape[2]))[..., None], firm, detected)[..., None]
    low = np.where(firm, flat, np.inf).min(axis=2, initial=np.inf)  # (T, P, 2)
    high = np.where(firm, flat, -np.inf).max(axis=2, initial=-np.inf)
    with np.errstate(invalid="ignore"):
        boxes = np.concatenate([(low + high) / 2, high - low], axis=2).astype(np.float32)
    lengths = np.maximum(boxes[..., 2:].max(axis=2), 1e-6)
    joints = np.where(detected[..., None], flat, 0).astype(np.float32)
    weights = np.where(detected, np.clip(scores, 0.01, 1), 0).astype(np.float32)
    frames = []
    for moment in range(len(poses)):
        slots = np.flatnonzero(visible[moment])
        frames.append(_Bodies(slots, joints[moment, slots], weights[moment, slots], boxes[moment, slots], lengths[moment, slots]))
    return frames


def _new_people(bodies: _Bodies, matched: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bodies of new people; a body that lies on a matched one, or on one with a higher score, is a duplicate."""
    rest = np.setdiff1d(np.arange(len(bodies)), matched)
    if not len(rest) or len(bodies) == 1:
        return rest
    distance = _joint_distance(bodies.joints[rest, None], bodies.weights[rest, None], bodies.joints, bodies.weights)  # (R, N)
    distance /= np.maximum(bodies.lengths[rest, None], bodies.lengths)  # (R, N)
    taken = np.isin(np.arange(len(bodies)), matched)
    new = []
    for place in np.argsort(-bodies.weights[rest].sum(axis=1), kind="stable"):
        if not (distance[place, taken] < _DUPLICATE).any():
            taken[rest[place]] = True
            new.append(rest[place])
    return np.sort(np.array(new, np.int64))


def _joint_distance(joints: Floats, weights: Floats, other_joints: Floats, other_weights: Floats) -> Floats:
    """Return the mean distance of shared joints (..., K), in pixels, weighted by score; infinite if too few joints are shared."""
    both = weights * other_weights
    distances = np.sqrt(np.square(joints - other_joints).sum(axis=-1))
    total = both.sum(axis=-1)
    shared = (both > 0).sum(axis=-1) >= min(MIN_JOINTS, joints.shape[-2])
    return np.where(shared, (distances * both).sum(axis=-1) / np.maximum(total, 1e-12), np.inf).astype(np.float32)


# -- people ------------------------------------------------------------------------------------------------------------------


class _People:
    """The M people who are tracked, each with the state of a Kalman filter.

    The state of a box is (centre x, centre y, width, height) and the speed of each. All four share one covariance, in body lengths.
    """

    def __init__(self, joints: int) -> None:
        self.numbers = np.zeros(0, np.int64)
        self.box = np.zeros((0, 4), np.float32)  # (M, 4)
        self.speed = np.zeros((0, 4), np.float32)  # (M, 4) a second
        self.covariance = np.zeros((0, 3), np.float32)  # (M, 3): variance of box, covariance, variance of speed
        self.length = np.zeros(0, np.float32)  # (M,): body lengths, in pixels
        self.joints = np.zeros((0, joints, 2), np.float32)  # when last visible, moved along with the box
        self.weights = np.zeros((0, joints), np.float32)
        self.invisible = np.zeros(0, np.float32)  # (M,): seconds

    def __len__(self) -> int:
        return len(self.numbers)

    def predict(self, seconds: float) -> None:
        """Predict the state of everybody after some seconds."""
        decay = np.exp(-self.invisible / _SPEED_DECAY)[:, None]
        step = self.speed * np.float32(seconds) * decay
        self.box += step
        self.box[:, 2:] = np.maximum(self.box[:, 2:], 1e-3)
        self.joints += step[:, None, :2]
        box, both, speed = self.covariance.T
        noise = np.float32(_ACCELERATION**2 * seconds)
        self.covariance = np.stack(
            [
                box + 2 * seconds * both + seconds**2 * speed + noise * seconds**2 / 3,
                both + seconds * speed + noise * seconds / 2,
                speed + noise,
            ],
            axis=1,
        ).astype(np.float32)
        self.invisible += np.float32(seconds)

    def cost(self, bodies: _Bodies, *, leftover: bool = False) -> Floats:
        """Return how badly each body fits each person, (M, N). A `leftover` may be farther away, but only for a short time."""
        length = np.maximum(self.length[:, None], bodies.lengths)  # (M, N)
        offset = np.sqrt(np.square(self.box[:, None, :2] - bodies.boxes[None, :, :2]).sum(axis=-1)) / length
        reach = np.where(leftover, _LEFTOVER[0], _MAX_OFFSET) + np.where(leftover, _LEFTOVER[1], _OFFSET_GROWTH) * self.invisible[:, None]
        possible = (offset < reach) & (~np.bool_(leftover) | (self.invisible[:, None] < _LEFTOVER[2]))
        rows, columns = np.nonzero(possible)
        joints = _joint_distance(self.joints[rows], self.weights[rows], bodies.joints[columns], bodies.weights[columns])
        distance = offset.copy()  # where too few joints are shared
        distance[rows, columns] = np.where(np.isfinite(joints), joints / length[rows, columns], offset[rows, columns])
        cost = 0.4 * (1 - _overlap(self.box, bodies.boxes)) + 0.6 * distance / (distance + _HALF_COST) + 0.3 * offset / reach
        cost += 0.1 * np.abs(np.log(self.length[:, None] / bodies.lengths)) + 0.05 * np.minimum(self.invisible, LOST_SECONDS)[:, None]
        return np.where(possible, cost, 2 * _LIMIT).astype(np.float32)

    def update(self, people: NDArray[np.int64], bodies: _Bodies, chosen: NDArray[np.int64]) -> None:
        """Update the states of these people with the chosen bodies."""
        box, both, speed = self.covariance[people].T
        total = box + np.float32(_BOX_NOISE**2)
        gain_box, gain_speed = box / total, both / total
        residual = bodies.boxes[chosen] - self.box[people]
        self.box[people] += gain_box[:, None] * residual
        self.speed[people] += gain_speed[:, None] * residual
        self.covariance[people] = np.stack([(1 - gain_box) * box, (1 - gain_box) * both, speed - gain_speed * both], axis=1)
        self.length[people] += np.float32(0.1) * (bodies.lengths[chosen] - self.length[people])
        detected = bodies.weights[chosen] > 0
        self.joints[people] = np.where(detected[..., None], bodies.joints[chosen], self.joints[people])
        self.weights[people] = np.where(detected, bodies.weights[chosen], 0.8 * self.weights[people])
        self.invisible[people] = 0

    def add(self, first: int, bodies: _Bodies, chosen: NDArray[np.int64]) -> None:
        """Start to track the chosen bodies as new people, numbered from `first`."""
        count = len(chosen)
        self.numbers = np.concatenate([self.numbers, np.arange(first, first + count)])
        self.box = np.concatenate([self.box, bodies.boxes[chosen]])
        self.speed = np.concatenate([self.speed, np.zeros((count, 4), np.float32)])
        covariance = np.tile(np.array([[_BOX_NOISE**2, 0, 1.5**2]], np.float32), (count, 1))
        self.covariance = np.concatenate([self.covariance, covariance])
        self.length = np.concatenate([self.length, bodies.lengths[chosen]])
        self.joints = np.concatenate([self.joints, bodies.joints[chosen]])
        self.weights = np.concatenate([self.weights, bodies.weights[chosen]])
        self.invisible = np.concatenate([self.invisible, np.zeros(count, np.float32)])

    def drop_lost(self) -> None:
        """Stop tracking people who are invisible for too long."""
        keep = self.invisible <= LOST_SECONDS
        if not keep.all():
            for name in ("numbers", "box", "speed", "covariance", "length", "joints", "weights", "invisible"):
                setattr(self, name, getattr(self, name)[keep])


def _overlap(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union of boxes given by centre and size, (M, N)."""
    low = np.maximum((one[:, :2] - one[:, 2:] / 2)[:, None], (other[:, :2] - other[:, 2:] / 2)[None])
    high = np.minimum((one[:, :2] + one[:, 2:] / 2)[:, None], (other[:, :2] + other[:, 2:] / 2)[None])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(one[:, 2:], axis=-1)[:, None] + np.prod(other[:, 2:], axis=-1)[None] - shared
    return np.asarray(shared / np.maximum(areas, 1e-9), dtype=np.float32)


class Tracker:
    """Identifies each body, frame after frame, in any number of calls."""

    def __init__(self, joints: int) -> None:
        self._people = _People(joints)
        self._count = 0
        self._time = 0.0

    def update(self, poses: Poses) -> NDArray[np.int64]:
        """Return the person of each body, (T, P): numbers from 0 in the order in which people appear, -1 for none."""
        owners = np.full(poses.joints.shape[:2], -1, np.int64)
        people = self._people
        for moment, bodies in enumerate(_bodies(poses)):
            if len(people):
                people.predict(float(poses.times[moment]) - self._time)
                people.drop_lost()
            self._time = float(poses.times[moment])
            columns = np.zeros(0, np.int64)
            if len(people) and len(bodies):
                rows, columns = _match(people, bodies)
                people.update(rows, bodies, columns)
                owners[moment, bodies.slots[columns]] = people.numbers[rows]
            new = _new_people(bodies, columns)
            if len(new):
                people.add(self._count, bodies, new)
                owners[moment, bodies.slots[new]] = np.arange(self._count, self._count + len(new))
                self._count += len(new)
        return owners


def _match(people: _People, bodies: _Bodies) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of people and bodies: first the people near their prediction, then those who moved unexpectedly."""
    cost = people.cost(bodies)
    rows, columns = _assign(cost)
    if len(rows) == min(cost.shape):
        return rows, columns
    taken = np.zeros(cost.shape, np.bool_)
    taken[rows], taken[:, columns] = True, True
    more = _assign(np.where(taken, 2 * _LIMIT, people.cost(bodies, leftover=True)))
    return np.concatenate([rows, more[0]]), np.concatenate([columns, more[1]])


def _assign(cost: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from scipy.optimize import linear_sum_assignment  # slow to import, and what is cached needs none of it

    rows, columns = linear_sum_assignment(cost)
    fits = cost[rows, columns] < _LIMIT
    return rows[fits], columns[fits]


def _by_owner(poses: Poses, owners: NDArray[np.int64], count: int) -> Poses:
    """Arrange the bodies with one place for each owner."""
    joints = np.full((len(poses), count, *poses.joints.shape[2:]), np.nan, np.float32)
    joints[..., -1] = 0
    moments, slots = np.nonzero(owners >= 0)
    joints[moments, owners[moments, slots]] = poses.joints[moments, slots]
    return replace(poses, joints=joints, people=tuple(range(count)))


def _lasting(poses: Poses) -> NDArray[np.int64]:
    """Return the people who are visible long enough not to be false detections; all if nobody is."""
    visible = poses.seen.any(axis=2)  # (T, P)
    shares = visible.mean(axis=0) if len(poses) else np.zeros(0)
    step = float(np.median(np.diff(poses.times))) if len(poses) > 1 else MIN_SECONDS
    lasting = (visible.sum(axis=0) * step >= MIN_SECONDS - 1e-6) | (shares >= MIN_SHARE)
    return np.flatnonzero(lasting) if lasting.any() else np.arange(len(shares))
