"""measure: the quantities of one person's poses over spans of time; kinematics: the same for the people of videos and pose files."""

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
from quickstep.signals.poses.kinematics.body import Movement, movement
from quickstep.signals.poses.kinematics.limbs import fluidities, reaches, speeds, symmetries
from quickstep.signals.poses.kinematics.posture import Ground, find_ground, measure_levels
from quickstep.signals.poses.kinematics.quantities import NAMES, Measurement, Unknown, Value
from quickstep.signals.poses.kinematics.rhythm import rhythm
from quickstep.signals.poses.kinematics.turns import Turning, about_vertical, count_turns, in_plane
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import one_of, setting
from quickstep.types.errors import ConfigError, MediaError, QuickstepError
from quickstep.types.progress import Progress, silent
from quickstep.types.registry import trust_typed
from quickstep.types.signals import Poses

MEASURES_VERSION = 1  # a part of every cache key: raise it whenever the same poses give other numbers
MIN_VISIBLE = 0.5  # share of the joints that must be visible in a span of time
AXES = ("x", "y", "z", "-x", "-y", "-z")


@dataclass(frozen=True)
class KinematicsConfig:
    """The spans of time that are measured."""

    window: float = setting(2.0, "seconds of a window; 0 measures the whole only")
    stride: float = setting(1.0, "seconds from one window to the next")
    up: str | None = setting(None, "the upward axis, such as y or -z (default: inferred in 3D; in 2D the top of the frame)")

    def __post_init__(self) -> None:
        if not (self.window == 0 or 0.2 <= self.window < math.inf):
            raise ConfigError("window", f"0, or at least 0.2 seconds, not {self.window:g}")
        if not 0.02 <= self.stride < math.inf:
            raise ConfigError("stride", f"must be at least 0.02 seconds, not {self.stride:g}")
        if self.up is not None:
            one_of("up", self.up, AXES)


@dataclass(frozen=True, eq=False)
class PersonKinematics:
    """The measurements of one person: of the whole and of each window, with the movement that was measured."""

    path: Path
    whole: Measurement
    windows: tuple[Measurement, ...]
    body: Movement
    vertical: Turning
    plane: Turning
    ground: Ground

    @property
    def person(self) -> int:
        """The number of the person."""
        return self.whole.person

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The reasons for the unknown values of the whole, each with its quantities."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.whole.unknown.items():
            reasons.setdefault(reason, []).append(name)
        return tuple(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())

    def to_json(self) -> dict[str, Any]:
        """Return all measurements in JSON's own types."""
        return {
            "path": str(self.path),
            "person": self.person,
            "skeleton": self.body.skeleton.name,
            "dimensions": self.body.dimensions,
            "whole": self.whole.to_json(),
            "windows": [window.to_json() for window in self.windows],
        }


@dataclass(frozen=True)
class KinematicsFailure:
    """A file or a person that could not be measured, and why."""

    path: Path
    error: QuickstepError

    def __str__(self) -> str:
        return str(self.error)


@dataclass(frozen=True, eq=False)
class KinematicsResult:
    """The people that were measured, in the order of the inputs, and the failures."""

    people: tuple[PersonKinematics, ...]
    failures: tuple[KinematicsFailure, ...] = ()


