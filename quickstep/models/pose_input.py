"""Read the poses of a segment as a backbone needs them, select people, and choose the skeleton of a backbone that is to be trained."""

from __future__ import annotations

import json
import logging
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

MAX_ABSENT = 0.5  # share of its timestamps at which the person of a segment may be absent; above it the segment is a failure
FILES_READ = 40  # pose files of a dataset from which its skeleton is chosen
COMMON = 0.8  # share of these files that must have one skeleton for it to be chosen
SHARED_JOINTS = 0.5  # share of COCO's joints that every skeleton must have where they differ

_log = logging.getLogger(__name__)


def are_pose_files(paths: Sequence[Path]) -> bool:
    """Whether all paths are pose files, and none is a video."""
    return bool(paths) and all(map(is_pose_file, paths))


@dataclass(frozen=True)
class PoseReader:
    """Finds the poses of a segment, selects the person, resamples the poses to the view's timestamps, and computes features."""

    backbone: PoseBackbone
    view: View
    finder: PoseFinder

    @classmethod
    def of(cls, backbone: PoseBackbone, view: View, cache: Cache) -> PoseReader:
        """Create one whose estimator is opened when a video needs it."""
        return cls(backbone, view, PoseFinder(backbone.config, cache))

    def key(self, segment: Segment) -> dict[str, Json]:
        """Return everything that decides the features of a segment."""
        view = to_plain(self.view)
        return {
            "kind": "features",
            "poses": self.finder.key(segment.path),
            "sampling": SAMPLING_VERSION,
            "span": [segment.start, segment.end],
            "person": self._person_of(segment),
            "view": {name: view[name] for name in ("frames", "fps", "windows", "hop")},
            "backbone": dict(self.backbone.identity),
        }

    def extract(self, segment: Segment, progress: Progress = silent) -> Arrays:
        """Return the features of a segment, and at how many of its timestamps the person is absent."""
        return self.extract_from(self.finder.find(segment.path, progress=progress), segment)

    def extract_from(self, poses: Poses, segment: Segment) -> Arrays:
        """Do the same with the poses of the segment's whole file."""
        poses = select_person(_within(poses, segment), self._person_of(segment), segment.path)
        timestamps = np.unique(self.view.timestamps(segment.start, end_of(poses, segment)))
        absent = int((~_present_at(poses, timestamps)).sum())
        if absent == len(timestamps):
            raise MediaError(segment.path, "nobody is visible: there are fewer than three joints at every timestamp")
        if absent > MAX_ABSENT * len(timestamps):
            who = "the person" if segment.person is None else f"person {segment.person}"
            raise MediaError(segment.path, f"{who} is visible at only {len(timestamps) - absent} of {len(timestamps)} timestamps")
        try:
            features = self.backbone.embed([resample_poses(poses, timestamps) if self.backbone.capabilities.resamples_poses else poses])[0]
        except MediaError:
            raise
        except QuickstepError as error:
            raise MediaError(segment.path, str(error)) from error
        return {"values": features.values, "times": features.times, "lost": np.array([absent, len(timestamps)])}

    def extract_all(self, segments: Sequence[Segment], progress: Progress = silent) -> Iterator[tuple[int, Arrays | QuickstepError]]:
        """Yield the features of one segment after the other: an estimator uses all cores itself, and pose files take no time."""
        of_segment = progress if len(segments) == 1 else silent
        for number, segment in enumerate(segments):
            try:
                yield number, self.extract(segment, of_segment)
            except MediaError as error:
                yield number, error

    def _person_of(self, segment: Segment) -> int | None:
        return segment.person if segment.person is not None else self.backbone.config.number


def _within(poses: Poses, segment: Segment) -> Poses:
    """Return the poses of a segment."""
    whole = end_of(poses, replace(segment, end=None))
    if segment.start >= whole:
        raise MediaError(segment.path, f"the segment starts at {segment.start:g} s, but the poses end at {whole:.3f} s")
    if segment.end is not None and segment.end > whole + OVERHANG:
        raise MediaError(segment.path, f"the segment ends at {segment.end:g} s, but the poses already at {whole:.3f} s")
    if segment.start == 0 and segment.end is None:
        return poses
    inside = poses.span(segment.start - 1e-6, None if segment.end is None else segment.end - 1e-6)
    if not len(inside):
        raise MediaError(segment.path, f"there is no frame between {segment.start:g} and {segment.end:g} s")
    return inside


def end_of(poses: Poses, segment: Segment) -> float:
    """Return the second at which a segment ends: at most when the last frame of the poses ends."""
    step = float(np.median(np.diff(poses.times))) if len(poses) > 1 else 1 / 25
    last = float(poses.times[-1]) + step if len(poses) else 0.0
    return last if segment.end is None else min(segment.end, last)


