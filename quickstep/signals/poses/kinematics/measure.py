"""measure: one person's poses -> numbers for spans of time; kinematics: the same of files and videos, of each person asked for.

Finds poses through `poses.finding`; what each number is stands in the files beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.estimation import PoseFinder, select_person
from quickstep.signals.poses.kinematics.availability import Found, Unknown
from quickstep.signals.poses.kinematics.body import Movement, movement
from quickstep.signals.poses.kinematics.limbs import fluidities, reaches, speeds, symmetries
from quickstep.signals.poses.kinematics.posture import Ground, ground, levelled
from quickstep.signals.poses.kinematics.quantities import NAMES, Numbers
from quickstep.signals.poses.kinematics.rhythm import rhythm
from quickstep.signals.poses.kinematics.turns import Turning, about_vertical, in_plane, turning
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import one_of, setting
from quickstep.types.errors import ConfigError, MediaError, QuickstepError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Poses

MEASURES_VERSION = 1  # a part of every cache key: raise it whenever the same poses give other numbers
HALF = 0.5  # share of the joints that must be seen in a span of time for it to be measured
AXES = ("x", "y", "z", "-x", "-y", "-z")


@dataclass(frozen=True)
class KinematicsConfig:
    """The spans of time that are measured."""

    window: float = setting(2.0, "seconds that each row of numbers is about; 0: the whole alone")
    stride: float = setting(1.0, "seconds from one window to the next")
    up: str | None = setting(None, "the axis that points upwards, as y or -z (default: away from the feet in 3D, up in pictures)")

    def __post_init__(self) -> None:
        if not (self.window == 0 or 0.2 <= self.window < math.inf):
            raise ConfigError("window", f"0, or at least 0.2 seconds, not {self.window:g}")
        if not 0.02 <= self.stride < math.inf:
            raise ConfigError("stride", f"at least 0.02 seconds, not {self.stride:g}")
        if self.up is not None:
            one_of("up", self.up, AXES)


@dataclass(frozen=True, eq=False)
class Measured:
    """One person of one file or video: numbers of the whole and of each window, and the movement that they are of."""

    path: Path
    whole: Numbers
    windows: tuple[Numbers, ...]
    body: Movement
    vertical: Turning
    plane: Turning
    ground: Ground

    @property
    def person(self) -> int:
        """By which number the person is called."""
        return self.whole.person

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What should be known about the numbers: why some are lacking of the whole."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.whole.unknown.items():
            reasons.setdefault(why, []).append(name)
        return tuple(f"{', '.join(names)}: {why}" for why, names in reasons.items())

    def to_json(self) -> dict[str, Any]:
        """Everything measured, in JSON's own types."""
        return {
            "path": str(self.path),
            "person": self.person,
            "skeleton": self.body.skeleton.name,
            "dimensions": self.body.dimensions,
            "whole": self.whole.to_json(),
            "windows": [window.to_json() for window in self.windows],
        }


@dataclass(frozen=True)
class Unmeasured:
    """A file or a person that could not be measured, and why."""

    path: Path
    error: QuickstepError

    def __str__(self) -> str:
        return str(self.error)


@dataclass(frozen=True, eq=False)
class Motions:
    """All that was measured, in the order asked, and what could not be."""

    people: tuple[Measured, ...]
    failures: tuple[Unmeasured, ...] = ()


