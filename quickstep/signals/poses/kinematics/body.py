"""Movement: one person as named points that most skeletons have, in body lengths, at even times, with the second axis upwards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.quantities import STILL
from quickstep.signals.poses.kinematics.smoothing import (
    CUTOFF,
    SHORTEST,
    derivative,
    grid,
    jitter_left,
    jitter_of,
    resample,
    smooth,
    without_spikes,
)
from quickstep.signals.poses.resampling import TRUNK, body_length
from quickstep.types.errors import QuickstepError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import Skeleton

Floats = NDArray[np.float64]
Parts = tuple[tuple[int, ...], ...]  # the joints of each point

CRISP = 12.0  # Hz: heights above the ground are smoothed less, so that a landing stays sharp
NOISE_FACTOR = 1.25  # a movement must be this many times larger than the jitter of the joints
SPIKE = 0.15  # body lengths
ROOTED = 0.001  # body lengths: poses whose centre is always nearer to the origin were centred on the body
TRUE_LENGTH = 80.0  # percentile of a trunk's length in 2D: foreshortened, it looks shorter
MIN_BOTH = 0.05  # share of the moments with both shoulders (or hips) visible, for one to be derived from the other

ALONG = 0.5  # least component of the trunk's mean direction along a vertical axis
UPWARD, CLEARLY = 0.5, 0.15  # body lengths/s: the weight of the trunk's direction, and the least lead of the best axis

# The joints of each point of a body: the first choice whose joints the skeleton has.
_SIDED = {
    "shoulder": (("shoulder",),),
    "elbow": (("elbow",),),
    "hand": (("wrist",), ("hand",), ("index",)),
    "hip": (("hip",),),
    "knee": (("knee",),),
    "foot": (("ankle",), ("foot",), ("heel",), ("foot_index",), ("big_toe",)),
}
_HEAD = (("nose",), ("head",), ("head_top",), ("left_ear", "right_ear"), ("left_eye", "right_eye"), ("upper_neck",))
POINTS: dict[str, tuple[tuple[str, ...], ...]] = {"head": _HEAD} | {
    f"{side}_{point}": tuple(tuple(f"{side}_{name}" for name in choice) for choice in choices)
    for point, choices in _SIDED.items()
    for side in ("left", "right")
}
_SOLES = ("ankle", "foot", "heel", "foot_index", "big_toe", "small_toe")
_STATIC_PAIRS = ("shoulder", "hip", "eye", "ear", "mouth", "collar")  # pairs that hardly move against each other


@dataclass(frozen=True, eq=False, repr=False)
class Movement:
    """One person's points at even moments, in body lengths; the second coordinate is the height.

    In 2D the first axis points to the right; in 3D the axes are those of the file, rotated so that the second points upwards.
    """

    person: int
    skeleton: Skeleton
    times: Floats  # (G,) even
    even: Floats  # (G, K, D) every joint of the skeleton, not smoothed
    jitter: Floats  # (K,) body lengths: standard deviation of the noise of each joint
    fps: float  # frames a second
    upright: bool  # whether the upward axis is known
    rooted: bool  # whether the poses were centred on the body, which loses its path
    frame_times: Floats  # (T,)
    visible: Floats  # (T,) share of the joints that are visible in each frame

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return int(self.even.shape[2])

    @cached_property
    def joints(self) -> Floats:
        """Every joint (G, K, D), smoothed."""
        return self.smoothed(CUTOFF)

    @cached_property
    def crisp(self) -> Floats:
        """Every joint (G, K, D), smoothed less."""
        return self.smoothed(CRISP)

    def smoothed(self, cutoff: float) -> Floats:
        """Return every joint (G, K, D), low-pass filtered at `cutoff` Hz, or at 0.4 of the frame rate if that is lower."""
        cutoff = min(cutoff, 0.4 * self.fps)
        if cutoff not in self._smoothed:
            self._smoothed[cutoff] = smooth(self.even, cutoff)
        return self._smoothed[cutoff]

    @cached_property
    def _smoothed(self) -> dict[float, Floats]:
        return {}

    def rates(self, parts: Parts, cutoff: float) -> tuple[Floats, Floats]:
        """Return velocity and jerk (G, P, D) of points, each the mean of some joints, low-pass filtered at `cutoff` Hz."""
        if (parts, cutoff) not in self._rates:
            joints = self.smoothed(cutoff)
            velocity = derivative(np.stack([joints[:, list(part)].mean(axis=1) for part in parts], axis=1))
            self._rates[parts, cutoff] = velocity, derivative(derivative(velocity))
        return self._rates[parts, cutoff]

    @cached_property
    def _rates(self) -> dict[tuple[Parts, float], tuple[Floats, Floats]]:
        return {}

    def still(self, points: int = 1, *, times: float = NOISE_FACTOR) -> float:
        """Return the speed, in body lengths a second, below which points stand still or move less than their jitter, `times` over."""
        variance = np.mean(np.square(self.jitter)) * self.dimensions * points
        return float(np.hypot(STILL, times * np.sqrt(variance) * jitter_left(self.fps, min(CUTOFF, 0.4 * self.fps), 1)))

    @cached_property
    def numbers(self) -> dict[str, tuple[int, ...]]:
        """The joints of each point that this skeleton has."""
        numbers = {}
        for point, choices in POINTS.items():
            for choice in choices:
                joints = [self.skeleton.find(name) for name in choice]
                if None not in joints:
                    numbers[point] = tuple(joint for joint in joints if joint is not None)
                    break
        return numbers

    @cached_property
    def points(self) -> dict[str, Floats]:
        """Every point, (G, D), and "centre"."""
        points = {point: self.joints[:, list(joints)].mean(axis=1) for point, joints in self.numbers.items()}
        return points | {"centre": self.centre}

    @cached_property
    def paces(self) -> dict[str, Floats]:
        """The speed of every point, (G,) in body lengths a second."""
        return {point: np.linalg.norm(derivative(values), axis=1) for point, values in self.points.items()}

    @cached_property
    def centre(self) -> Floats:
        """The middle of the hips, or the nearest thing that the skeleton has; of nameless joints the middle of all."""
        return np.asarray(self.joints[:, list(self.skeleton.root)].mean(axis=1))

    @cached_property
    def centre_name(self) -> str:
        """Whether the centre is that of the "hips", or "other"."""
        return "hips" if {"left_hip", "right_hip"} <= self.numbers.keys() or self.skeleton.find("hips") is not None else "other"

    @cached_property
    def parts(self) -> Parts:
        """The joints of the points that represent the whole body: the named points, or every joint if hardly one has a name."""
        named = tuple(self.numbers.values())
        return named if len(named) >= 3 else tuple((joint,) for joint in range(len(self.skeleton)))

    @cached_property
    def body(self) -> Floats:
        """The points that represent the whole body, (G, P, D)."""
        return np.stack([self.joints[:, list(part)].mean(axis=1) for part in self.parts], axis=1)

    @cached_property
    def velocity(self) -> Floats:
        """The velocity of those points, (G, P, D) in body lengths a second."""
        return derivative(self.body)

    @cached_property
    def acceleration(self) -> Floats:
        """Their acceleration, (G, P, D) in body lengths/s²."""
        return derivative(self.velocity)

    @cached_property
    def trunk(self) -> Floats | None:
        """The vector from the hips to the shoulders, (G, D); None if the skeleton has no trunk."""
        if self.skeleton.torso is None:
            return None
        upper, lower = (self.joints[:, list(end)].mean(axis=1) for end in self.skeleton.torso)
        return np.asarray(upper - lower)

    @cached_property
    def trunk_length(self) -> float:
        """The length of the trunk, not foreshortened; NaN if it is never visible."""
        return float("nan") if self.trunk is None else true_length(self.trunk)

    @cached_property
    def tilt(self) -> Floats | None:
        """The cosine of the trunk's angle to the vertical, (G,): 1 upright, -1 upside down; 0 if it points at the camera."""
        return None if self.trunk is None else np.clip(self.trunk[:, 1] / self.trunk_length, -1, 1)

    @cached_property
    def soles(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The joints of the left foot and of the right."""
        left, right = (
            tuple(joint for name in _SOLES if (joint := self.skeleton.find(f"{side}_{name}")) is not None) for side in ("left", "right")
        )
        return left, right

    @cached_property
    def limbs(self) -> tuple[tuple[int, int], ...]:
        """The mirrored pairs that can move against each other (arms and legs); all pairs if no name is known."""
        pairs = self.skeleton.mirrored
        moving = [pair for pair in pairs if not any(word in self.skeleton.joints[pair[0]].casefold() for word in _STATIC_PAIRS)]
        return tuple(moving) or pairs


def movement(poses: Poses, *, up: str | None = None) -> Movement:
    """Return one person's movement; `up` names the upward axis ("y", "-y", "z" ...), None infers it."""
    if len(poses.people) != 1:
        raise ValueError(f"a movement is of one person, not of {poses}")
    if len(poses) < 4:
        raise QuickstepError(f"{len(poses)} frames are too few to measure a movement; it takes four")
    if poses.times[-1] - poses.times[0] < SHORTEST - 1e-6:
        raise QuickstepError(f"{poses.times[-1] - poses.times[0]:.3f} seconds are too few to measure a movement; it takes {SHORTEST:g}")
    places = poses.joints[:, 0, :, :-1].astype(np.float64)  # (T, K, D)
    length = _length(poses, places)
    if not length > 0 or not np.isfinite(length):
        raise QuickstepError("the person is not visible, or all joints lie on one spot")
    places /= length
    rooted = _rooted(places, poses.skeleton)
    places -= np.nanmedian(places, axis=(0, 1))  # near zero, so that nothing is lost in rounding
    places, upright = with_y_up(places, poses, up)
    visible = poses.seen[:, 0]
    clean = without_spikes(poses.times, places, visible, size=SPIKE)
    moments = grid(poses.times)
    return Movement(
        person=poses.people[0],
        skeleton=poses.skeleton,
        times=moments,
        even=_completed(resample(poses.times, places, clean, moments), poses.skeleton),
        jitter=jitter_of(poses.times, places, clean),
        fps=1 / float(np.median(np.diff(poses.times))),
        upright=upright,
        rooted=rooted,
        frame_times=poses.times,
        visible=visible.mean(axis=1),
    )


def true_length(trunk: Floats) -> float:
    """Return the length of a trunk (T, D) that is foreshortened most of the time; NaN if it is never visible."""
    lengths = np.linalg.norm(trunk, axis=1)
    finite = lengths[np.isfinite(lengths)]
    return float(np.percentile(finite, TRUE_LENGTH)) if len(finite) else float("nan")


def _length(poses: Poses, places: Floats) -> float:
    """Return the length of the body; in 2D at least that of the trunk without foreshortening."""
    length = body_length(poses)
    if poses.skeleton.dimensions == 3 or poses.skeleton.torso is None:
        return length
    upper, lower = (places[:, list(end)].mean(axis=1) for end in poses.skeleton.torso)
    trunk = upper - lower
    finite = np.isfinite(trunk).all(axis=1)
    return max(length, true_length(trunk) / TRUNK) if finite.mean() >= 0.1 else length


def _rooted(places: Floats, skeleton: Skeleton) -> bool:
    """Whether the centre is always at the origin."""
    centre = places[:, list(skeleton.root)].mean(axis=1)
    finite = centre[np.isfinite(centre).all(axis=1)]
    return len(finite) > 0 and bool(np.abs(finite).max() < ROOTED)


def _completed(even: Floats, skeleton: Skeleton) -> Floats:
    """Fill in a shoulder or hip that the other one hides, as in profile, from their distance before and after."""
    for joint in ("shoulder", "hip"):
        numbers = [skeleton.find(f"{side}_{joint}") for side in ("left", "right")]
        pair = [number for number in numbers if number is not None]
        if len(pair) < 2:
            continue
        finite = np.asarray(np.isfinite(even[:, pair]).all(axis=2))  # (G, 2)
        both = np.asarray(finite.all(axis=1))
        if both.mean() < MIN_BOTH:
            continue
        places = np.flatnonzero(both)
        offset = even[:, pair[1]] - even[:, pair[0]]
        every = np.arange(len(even))
        offset = np.stack([np.interp(every, places, offset[places, axis]) for axis in range(even.shape[2])], axis=1)
        for one, other, sign in ((0, 1, 1.0), (1, 0, -1.0)):
            alone = finite[:, one] & ~finite[:, other]
            even[alone, pair[other]] = even[alone, pair[one]] + sign * offset[alone]
    return even


# -- up ----------------------------------------------------------------------------------------------------------------------


def with_y_up(places: Floats, poses: Poses, up: str | None) -> tuple[Floats, bool]:
    """Return places with the second coordinate upwards, handedness kept, and whether the upward axis is known. In 2D it is -y."""
    flat = places.shape[2] == 2
    axis = _axis(up) if up is not None else (1, -1) if flat else _infer_up(places, poses)
    if axis is None:
        return places, False
    number, sign = axis
    if flat:
        return (places * [1.0, sign] if number == 1 else places), number == 1
    others = [(number + 1) % 3, (number + 2) % 3]  # (number, then these two) is a right-handed order
    first, last = (others[1], others[0]) if sign > 0 else (others[0], others[1])
    return np.stack([places[..., first], sign * places[..., number], places[..., last]], axis=-1), True


def _axis(up: str) -> tuple[int, int]:
    return "xyz".index(up[-1]), -1 if up.startswith("-") else 1


def _infer_up(places: Floats, poses: Poses) -> tuple[int, int] | None:
    """Infer the upward axis: the trunk points along it, and the lowest joint rests on the ground; None if that is not clear."""
    if poses.skeleton.torso is None:
        return None
    upper, lower = (places[:, list(end)].mean(axis=1) for end in poses.skeleton.torso)
    trunk = upper - lower
    trunk = trunk[np.isfinite(trunk).all(axis=1)]
    if not len(trunk):
        return None
    mean = (trunk / np.maximum(np.linalg.norm(trunk, axis=1, keepdims=True), 1e-9)).mean(axis=0)
    speed = np.linalg.norm(np.diff(places, axis=0), axis=2) / np.diff(poses.times)[:, None]  # (T - 1, K)
    costs = {}
    for number in [number for number in range(3) if abs(mean[number]) >= ALONG] or range(3):
        for sign in (1, -1):
            heights = np.where(np.isfinite(speed), sign * places[:-1, :, number], np.inf)
            lowest = np.take_along_axis(speed, heights.argmin(axis=1)[:, None], axis=1)
            sliding = float(np.median(lowest[np.isfinite(lowest)])) if np.isfinite(lowest).any() else 0.0
            costs[number, sign] = sliding - UPWARD * sign * float(mean[number])
    best, second = sorted(costs, key=lambda axis: costs[axis])[:2]
    return best if costs[second] - costs[best] >= CLEARLY else None