def kinematics(
    inputs: Sequence[str | Path],
    config: KinematicsConfig | None = None,
    *,
    poses: PoseConfig | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> KinematicsResult:
    """Motion in numbers: of the dancer, of a person, or of everybody in videos and files of poses."""
    config, poses = config or KinematicsConfig(), poses or PoseConfig()
    trust_typed(poses.estimator)
    finder = PoseFinder(poses, cache or Cache())
    people: list[PersonKinematics] = []
    failures: list[KinematicsFailure] = []
    for place, path in enumerate(map(Path, inputs)):
        progress("motion", place, len(inputs))
        try:
            everybody = finder.find(path, progress=progress)
            for person in _selected(everybody, poses, path):
                try:
                    people.append(_measure_visible(path, person, config))
                except MediaError as error:
                    if strict or len(everybody.people) == 1 or poses.person != "all":
                        raise
                    failures.append(KinematicsFailure(path, error))
        except MediaError as error:
            if strict:
                raise
            failures.append(KinematicsFailure(path, error))
    progress("motion", len(inputs), len(inputs))
    return KinematicsResult(tuple(people), tuple(failures))


def _selected(everybody: Poses, poses: PoseConfig, path: Path) -> list[Poses]:
    """Return the poses of each person of the config."""
    if poses.person != "all":
        return [select_person(everybody, poses.number, path)]
    visible = [person for place, person in enumerate(everybody.people) if everybody.seen[:, place].any()]
    if not visible:
        raise MediaError(path, "has no visible person")
    return [everybody.person(person) for person in visible]


def _measure_visible(path: Path, poses: Poses, config: KinematicsConfig) -> PersonKinematics:
    """Measure one person from the first to the last visible frame."""
    visible = np.flatnonzero(poses.seen[:, 0].any(axis=1))
    if not len(visible):
        raise MediaError(path, f"has no visible person {poses.people[0]}")
    within = poses.span(float(poses.times[visible[0]]), float(np.nextafter(poses.times[visible[-1]], np.inf)))
    try:
        return measure(within, config, path=path)
    except (MediaError, ConfigError):
        raise
    except QuickstepError as error:
        raise MediaError(path, f"person {poses.people[0]}: {error}") from error


def measure(poses: Poses, config: KinematicsConfig | None = None, *, path: str | Path = "") -> PersonKinematics:
    """Measure one person: the whole, and windows that start every `stride` seconds, the last of which ends at the end."""
    config = config or KinematicsConfig()
    if config.up is not None and config.up[-1] == "z" and poses.skeleton.dimensions == 2:
        raise ConfigError("up", "the poses have two dimensions, and no z")
    body = movement(poses, up=config.up)
    vertical, plane, ground = about_vertical(body), in_plane(body), find_ground(body)

    def measure_span(span: slice) -> Measurement:
        return _measure_span(body, span, lambda: _all_values(body, span, vertical=vertical, plane=plane, ground=ground))

    steps = len(body.times)
    windows = tuple(measure_span(span) for span in spans(body.times, config)) if config.window else ()
    return PersonKinematics(Path(path), measure_span(slice(0, steps)), windows, body, vertical, plane, ground)


def spans(times: NDArray[np.float64], config: KinematicsConfig) -> list[slice]:
    """Return the windows as slices of even moments; a movement shorter than a window is one."""
    rate = (len(times) - 1) / (times[-1] - times[0])
    length = min(len(times), max(2, round(config.window * rate)))
    slack, hop = len(times) - length, config.stride * rate
    starts = sorted({min(slack, round(number * hop)) for number in range(math.ceil(slack / hop - 1e-6) + 1)})
    return [slice(start, start + length) for start in starts]


def _all_values(body: Movement, span: slice, *, vertical: Turning, plane: Turning, ground: Ground) -> Iterator[Value]:
    yield from speeds(body, span)
    yield from reaches(body, span)
    yield from fluidities(body, span)
    yield from symmetries(body, span)
    yield from rhythm(body, span)
    yield from count_turns(vertical, plane, span)
    yield from measure_levels(ground, span)


def _measure_span(body: Movement, span: slice, measured: Callable[[], Iterator[Value]]) -> Measurement:
    """Measure a span; all values are unknown if less than MIN_VISIBLE of the joints are visible."""
    start, end = float(body.times[span.start]), float(body.times[span.stop - 1])
    inside = (body.frame_times >= start - 1e-6) & (body.frame_times <= end + 1e-6)
    visible = float(body.visible[inside].mean()) if inside.any() else 0.0
    values: Mapping[str, float | Unknown] = dict.fromkeys(NAMES, Unknown(f"only {100 * visible:.0f} % of the joints are visible"))
    if visible >= MIN_VISIBLE:
        values = dict(measured())
    row = [value if isinstance(value, float) else math.nan for value in (values[name] for name in NAMES)]
    unknown = {name: value.why for name, value in values.items() if isinstance(value, Unknown)}
    return Measurement(body.person, start, end, np.array(row, dtype=np.float64), unknown, visible)
