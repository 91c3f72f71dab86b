"""People instead of pictures: what a backbone that reads poses is shown of each segment, and whose joints it is settled on.

Knows backbones by their contract, estimators and files of poses through `poses`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import reads_poses
from quickstep.signals.poses.config import VIDEOS
from quickstep.signals.poses.estimation import PoseFinder, select_person
from quickstep.signals.poses.formats import PoseFile, is_pose_file, read_file
from quickstep.signals.poses.resampling import SAMPLING_VERSION, present, resample_poses
from quickstep.signals.video import OVERHANG
from quickstep.storage.cache import Arrays, Cache, Json
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import ConfigError, MediaError, QuickstepError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Poses
from quickstep.types.skeleton import SKELETONS, Skeleton, read_skeleton, shares

if TYPE_CHECKING:
    from quickstep.backbones import Backbone, PoseBackbone
    from quickstep.types.view import View

MOST_UNSEEN = 0.5  # a segment whose person is away at more of its moments than this is a failure, not a guess
LOOKED_INTO = 40  # files of a set from which is concluded what all of them hold
COMMON = 0.8  # share of them that must have one skeleton for it to be the set's
ENOUGH = 0.5  # share of a common skeleton's joints that each must have


def all_poses(paths: Sequence[Path]) -> bool:
    """Whether all of these mean poses, none a video."""
    return bool(paths) and all(map(is_pose_file, paths))


@dataclass(frozen=True)
class Looker:
    """Shows people to a backbone: finds them, takes the one that is meant, brings them to the view's moments."""

    backbone: PoseBackbone
    view: View
    finder: PoseFinder

    @classmethod
    def of(cls, backbone: PoseBackbone, view: View, cache: Cache) -> Looker:
        """With an estimator that is opened when a video needs it."""
        return cls(backbone, view, PoseFinder(backbone.config, cache))

    def key(self, segment: Segment) -> dict[str, Json]:
        """Everything that decides what is computed of a segment."""
        view = to_plain(self.view)
        return {
            "kind": "features",
            "poses": self.finder.key(segment.path),
            "sampling": SAMPLING_VERSION,
            "span": [segment.start, segment.end],
            "person": self._meant(segment),
            "view": {name: view[name] for name in ("frames", "fps", "windows", "hop")},
            "backbone": dict(self.backbone.identity),
        }

    def look(self, segment: Segment, progress: Progress = silent) -> Arrays:
        """The features of a segment, and at how many moments its person was not seen."""
        return self.look_at(self.finder.find(segment.path, progress=progress), segment)

    def look_at(self, poses: Poses, segment: Segment) -> Arrays:
        """The same, of the poses of the segment's whole path."""
        poses = select_person(_within(poses, segment), self._meant(segment), segment.path)
        moments = np.unique(self.view.timestamps(segment.start, end_of(poses, segment)))
        unseen = int((~_seen_at(poses, moments)).sum())
        if unseen == len(moments):
            raise MediaError(segment.path, "nobody is seen well enough in it: fewer than three joints at every moment")
        if unseen > MOST_UNSEEN * len(moments):
            who = "the person" if segment.person is None else f"person {segment.person}"
            raise MediaError(segment.path, f"{who} is seen at only {len(moments) - unseen} of {len(moments)} moments")
        try:
            shown = resample_poses(poses, moments) if self.backbone.capabilities.resamples_poses else poses
            features = self.backbone.embed([shown])[0]
        except MediaError:
            raise
        except QuickstepError as error:
            raise MediaError(segment.path, str(error)) from error
        return {"values": features.values, "times": features.times, "lost": np.array([unseen, len(moments)])}

    def compute(self, segments: Sequence[Segment], progress: Progress = silent) -> Iterator[tuple[int, Arrays | QuickstepError]]:
        """The features of each, one after the other: an estimator uses all cores itself, and files take next to no time."""
        alone = progress if len(segments) == 1 else silent
        for number, segment in enumerate(segments):
            try:
                yield number, self.look(segment, alone)
            except MediaError as error:
                yield number, error

    def _meant(self, segment: Segment) -> int | None:
        return segment.person if segment.person is not None else self.backbone.config.number


def _within(poses: Poses, segment: Segment) -> Poses:
    """The poses of a segment alone."""
    whole = end_of(poses, replace(segment, end=None))
    if segment.start >= whole:
        raise MediaError(segment.path, f"the segment starts at {segment.start:g} s, but the poses end at {whole:.3f} s")
    if segment.end is not None and segment.end > whole + OVERHANG:
        raise MediaError(segment.path, f"the segment ends at {segment.end:g} s, but the poses already at {whole:.3f} s")
    if segment.start == 0 and segment.end is None:
        return poses
    inside = poses.span(segment.start - 1e-6, None if segment.end is None else segment.end - 1e-6)
    if not len(inside):
        raise MediaError(segment.path, f"no frame lies between {segment.start:g} and {segment.end:g} s")
    return inside


def end_of(poses: Poses, segment: Segment) -> float:
    """When a segment ends: where it says, but not after the last frame has been shown."""
    step = float(np.median(np.diff(poses.times))) if len(poses) > 1 else 1 / 25
    last = float(poses.times[-1]) + step if len(poses) else 0.0
    return last if segment.end is None else min(segment.end, last)


def _seen_at(poses: Poses, moments: NDArray[np.float64]) -> NDArray[np.bool_]:
    """At which moments the frame nearest in time shows the person."""
    between = (poses.times[1:] + poses.times[:-1]) / 2
    return np.asarray(present(poses)[:, 0][np.searchsorted(between, moments)])


