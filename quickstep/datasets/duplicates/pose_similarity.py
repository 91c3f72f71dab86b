"""Which sequences of poses are one recording: kept twice, scaled, moved, mirrored, at another frame rate, or cut shorter.

A person's joints around the middle of his body, in body lengths, are the same in all of these. Single moments of one sequence are looked
for among all moments of the others; where one is met, the two are held against each other over the whole time that they share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.resampling import body_centre, body_length, fill_gaps, interpolate
from quickstep.types.signals import Poses

PACE = 25.0  # moments a second at which sequences are held against each other
MOST_SECONDS = 120.0  # of a sequence that are looked at
PROBES = 5  # moments of each sequence that are looked for in the others
SAME = 0.02  # mean distance of the joints, in body lengths, up to which two poses are the same
NEAR = 1.5 * SAME  # two moments may be a little apart where their sequences are the same
TOGETHER = 0.995  # correlation of the joints' ways from which on two people do not merely do the same
EXACT = 1e-3  # body lengths
SHORTEST = 1.0  # seconds, or a whole sequence, that two must have in common
MOVING = 0.01  # body lengths by which the joints vary where somebody moves
DIRECTIONS = 8  # of the joints' numbers by which moments are looked up


@dataclass(frozen=True, eq=False)
class Course:
    """What a person does, free of camera and place: joints (T, K, D) at a steady pace, and the same mirrored."""

    joints: NDArray[np.float32]
    mirrored: NDArray[np.float32]


@dataclass(frozen=True)
class Same:
    """Two sequences, by their numbers, that are one recording."""

    first: int
    second: int
    distance: float
    lag: float  # seconds by which the first began earlier
    mirrored: bool


def course(poses: Poses) -> Course | None:
    """The course of the first person of some poses; None where too little of him is seen."""
    if not poses.people or not poses.seen[:, 0].any():
        return None
    one = poses.person(poses.people[0]).span(0.0, float(poses.times[0]) + MOST_SECONDS)
    length = body_length(one)
    if not length > 0:
        return None
    joints = fill_gaps(one)[:, 0, :, :-1]  # (T, K, D)
    moments = np.arange(one.times[0], one.times[-1] + 1e-9, 1 / PACE)
    middles = body_centre(one)
    known = np.isfinite(middles).all(axis=1)
    middles = interpolate(one.times[known], middles[known], one.times)
    steady = interpolate(one.times, np.nan_to_num((joints - middles[:, None]) / length), moments)
    other = steady[:, list(poses.skeleton.flipped)].copy()
    other[..., 0] *= -1
    return Course(steady, other)


def same(courses: Sequence[Course | None]) -> Iterator[Same]:
    """Every pair that is one recording, once, in order."""
    from scipy.spatial import cKDTree

    kinds: dict[tuple[int, ...], list[int]] = {}
    for number, one in enumerate(courses):
        if one is not None:
            kinds.setdefault(one.joints.shape[1:], []).append(number)
    for _, numbers in sorted(kinds.items()):
        if len(numbers) < 2:
            continue
        shown = _Shown.of(courses, numbers, cKDTree)
        met: dict[tuple[int, int], Same] = {}
        for number in numbers:
            for found in shown.like(number):
                met.setdefault((found.first, found.second), found)
        yield from (met[pair] for pair in sorted(met))


@dataclass(frozen=True, eq=False)
class _Shown:
    """All moments of some sequences of one skeleton, looked up by some of their directions."""

    courses: Sequence[Course | None]
    joints: NDArray[np.float32]  # (moments, K, D)
    owner: NDArray[np.int64]  # whose each moment is
    place: NDArray[np.int64]  # and which of its moments
    turned: NDArray[np.float64]  # (K * D, DIRECTIONS)
    tree: Any

    @classmethod
    def of(cls, courses: Sequence[Course | None], numbers: Sequence[int], tree: Any) -> _Shown:
        rows = [_of(courses, number).joints for number in numbers]
        joints = np.concatenate(rows)
        flat = joints.reshape(len(joints), -1)
        some = flat[:: max(1, len(flat) // 5000)].astype(np.float64)
        turned = np.linalg.svd(some - some.mean(axis=0), full_matrices=False)[2][:DIRECTIONS].T  # where they vary; distances only shrink
        owner = np.repeat(numbers, [len(row) for row in rows])
        place = np.concatenate([np.arange(len(row)) for row in rows])
        return cls(courses, joints, owner, place, turned, tree(flat @ turned))

    def like(self, number: int) -> Iterator[Same]:
        """The sequences that are one recording with this one."""
        one = _of(self.courses, number)
        for mirrored, joints in ((False, one.joints), (True, one.mirrored)):
            for probe in np.unique(np.linspace(0, len(joints) - 1, PROBES + 2)[1:-1].astype(int)):
                for other, lag in self._candidates(number, joints[probe], int(probe)):
                    distance = _distance(joints, _of(self.courses, other).joints, lag)
                    if distance <= SAME:
                        first, second = min(number, other), max(number, other)
                        yield Same(first, second, distance, (lag if number < other else -lag) / PACE, mirrored)

    def _candidates(self, number: int, pose: NDArray[np.float32], probe: int) -> Iterator[tuple[int, int]]:
        """Other sequences with a moment like this pose, and by how many moments theirs comes earlier than ours."""
        radius = NEAR * np.sqrt(len(pose))
        hits = np.array(self.tree.query_ball_point(pose.reshape(-1) @ self.turned, radius), dtype=np.int64)
        hits = hits[self.owner[hits] != number]
        apart = np.linalg.norm(self.joints[hits] - pose, axis=-1).mean(axis=-1)
        hits, apart = hits[apart < NEAR], apart[apart < NEAR]
        for other in np.unique(self.owner[hits]):
            own = self.owner[hits] == other
            nearest = hits[own][apart[own].argmin()]
            yield int(other), probe - int(self.place[nearest])


def _distance(one: NDArray[np.float32], other: NDArray[np.float32], lag: int) -> float:
    """The mean distance of the joints over the time in common, or infinity where that is too short or too still."""
    start, stop = max(0, lag), min(len(one), len(other) + lag)
    whole = min(len(one), len(other))
    if stop - start < min(whole, SHORTEST * PACE) - 2 or stop - start < 2:
        return np.inf
    mine, theirs = one[start:stop], other[start - lag : stop - lag]
    apart = float(np.linalg.norm(mine - theirs, axis=-1).mean())
    ours, other_ways = mine - mine.mean(axis=0), theirs - theirs.mean(axis=0)
    moving = float(np.linalg.norm(mine.std(axis=0), axis=-1).mean())
    if moving <= MOVING:  # who stands still looks like others who do, but for the last digit
        return apart if apart < EXACT and len(one) == len(other) else np.inf
    together = float((ours * other_ways).sum() / max(np.sqrt((ours**2).sum() * (other_ways**2).sum()), 1e-12))
    return apart if together >= TOGETHER else np.inf


def _of(courses: Sequence[Course | None], number: int) -> Course:
    found = courses[number]
    assert found is not None
    return found
