"""Which videos are one footage: the same bytes, or the same recording cut, cropped, scaled, mirrored or coded again.

A sketch is a video as small grey pictures at a steady pace; it is made once and kept in the cache under the video's bytes.
Descriptions of all videos are held against each other in one matrix product; only what may be alike is then compared picture by
picture (see `likeness`). A video longer than two minutes is sketched so thinly that its copies are found, but not pieces of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from quickstep.datasets.duplicates import frame_similarity
from quickstep.datasets.duplicates import pose_similarity as alike
from quickstep.signals.poses.formats import PoseFile, digest_of, is_pose_file, read_file
from quickstep.signals.video import DECODING_VERSION, VideoReader
from quickstep.storage.cache import Cache, Json
from quickstep.types.errors import MediaError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.view import View

VERSION = 5
PACE = 15.0  # pictures a second in a sketch of a short video
SIZE = 24  # pixels across a picture
DENSE_SECONDS = 120.0
ASYMMETRY = 0.05  # by how much more alike two standing pictures must be for one to be the other's mirror image
_VIEW = View(frames=1, size=2 * SIZE, fit="stretch", resample="area")  # averaged down by ourselves, exactly
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_BLOCK = 512  # videos whose descriptions are multiplied at once


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is kept of a video in memory; its pictures stay in the cache."""

    digest: str
    pace: float  # pictures a second
    pictures: int
    lost: int  # moments whose own picture was damaged
    duration: float
    reach: float  # seconds of the last picture there is
    mean: NDArray[np.float32]  # (12, 12) what stands
    spread: NDArray[np.float32]  # (12, 12) what moves
    together: NDArray[np.float32]  # (36, 36) what moves with what, over 6 x 6 places
    still: bool
    span: tuple[float, float] | None = None  # the part of the video that it is of; None: the whole


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
    """What is known of the footage of some videos."""

    digests: dict[Path, str] = field(default_factory=dict)
    sketches: dict[Path, Sketch] = field(default_factory=dict)
    matches: tuple[Match, ...] = ()
    failures: dict[Path, QuickstepError] = field(default_factory=dict)
    people: dict[Path, PoseFile] = field(default_factory=dict)  # of files of poses, instead of pictures

    @property
    def copies(self) -> tuple[tuple[Path, ...], ...]:
        """The files of the same bytes, where there are several."""
        same: dict[str, list[Path]] = {}
        for path, digest in self.digests.items():
            same.setdefault(digest, []).append(path)
        return tuple(tuple(paths) for paths in same.values() if len(paths) > 1)

    @property
    def groups(self) -> tuple[tuple[Path, ...], ...]:
        """The videos that are one footage, by bytes or by pictures, where there are several."""
        parent = {path: path for path in self.digests}

        def root(path: Path) -> Path:
            while parent[path] != path:
                parent[path] = parent[parent[path]]
                path = parent[path]
            return path

        for paths in self.copies:
            for path in paths[1:]:
                parent[root(path)] = root(paths[0])
        for match in self.matches:
            parent[root(match.second)] = root(match.first)
        found: dict[Path, list[Path]] = {}
        for path in self.digests:
            found.setdefault(root(path), []).append(path)
        return tuple(tuple(paths) for paths in found.values() if len(paths) > 1)


def compare_footage(
    paths: Sequence[Path], cache: Cache, *, look: bool = True, workers: int | None = None, progress: Progress = silent
) -> Footage:
    """Read every video once (the cache remembers) and find those that are one footage; `look=False` compares bytes alone."""
    paths = list(dict.fromkeys(Path(path) for path in paths))
    digests: dict[Path, str] = {}
    failures: dict[Path, QuickstepError] = {}
    for path, digest in run_parallel(lambda path: digest_of(path, cache), paths, "reading", workers=workers, progress=progress):
        (failures if isinstance(digest, QuickstepError) else digests)[path] = digest  # type: ignore[assignment]
    digests = {path: digests[path] for path in paths if path in digests}
    if not look:
        return Footage(digests, failures=failures)
    people, twins = _same_people([path for path in digests if is_pose_file(path)], progress)
    failures |= {path: error for path, error in people.items() if isinstance(error, QuickstepError)}
    distinct = {digest: path for path, digest in reversed(digests.items()) if path not in people}
    of_digest: dict[str, Sketch] = {}

    def work(path: Path) -> Sketch:
        return sketch(path, cache, digest=digests[path])

    broken: dict[str, QuickstepError] = {}
    for path, made in run_parallel(work, list(distinct.values()), "looking", workers=workers, progress=progress):
        if isinstance(made, Sketch):
            of_digest[digests[path]] = made
        else:
            broken[digests[path]] = made
    failures |= {path: broken[digest] for path, digest in digests.items() if digest in broken}
    sketches = {path: of_digest[digest] for path, digest in digests.items() if digest in of_digest}
    firsts = {digest: path for digest, path in distinct.items() if digest in of_digest}
    ordered = [path for path in paths if firsts.get(digests.get(path, "")) == path]
    matches = tuple(_matches(ordered, [sketches[path] for path in ordered], cache, progress))
    moving = {path: one for path, one in people.items() if not isinstance(one, QuickstepError)}
    return Footage(digests, sketches, (*twins, *matches), failures, moving)


