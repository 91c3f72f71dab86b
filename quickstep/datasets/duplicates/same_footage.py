"""Find videos of the same footage: equal bytes, or one recording that was cut, cropped, scaled, mirrored or encoded again.

The sketches of all videos are compared in one matrix product; only pairs that may be alike are then compared frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from quickstep.datasets.connected_components import connected_components
from quickstep.datasets.duplicates import frame_similarity, pose_similarity
from quickstep.datasets.duplicates.sketches import Sketch, sketch_video, thumbnails_of
from quickstep.signals.poses.formats import PoseFile, digest_of, is_pose_file, read_file
from quickstep.storage.cache import Cache
from quickstep.types.errors import MediaError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent

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
    tracks: list[pose_similarity.Track | None] = []
    for number, path in enumerate(paths):
        progress("reading poses", number, len(paths))
        try:
            file = read_file(path)
            files[path] = file
            tracks.append(pose_similarity.normalized_track(file.poses))
        except MediaError as error:
            files[path] = error
            tracks.append(None)
    matches = [
        Match(paths[match.first], paths[match.second], 1.0 - match.distance, match.lag, match.mirrored)
        for match in pose_similarity.matching_tracks(tracks)
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