def kinematics(
    inputs: Sequence[str | Path],
    config: KinematicsConfig | None = None,
    *,
    poses: PoseConfig | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> Motions:
    """Motion in numbers: of the dancer, of a person, or of everybody in videos and files of poses."""
    config, poses = config or KinematicsConfig(), poses or PoseConfig()
    finder = PoseFinder(poses, cache or Cache())
    people: list[Measured] = []
    failures: list[Unmeasured] = []
    for place, path in enumerate(map(Path, inputs)):
        progress("motion", place, len(inputs))
        try:
            found = finder.find(path, progress=progress)
            for each in _meant(found, poses, path):
                try:
                    people.append(_measured(path, each, config))
                except MediaError as error:
                    if strict or len(found.people) == 1 or poses.person != "all":
                        raise
                    failures.append(Unmeasured(path, error))
        except MediaError as error:
            if strict:
                raise
            failures.append(Unmeasured(path, error))
    progress("motion", len(inputs), len(inputs))
    return Motions(tuple(people), tuple(failures))


def _meant(found: Poses, poses: PoseConfig, path: Path) -> list[Poses]:
    if poses.person != "all":
        return [select_person(found, poses.number, path)]
    there = [person for place, person in enumerate(found.people) if found.seen[:, place].any()]
    if not there:
        raise MediaError(path, "nobody is seen in it")
    return [found.person(person) for person in there]


def _measured(path: Path, poses: Poses, config: KinematicsConfig) -> Measured:
    """One person's numbers, from when they are first seen to when they are last seen."""
    seen = np.flatnonzero(poses.seen[:, 0].any(axis=1))
    if not len(seen):
        raise MediaError(path, f"person {poses.people[0]} is not seen in it")
    within = poses.span(float(poses.times[seen[0]]), float(np.nextafter(poses.times[seen[-1]], np.inf)))
    try:
        return measure(within, config, path=path)
    except (MediaError, ConfigError):
        raise
    except QuickstepError as error:
        raise MediaError(path, f"person {poses.people[0]}: {error}") from error


def measure(poses: Poses, config: KinematicsConfig | None = None, *, path: str | Path = "") -> Measured:
    """The numbers of one person's poses: of the whole, and of windows that begin every `stride` seconds, the last one ending at the end."""
    config = config or KinematicsConfig()
    if config.up is not None and config.up[-1] == "z" and poses.skeleton.dimensions == 2:
        raise ConfigError("up", "the poses have two dimensions, and no z")
    body = movement(poses, up=config.up)
    vertical, plane, floor = about_vertical(body), in_plane(body), ground(body)

    def numbers(span: slice) -> Numbers:
        return _numbers(body, span, lambda: _all(body, span, vertical=vertical, plane=plane, floor=floor))

    steps = len(body.times)
    windows = tuple(numbers(span) for span in spans(body.times, config)) if config.window else ()
    return Measured(Path(path), numbers(slice(0, steps)), windows, body, vertical, plane, floor)


def spans(times: NDArray[np.float64], config: KinematicsConfig) -> list[slice]:
    """The windows in even moments; one that holds them all where they are fewer than a window."""
    rate = (len(times) - 1) / (times[-1] - times[0])
    length = min(len(times), max(2, round(config.window * rate)))
    slack, hop = len(times) - length, config.stride * rate
    starts = sorted({min(slack, round(number * hop)) for number in range(math.ceil(slack / hop - 1e-6) + 1)})
    return [slice(start, start + length) for start in starts]


def _all(body: Movement, span: slice, *, vertical: Turning, plane: Turning, floor: Ground) -> Iterator[Found]:
    yield from speeds(body, span)
    yield from reaches(body, span)
    yield from fluidities(body, span)
    yield from symmetries(body, span)
    yield from rhythm(body, span)
    yield from turning(vertical, plane, span)
    yield from levelled(floor, span)


def _numbers(body: Movement, span: slice, found: Callable[[], Iterator[Found]]) -> Numbers:
    """The numbers of a span; none where less than half of the joints are seen in it."""
    start, end = float(body.times[span.start]), float(body.times[span.stop - 1])
    inside = (body.seen_times >= start - 1e-6) & (body.seen_times <= end + 1e-6)
    seen = float(body.seen[inside].mean()) if inside.any() else 0.0
    values: Mapping[str, float | Unknown] = dict.fromkeys(NAMES, Unknown(f"only {100 * seen:.0f} % of the joints are seen"))
    if seen >= HALF:
        values = dict(found())
    row = [value if isinstance(value, float) else math.nan for value in (values[name] for name in NAMES)]
    why = {name: value.why for name, value in values.items() if isinstance(value, Unknown)}
    return Numbers(body.person, start, end, np.array(row, dtype=np.float64), why, seen)