def _same_people(paths: Sequence[Path], progress: Progress) -> tuple[dict[Path, PoseFile | QuickstepError], list[Match]]:
    """What files of poses hold, and which of them are one recording, as their joints say."""
    people: dict[Path, PoseFile | QuickstepError] = {}
    courses: list[alike.Course | None] = []
    for number, path in enumerate(paths):
        progress("looking", number, len(paths))
        try:
            found = read_file(path)
            people[path] = found
            courses.append(alike.course(found.poses))
        except MediaError as error:
            people[path] = error
            courses.append(None)
    twins = [Match(paths[one.first], paths[one.second], 1.0 - one.distance, one.lag, one.mirrored) for one in alike.same(courses)]
    return people, twins


def sketch(path: Path, cache: Cache, *, digest: str | None = None, span: tuple[float, float] | None = None) -> Sketch:
    """The sketch of a video, or of a span of it, from the cache or from the video."""
    digest = digest or cache.digest(path)
    kept = cache.get(_key(digest, "summary", span))
    if kept is None:
        pictures, pace, duration, lost, reach = _draw(path, span)
        grey = pictures.astype(np.float32)
        kept = {
            "mean": frame_similarity.shrink(grey.mean(0)[None], frame_similarity.COARSE)[0],
            "spread": frame_similarity.shrink(grey, frame_similarity.COARSE).std(0),
            "together": frame_similarity.comovement(grey),
            "facts": np.array([pace, len(pictures), lost, duration, reach, frame_similarity.is_still(grey)], dtype=np.float64),
        }
        cache.put(_key(digest, "pictures", span), {"pictures": pictures})
        cache.put(_key(digest, "summary", span), kept)
    pace, count, lost, duration, reach, still = kept["facts"].tolist()
    return Sketch(
        digest=digest,
        pace=pace,
        pictures=int(count),
        lost=int(lost),
        duration=duration,
        reach=reach,
        mean=kept["mean"],
        spread=kept["spread"],
        together=kept["together"],
        still=bool(still),
        span=span,
    )


def thumbnails_of(path: Path, sketched: Sketch, cache: Cache) -> NDArray[np.float32]:
    """The pictures (T, 24, 24) of a sketch."""
    kept = cache.get(_key(sketched.digest, "pictures", sketched.span))
    pictures = kept["pictures"] if kept is not None else _draw(path, sketched.span)[0]
    return pictures.astype(np.float32)


def _key(digest: str, what: str, span: tuple[float, float] | None) -> dict[str, Json]:
    key: dict[str, Json] = {"kind": f"footage-{what}", "version": VERSION, "decoding": DECODING_VERSION, "sha256": digest}
    return key if span is None else {**key, "span": list(span)}