def _present_at(poses: Poses, timestamps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return at which timestamps the nearest frame shows the person."""
    between = (poses.times[1:] + poses.times[:-1]) / 2
    return np.asarray(present(poses)[:, 0][np.searchsorted(between, timestamps)])


# -- people ------------------------------------------------------------------------------------------------------------------


def select_people(
    segments: Sequence[Segment], backbone: Backbone, person: str, *, cache: Cache, progress: Progress = silent
) -> tuple[list[Segment], list[Failure]]:
    """Return each segment with its person: a number, "auto" for the main person, or "all" for one segment for each person."""
    if not reads_poses(backbone):
        raise ConfigError("person", f"the backbone {backbone.name!r} reads whole frames, not people; leave it out")
    if person != "all":
        number = None if person == "auto" else int(person)
        return [replace(segment, person=number) for segment in segments], []
    finder = PoseFinder(backbone.config, cache)
    selected: list[Segment] = []
    failures: list[Failure] = []
    for done, segment in enumerate(segments):
        progress("people", done, len(segments))
        try:
            selected += _one_for_each_person(segment, _within(finder.find(segment.path), segment))
        except MediaError as error:
            failures.append(Failure(segment, error))
    progress("people", len(segments), len(segments))
    return selected, failures


def _one_for_each_person(segment: Segment, poses: Poses) -> list[Segment]:
    visible = np.asarray(present(poses))  # (T, P)
    if not visible.any():
        raise MediaError(segment.path, "nobody is visible in it")
    return [
        _while_visible(replace(segment, person=number), poses, visible[:, column])
        for column, number in enumerate(poses.people)
        if visible[:, column].any()
    ]


def _while_visible(segment: Segment, poses: Poses, visible: NDArray[np.bool_]) -> Segment:
    """Return the segment; only its part from the first to the last appearance for a person who is mostly absent."""
    if visible.mean() >= 1 - MAX_ABSENT:
        return segment
    frames = np.flatnonzero(visible)
    last = int(frames[-1])
    stop = float(poses.times[last + 1]) if last + 1 < len(poses) else end_of(poses, segment)
    return replace(segment, start=float(poses.times[frames[0]]), end=stop)


# -- the skeleton ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SkeletonChoice:
    """A backbone with the skeleton that was chosen for it, and notes about the choice."""

    backbone: Any
    notes: tuple[str, ...] = ()

    @property
    def skeleton(self) -> Skeleton | None:
        """Return the skeleton of a backbone that gives joints."""
        return self.backbone.skeleton if self.backbone.capabilities.gives_joints else None


def choose_skeleton(backbone: Backbone, paths: Sequence[Path], *, cache: Cache) -> SkeletonChoice:
    """Return the backbone with the skeleton of its training data; a backbone that does not read poses is returned as it is.

    Without a skeleton in its settings it gets that of most files (or of the estimator). Where skeletons differ much it gets COCO's 17
    joints, to which most can be converted. The whole skeleton is saved, so that the model does not need a file that describes it.
    """
    if not reads_poses(backbone):
        return SkeletonChoice(backbone)
    config = backbone.config
    configured = None if config.skeleton is None else read_skeleton(config.skeleton)
    paths_of_files = [path for path in paths if is_pose_file(path)]
    has_videos = len(paths_of_files) < len(paths)
    files = [file for path in _sampled(paths_of_files) if (file := _readable(path, configured, config.pose_fps)) is not None]
    skeletons = [file.poses.skeleton for file in files]
    if has_videos:
        skeletons.append(PoseFinder(config, cache).estimator.skeleton)
    chosen, notes = _common(skeletons, configured)
    if chosen is None:  # nothing can be read: reading all files will say why
        chosen = SKELETONS["coco-17"]
    counts = Counter(note for file in files for note in dict.fromkeys(file.notes))
    notes += [note if count == len(paths_of_files) == 1 else f"in the pose files: {note}" for note, count in counts.items()]
    _log.info("skeleton: %s", chosen)
    options = replace(config, skeleton=_as_text(chosen)).to_options() | ({VIDEOS: True} if has_videos else {})
    return SkeletonChoice(replace(backbone.spec, poses=options).open(cache), tuple(notes))


def _sampled(paths: Sequence[Path]) -> list[Path]:
    """Return at most FILES_READ of the paths, evenly spaced."""
    if len(paths) <= FILES_READ:
        return list(paths)
    return [paths[int(number)] for number in np.linspace(0, len(paths) - 1, FILES_READ)]


def _readable(path: Path, skeleton: Skeleton | None, fps: float | None) -> PoseFile | None:
    try:
        return read_file(path, skeleton=skeleton, fps=fps)
    except MediaError:
        return None


def _common(skeletons: Sequence[Skeleton], given: Skeleton | None) -> tuple[Skeleton | None, list[str]]:
    """Return the skeleton that fits all, and notes about it."""
    dimensions = max((skeleton.dimensions for skeleton in skeletons), default=0)
    if given is not None:
        return replace(given, dimensions=max(dimensions, given.dimensions)), []
    if not skeletons:
        return None, []
    kinds = {skeleton.joints: skeleton for skeleton in skeletons}
    joints, count = Counter(skeleton.joints for skeleton in skeletons).most_common(1)[0]
    if count >= COMMON * len(skeletons):
        return replace(kinds[joints], dimensions=dimensions), []
    coco = SKELETONS["coco-17"]
    if all(shares(skeleton, coco) >= SHARED_JOINTS for skeleton in kinds.values()):
        names = ", ".join(sorted({skeleton.name for skeleton in kinds.values()}))
        return replace(coco, dimensions=dimensions), [f"the poses have several skeletons ({names}); all are converted to coco-17"]
    return replace(kinds[joints], dimensions=dimensions), []


def _as_text(skeleton: Skeleton) -> str:
    """Return the skeleton's name if it is a known one, else its JSON."""
    for name in (skeleton.name, f"{skeleton.name}-3d", f"{skeleton.name}-2d"):
        if skeleton.name in SKELETONS and read_skeleton(name) == skeleton:
            return name
    return json.dumps(skeleton.to_json(), ensure_ascii=False)
