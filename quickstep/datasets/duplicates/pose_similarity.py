"""Find pose sequences of one recording: stored twice, scaled, moved, mirrored, at another frame rate, or cut shorter.

A person's joints relative to the middle of the body, in body lengths, are the same in all of these. A few poses of each sequence are
looked up among all poses of the others; where one matches, the two sequences are compared over the whole time that they share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.resampling import body_centre, body_length, fill_gaps, interpolate
from quickstep.types.signals import Poses

FPS = 25.0  # the rate at which sequences are compared
MAX_SECONDS = 120.0  # of a sequence that are compared
PROBES = 5  # poses of each sequence that are looked up among the others
MAX_DISTANCE = 0.02  # mean distance of the joints, in body lengths, up to which two sequences are the same
MAX_POSE_DISTANCE = 1.5 * MAX_DISTANCE  # of two single poses in sequences that are the same
MIN_CORRELATION = 0.995  # of the joints' paths, from which on two people do not merely do the same movement
EXACT = 1e-3  # body lengths
MIN_SECONDS = 1.0  # that two sequences must share, or all of the shorter one
MIN_MOVEMENT = 0.01  # body lengths by which the joints vary where somebody moves
PROJECTION = 8  # dimensions in which poses are looked up

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Track:
    """A person's joints (T, K, D) at a steady rate, independent of camera and place; and the same mirrored."""

    joints: Floats
    mirrored: Floats


@dataclass(frozen=True)
class TrackMatch:
    """Two tracks, by their numbers, of one recording."""

    first: int
    second: int
    distance: float
    lag: float  # seconds by which the first began earlier
    mirrored: bool


def normalized_track(poses: Poses) -> Track | None:
    """Return the track of the first person, or None if too few joints are visible."""
    if not poses.people or not poses.seen[:, 0].any():
        return None
    person = poses.person(poses.people[0]).span(0.0, float(poses.times[0]) + MAX_SECONDS)
    length = body_length(person)
    if not length > 0:
        return None
    joints = fill_gaps(person)[:, 0, :, :-1]  # (T, K, D)
    times = np.arange(person.times[0], person.times[-1] + 1e-9, 1 / FPS)
    middles = body_centre(person)
    valid = np.isfinite(middles).all(axis=1)
    middles = interpolate(person.times[valid], middles[valid], person.times)
    steady = interpolate(person.times, np.nan_to_num((joints - middles[:, None]) / length), times)
    mirrored = steady[:, list(poses.skeleton.flipped)].copy()
    mirrored[..., 0] *= -1
    return Track(steady, mirrored)


def matching_tracks(tracks: Sequence[Track | None]) -> Iterator[TrackMatch]:
    """Yield every pair of tracks of one recording, once, in order."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, track in enumerate(tracks):
        if track is not None:
            by_shape.setdefault(track.joints.shape[1:], []).append(number)
    for _, numbers in sorted(by_shape.items()):
        if len(numbers) < 2:
            continue
        index = _PoseIndex.build({number: track for number in numbers if (track := tracks[number]) is not None})
        matches: dict[tuple[int, int], TrackMatch] = {}
        for number in numbers:
            for match in index.matches(number):
                matches.setdefault((match.first, match.second), match)
        yield from (matches[pair] for pair in sorted(matches))


@dataclass(frozen=True, eq=False)
class _PoseIndex:
    """All poses of some tracks with one skeleton, for nearest-neighbour lookup in a projection."""

    tracks: dict[int, Track]
    joints: Floats  # (N, K, D)
    track_of: NDArray[np.int64]  # (N,)
    frame_of: NDArray[np.int64]  # (N,) the number of each pose in its track
    projection: NDArray[np.float64]  # (K * D, PROJECTION)
    tree: Any

    @classmethod
    def build(cls, tracks: dict[int, Track]) -> _PoseIndex:
        from scipy.spatial import cKDTree

        rows = [track.joints for track in tracks.values()]
        joints = np.concatenate(rows)
        flat = joints.reshape(len(joints), -1)
        sample = flat[:: max(1, len(flat) // 5000)].astype(np.float64)
        # the directions in which the poses vary most; a projection never increases a distance
        projection = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)[2][:PROJECTION].T
        track_of = np.repeat(list(tracks), [len(row) for row in rows])
        frame_of = np.concatenate([np.arange(len(row)) for row in rows])
        return cls(tracks, joints, track_of, frame_of, projection, cKDTree(flat @ projection))

    def matches(self, number: int) -> Iterator[TrackMatch]:
        """Yield the tracks that are one recording with this one."""
        track = self.tracks[number]
        for mirrored, joints in ((False, track.joints), (True, track.mirrored)):
            for probe in np.unique(np.linspace(0, len(joints) - 1, PROBES + 2)[1:-1].astype(int)):
                for other, lag in self._candidates(number, joints[probe], int(probe)):
                    distance = _distance(joints, self.tracks[other].joints, lag)
                    if distance <= MAX_DISTANCE:
                        first, second = min(number, other), max(number, other)
                        yield TrackMatch(first, second, distance, (lag if number < other else -lag) / FPS, mirrored)

    def _candidates(self, number: int, pose: Floats, probe: int) -> Iterator[tuple[int, int]]:
        """Yield other tracks that contain a pose like this one, and by how many frames it comes earlier there."""
        radius = MAX_POSE_DISTANCE * np.sqrt(len(pose))
        hits = np.array(self.tree.query_ball_point(pose.reshape(-1) @ self.projection, radius), dtype=np.int64)
        hits = hits[self.track_of[hits] != number]
        distance = np.linalg.norm(self.joints[hits] - pose, axis=-1).mean(axis=-1)
        hits, distance = hits[distance < MAX_POSE_DISTANCE], distance[distance < MAX_POSE_DISTANCE]
        for other in np.unique(self.track_of[hits]):
            own = self.track_of[hits] == other
            nearest = hits[own][distance[own].argmin()]
            yield int(other), probe - int(self.frame_of[nearest])


def _distance(one: Floats, other: Floats, lag: int) -> float:
    """Return the mean distance of the joints over the shared time, or infinity where that is too short or nobody moves."""
    start, stop = max(0, lag), min(len(one), len(other) + lag)
    shorter = min(len(one), len(other))
    if stop - start < min(shorter, MIN_SECONDS * FPS) - 2 or stop - start < 2:
        return np.inf
    first, second = one[start:stop], other[start - lag : stop - lag]
    distance = float(np.linalg.norm(first - second, axis=-1).mean())
    first_path, second_path = first - first.mean(axis=0), second - second.mean(axis=0)
    movement = float(np.linalg.norm(first.std(axis=0), axis=-1).mean())
    if movement <= MIN_MOVEMENT:  # two people who stand still look alike, except in the last digits
        return distance if distance < EXACT and len(one) == len(other) else np.inf
    norm = np.sqrt((first_path**2).sum() * (second_path**2).sum())
    correlation = float((first_path * second_path).sum() / max(norm, 1e-12))
    return distance if correlation >= MIN_CORRELATION else np.inf