def _draw(path: Path, span: tuple[float, float] | None) -> tuple[NDArray[np.uint8], float, float, int, float]:
    """The pictures (T, 24, 24) of a video, their pace, its duration, how many moments were damaged, and when the last picture comes."""
    with VideoReader(path) as video:
        first, duration = (0.0, video.info.duration) if span is None else (span[0], span[1] - span[0])
        pace = PACE
        most = DENSE_SECONDS * PACE if duration <= DENSE_SECONDS else 512
        while duration * pace > most:
            pace /= 2
        fine = 2 * pace if pace == PACE else pace  # twice as many, averaged by twos: what moves fast blurs instead of flickering
        times = first + np.arange(max(1, int(duration * fine + 1e-6))) / fine
        frames = video.frames(times, view=_VIEW)
    if len(frames) == 0:
        raise MediaError(path, "shows no picture")
    grey = frame_similarity.shrink(np.asarray(frames.pixels @ _LUMA, dtype=np.float32), SIZE)  # (T, 24, 24)
    steady = _at(times, frames.times, grey) if fine > pace else grey
    if fine > pace and len(steady) > 1:
        steady = (steady[0 : len(steady) // 2 * 2 : 2] + steady[1::2]) / np.float32(2)
    return np.rint(steady).astype(np.uint8), pace, duration, frames.lost, float(frames.times.max())


def _at(times: NDArray[np.float64], shown: NDArray[np.float64], grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pictures at exact times, mixed from those shown before and after, so that the frame rate does not matter."""
    own, first = np.unique(shown, return_index=True)
    if len(own) < 2:
        return grey
    grey = grey[first]
    after = np.clip(np.searchsorted(own, times, side="right"), 1, len(own) - 1)
    gap = own[after] - own[after - 1]
    share = np.clip((times - own[after - 1]) / gap, 0.0, 1.0)[:, None, None]
    share = np.where(gap[:, None, None] > 0.2, np.floor(share), share)  # a held picture is held, not faded
    return np.asarray(grey[after - 1] * (1 - share) + grey[after] * share, dtype=np.float32)


def _matches(paths: Sequence[Path], sketches: Sequence[Sketch], cache: Cache, progress: Progress) -> Iterator[Match]:
    """Every pair that is one footage, mirrored ones included."""
    pairs = list(candidate_pairs(sketches))

    @lru_cache(maxsize=512)
    def pictures(index: int) -> NDArray[np.float32]:
        return thumbnails_of(paths[index], sketches[index], cache)

    progress("comparing", 0, len(pairs))
    for number, (first, second, mirrored) in enumerate(pairs, start=1):
        pace = min(sketches[first].pace, sketches[second].pace)
        one, other = (_thinned(pictures(index), sketches[index].pace, pace) for index in (first, second))
        if mirrored:
            other = other[:, :, ::-1]
        if sketches[first].still or sketches[second].still:
            if sketches[first].still and sketches[second].still and frame_similarity.same_still(one, other):
                yield Match(paths[first], paths[second], 1.0, 0.0, mirrored)
        else:
            with threadpool_limits(1):  # products this small only lose by being shared out
                alike = frame_similarity.compare(one, other)
            if alike.same:
                yield Match(paths[first], paths[second], alike.score, alike.lag / pace, mirrored)
        if number % 64 == 0 or number == len(pairs):
            progress("comparing", number, len(pairs))


def _thinned(pictures: NDArray[np.float32], pace: float, wanted: float) -> NDArray[np.float32]:
    return pictures[:: max(1, round(pace / wanted))]


def candidate_pairs(sketches: Sequence[Sketch], *, slack: float = 0.0) -> Iterator[tuple[int, int, bool]]:
    """Pairs whose standing picture, place of movement and way of moving are alike, in order; with `slack`, a little less alike."""
    if len(sketches) < 2:
        return
    means, spreads, together = (np.stack(side) for side in zip(*map(_described, sketches), strict=True))
    mirror = np.arange(frame_similarity.COARSE**2).reshape(frame_similarity.COARSE, -1)[:, ::-1].reshape(-1)
    places = np.arange(frame_similarity.PLACES**2).reshape(frame_similarity.PLACES, -1)[:, ::-1].reshape(-1)
    pairs_of_places = (places[:, None] * len(places) + places[None, :]).reshape(-1)
    still = np.array([sketch.still for sketch in sketches])
    for begin in range(0, len(sketches), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        found: set[tuple[int, int, bool]] = set()
        for mirrored in (False, True):
            mean, spread, joint = (means, spreads, together)
            if mirrored:
                mean, spread, joint = means[:, mirror], spreads[:, mirror], together[:, pairs_of_places]
            near = means[rows] @ mean.T > 0.8 - slack
            if mirrored:  # before a symmetric background a mirrored movement is no mirrored recording
                near &= means[rows] @ mean.T > means[rows] @ means.T + ASYMMETRY
            near &= (spreads[rows] @ spread.T > 0.5 - slack) & (together[rows] @ joint.T > 0.6 - slack) | still[rows, None]
            near &= still[rows, None] == still[None, :]
            found |= {
                (int(row) + begin, int(column), mirrored) for row, column in zip(*np.nonzero(near), strict=True) if row + begin < column
            }
        yield from sorted(found)


def _described(sketched: Sketch) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """A video's standing picture, place of movement and way of moving, each as a vector of length 1."""
    together = sketched.together.reshape(-1)
    return _unit(sketched.mean), _unit(sketched.spread), together / np.float32(np.linalg.norm(together) + 1e-6)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = values.reshape(-1) - values.mean()
    return np.asarray(flat / (np.linalg.norm(flat) + 1e-6), dtype=np.float32)
