"""Find videos of the same footage: equal bytes, or one recording that was cut, cropped, scaled, mirrored or encoded again.

The sketches of all videos are compared in one matrix product; only pairs that may be alike are then compared frame by frame.
Pose sequences are compared joint by joint: stored twice, scaled, moved, mirrored, at another frame rate, or cut shorter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from quickstep.datasets.connected_components import connected_components
from quickstep.datasets.duplicates import frame_similarity
from quickstep.datasets.duplicates.frame_similarity import Sketch, sketch_video, thumbnails_of
from quickstep.signals.poses.formats import PoseFile, digest_of, is_pose_file, read_file
from quickstep.signals.poses.resampling import body_centre, body_length, fill_gaps, interpolate
from quickstep.storage.cache import Cache
from quickstep.types.errors import MediaError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
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


MIRROR_MARGIN = 0.05  # by how much more alike two mean thumbnails must be mirrored than as they are
MIN_MEAN, MIN_SPREAD, MIN_COMOVEMENT = 0.8, 0.5, 0.6  # correlations from which on two sketches are compared frame by frame
_BLOCK = 512  # videos whose sketches are multiplied at a time


@dataclass(frozen=True)
class Match:
    """Two videos that show one recording."""

    first: Path
    second: Path
    score: float
    lag: float  # seconds by which the first began earlier
    mirrored: bool

    def __str__(self) -> str:
        return f"{self.second} is {'a mirrored' if self.mirrored else 'a'} copy of {self.first}"


@dataclass(frozen=True)
class Footage:
    """The digests and sketches of some videos, and which of them show the same footage."""

    digests: dict[Path, str] = field(default_factory=dict)
    sketches: dict[Path, Sketch] = field(default_factory=dict)
    matches: tuple[Match, ...] = ()
    failures: dict[Path, QuickstepError] = field(default_factory=dict)
    poses: dict[Path, PoseFile] = field(default_factory=dict)  # of pose files, which have no sketch

    @property
    def copies(self) -> tuple[tuple[Path, ...], ...]:
        """Sets of two or more files with equal bytes."""
        by_digest: dict[str, list[Path]] = {}
        for path, digest in self.digests.items():
            by_digest.setdefault(digest, []).append(path)
        return tuple(tuple(paths) for paths in by_digest.values() if len(paths) > 1)

    @property
    def groups(self) -> tuple[tuple[Path, ...], ...]:
        """Sets of two or more videos with the same footage, by bytes or by content."""
        pairs = [(paths[0], path) for paths in self.copies for path in paths[1:]]
        pairs += [(match.first, match.second) for match in self.matches]
        return tuple(tuple(paths) for paths in connected_components(self.digests, pairs) if len(paths) > 1)


def compare_footage(
    paths: Sequence[Path], cache: Cache, *, decode: bool = True, workers: int | None = None, progress: Progress = silent
) -> Footage:
    """Find the videos of the same footage; `decode=False` compares their bytes alone. The cache keeps what was decoded."""
    paths = list(dict.fromkeys(Path(path) for path in paths))
    digests: dict[Path, str] = {}
    failures: dict[Path, QuickstepError] = {}
    for path, digest in run_parallel(lambda path: digest_of(path, cache), paths, "reading", workers=workers, progress=progress):
        (failures if isinstance(digest, QuickstepError) else digests)[path] = digest  # type: ignore[assignment]
    digests = {path: digests[path] for path in paths if path in digests}
    if not decode:
        return Footage(digests, failures=failures)
    poses, pose_matches = _compare_poses([path for path in digests if is_pose_file(path)], progress)
    failures |= {path: error for path, error in poses.items() if isinstance(error, QuickstepError)}
    first_of = {digest: path for path, digest in reversed(digests.items()) if path not in poses}
    sketched: dict[str, Sketch] = {}
    unreadable: dict[str, QuickstepError] = {}

    def sketch(path: Path) -> Sketch:
        return sketch_video(path, cache, digest=digests[path])

    for path, result in run_parallel(sketch, list(first_of.values()), "decoding", workers=workers, progress=progress):
        (sketched if isinstance(result, Sketch) else unreadable)[digests[path]] = result  # type: ignore[assignment]
    failures |= {path: unreadable[digest] for path, digest in digests.items() if digest in unreadable}
    sketches = {path: sketched[digest] for path, digest in digests.items() if digest in sketched}
    distinct = [path for path in paths if path in sketches and first_of[digests[path]] == path]
    matches = tuple(_matches(distinct, [sketches[path] for path in distinct], cache, progress))
    readable = {path: file for path, file in poses.items() if not isinstance(file, QuickstepError)}
    return Footage(digests, sketches, (*pose_matches, *matches), failures, readable)


def _compare_poses(paths: Sequence[Path], progress: Progress) -> tuple[dict[Path, PoseFile | QuickstepError], list[Match]]:
    """Read pose files, and find those that are one recording by their joints."""
    files: dict[Path, PoseFile | QuickstepError] = {}
    tracks: list[Track | None] = []
    for number, path in enumerate(paths):
        progress("reading poses", number, len(paths))
        try:
            file = read_file(path)
            files[path] = file
            tracks.append(normalized_track(file.poses))
        except MediaError as error:
            files[path] = error
            tracks.append(None)
    matches = [
        Match(paths[match.first], paths[match.second], 1.0 - match.distance, match.lag, match.mirrored) for match in matching_tracks(tracks)
    ]
    return files, matches


def _matches(paths: Sequence[Path], sketches: Sequence[Sketch], cache: Cache, progress: Progress) -> Iterator[Match]:
    """Yield every pair that is one footage, mirrored ones included."""
    pairs = list(candidate_pairs(sketches))

    @lru_cache(maxsize=512)
    def thumbnails(index: int) -> NDArray[np.float32]:
        return thumbnails_of(paths[index], sketches[index], cache)

    progress("comparing", 0, len(pairs))
    for number, (first, second, mirrored) in enumerate(pairs, start=1):
        fps = min(sketches[first].fps, sketches[second].fps)
        one, other = (thumbnails(index)[:: max(1, round(sketches[index].fps / fps))] for index in (first, second))
        if mirrored:
            other = other[:, :, ::-1]
        if sketches[first].still or sketches[second].still:
            if sketches[first].still and sketches[second].still and frame_similarity.same_still(one, other):
                yield Match(paths[first], paths[second], 1.0, 0.0, mirrored)
        else:
            with threadpool_limits(1):  # more threads make products this small slower
                similarity = frame_similarity.compare(one, other)
            if similarity.same:
                yield Match(paths[first], paths[second], similarity.score, similarity.lag / fps, mirrored)
        if number % 64 == 0 or number == len(pairs):
            progress("comparing", number, len(pairs))


def candidate_pairs(sketches: Sequence[Sketch], *, slack: float = 0.0) -> Iterator[tuple[int, int, bool]]:
    """Yield (first, second, mirrored) of sketches that are similar enough to compare frame by frame; `slack` lowers the thresholds."""
    if len(sketches) < 2:
        return
    means, spreads, comovements = (np.stack(vectors) for vectors in zip(*map(_unit_vectors, sketches), strict=True))
    flip = np.arange(frame_similarity.COARSE**2).reshape(frame_similarity.COARSE, -1)[:, ::-1].reshape(-1)
    places = np.arange(frame_similarity.PLACES**2).reshape(frame_similarity.PLACES, -1)[:, ::-1].reshape(-1)
    flip_places = (places[:, None] * len(places) + places[None, :]).reshape(-1)
    still = np.array([sketch.still for sketch in sketches])
    for begin in range(0, len(sketches), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        pairs: set[tuple[int, int, bool]] = set()
        for mirrored in (False, True):
            mean, spread, comovement = (means, spreads, comovements)
            if mirrored:
                mean, spread, comovement = means[:, flip], spreads[:, flip], comovements[:, flip_places]
            near = means[rows] @ mean.T > MIN_MEAN - slack
            if mirrored:  # on a symmetric background, mirrored movement does not mean a mirrored recording
                near &= means[rows] @ mean.T > means[rows] @ means.T + MIRROR_MARGIN
            moving = (spreads[rows] @ spread.T > MIN_SPREAD - slack) & (comovements[rows] @ comovement.T > MIN_COMOVEMENT - slack)
            near &= moving | still[rows, None]
            near &= still[rows, None] == still[None, :]
            pairs |= {
                (int(row) + begin, int(column), mirrored) for row, column in zip(*np.nonzero(near), strict=True) if row + begin < column
            }
        yield from sorted(pairs)


def _unit_vectors(sketch: Sketch) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return mean, spread and comovement of a sketch, each as a vector of length 1."""
    comovement = sketch.comovement.reshape(-1)
    return _unit(sketch.mean), _unit(sketch.spread), comovement / np.float32(np.linalg.norm(comovement) + 1e-6)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = values.reshape(-1) - values.mean()
    return np.asarray(flat / (np.linalg.norm(flat) + 1e-6), dtype=np.float32)