# -- one segment a person ----------------------------------------------------------------------------------------------------


def of_person(
    segments: Sequence[Segment], backbone: Backbone, person: str, *, cache: Cache, progress: Progress = silent
) -> tuple[list[Segment], list[Failure]]:
    """Each segment about the person asked for: a number, "auto" for the dancer, or "all" for one segment a person."""
    if not reads_poses(backbone):
        raise ConfigError("person", f"the backbone {backbone.name!r} looks at whole pictures, not at people; leave it out")
    if person != "all":
        number = None if person == "auto" else int(person)
        return [replace(segment, person=number) for segment in segments], []
    finder = PoseFinder(backbone.config, cache)
    made: list[Segment] = []
    failures: list[Failure] = []
    for done, segment in enumerate(segments):
        progress("people", done, len(segments))
        try:
            poses = _within(finder.find(segment.path), segment)
            there = np.asarray(present(poses))  # (T, P)
            if not there.any():
                raise MediaError(segment.path, "nobody is seen in it")
            made += [
                _while_there(replace(segment, person=number), poses, there[:, place])
                for place, number in enumerate(poses.people)
                if there[:, place].any()
            ]
        except MediaError as error:
            failures.append(Failure(segment, error))
    progress("people", len(segments), len(segments))
    return made, failures


def _while_there(segment: Segment, poses: Poses, there: NDArray[np.bool_]) -> Segment:
    """The segment, or the part of it in which its person is seen where that is only a part."""
    if there.mean() >= 1 - MOST_UNSEEN:
        return segment
    seen = np.flatnonzero(there)
    last = int(seen[-1])
    stop = float(poses.times[last + 1]) if last + 1 < len(poses) else end_of(poses, segment)
    return replace(segment, start=float(poses.times[seen[0]]), end=stop)


# -- settling ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settled:
    """A backbone whose joints are known, and what was concluded for that."""

    backbone: Any
    notes: tuple[str, ...] = ()

    @property
    def skeleton(self) -> Skeleton | None:
        """Whose joints it gives, where it gives joints."""
        return self.backbone.skeleton if self.backbone.capabilities.gives_joints else None


def settle(backbone: Backbone, paths: Sequence[Path], *, cache: Cache) -> Settled:
    """The backbone with the skeleton of what it is to learn from; one that reads no poses as it is.

    Without a skeleton of its own it takes the one that most of the files (or the estimator) have; where they differ much, COCO's 17
    joints, to which most bodies can be brought. The skeleton is kept whole, so that a model needs no file that described it.
    """
    if not reads_poses(backbone):
        return Settled(backbone)
    config = backbone.config
    asked = None if config.skeleton is None else read_skeleton(config.skeleton)
    files = [path for path in paths if is_pose_file(path)]
    videos = len(files) < len(paths)
    looked = [found for path in _spread(files) if (found := _looked_into(path, asked, config.pose_fps)) is not None]
    skeletons = [found.poses.skeleton for found in looked]
    if videos:
        skeletons.append(PoseFinder(config, cache).estimator.skeleton)
    chosen, notes = _common(skeletons, asked)
    if chosen is None:  # nothing can be read: reading them all will say why
        chosen = SKELETONS["coco-17"]
    told = Counter(note for found in looked for note in dict.fromkeys(found.notes))
    notes += [note if count == len(files) == 1 else f"in the files of poses: {note}" for note, count in told.items()]
    kept = replace(config, skeleton=_as_text(chosen)).to_options() | ({VIDEOS: True} if videos else {})
    return Settled(replace(backbone.spec, poses=kept).open(cache), tuple(notes))


def _spread(files: Sequence[Path]) -> list[Path]:
    """Some of the files, evenly."""
    if len(files) <= LOOKED_INTO:
        return list(files)
    return [files[int(place)] for place in np.linspace(0, len(files) - 1, LOOKED_INTO)]


def _looked_into(path: Path, skeleton: Skeleton | None, fps: float | None) -> PoseFile | None:
    try:
        return read_file(path, skeleton=skeleton, fps=fps)
    except MediaError:
        return None


def _common(skeletons: Sequence[Skeleton], asked: Skeleton | None) -> tuple[Skeleton | None, list[str]]:
    """The skeleton that suits all, and what is to be said about it."""
    dimensions = max((skeleton.dimensions for skeleton in skeletons), default=0)
    if asked is not None:
        return replace(asked, dimensions=max(dimensions, asked.dimensions)), []
    if not skeletons:
        return None, []
    kinds = {skeleton.joints: skeleton for skeleton in skeletons}
    often = Counter(skeleton.joints for skeleton in skeletons).most_common()
    most = kinds[often[0][0]]
    if often[0][1] >= COMMON * len(skeletons):
        return replace(most, dimensions=dimensions), []
    usual = SKELETONS["coco-17"]
    if all(shares(skeleton, usual) >= ENOUGH for skeleton in kinds.values()):
        names = ", ".join(sorted({skeleton.name for skeleton in kinds.values()}))
        return replace(usual, dimensions=dimensions), [f"the poses have several skeletons ({names}); all are brought to coco-17"]
    return replace(most, dimensions=dimensions), []


def _as_text(skeleton: Skeleton) -> str:
    """A name where the table has exactly this, else all of it."""

    for name in (skeleton.name, f"{skeleton.name}-3d", f"{skeleton.name}-2d"):
        if skeleton.name in SKELETONS and read_skeleton(name) == skeleton:
            return name
    return json.dumps(skeleton.to_json(), ensure_ascii=False)
