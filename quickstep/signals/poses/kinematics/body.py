"""Movement: one person as points that every skeleton has names for, in body lengths and even time, with up being up.

Knows skeletons by the names of joints, and no number that is measured of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.availability import STILL
from quickstep.signals.poses.kinematics.smoothing import CUTOFF, SHORTEST, change, grid, resample, shake, shake_left, smooth, without_spikes
from quickstep.signals.poses.kinematics.up_axis import turned_up
from quickstep.signals.poses.resampling import TRUNK, body_length
from quickstep.types.errors import QuickstepError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import Skeleton

Floats = NDArray[np.float64]
Parts = tuple[tuple[int, ...], ...]  # the joints of each of some points

CRISP = 12.0  # Hz: heights above the floor are filtered less, so that a landing stays a landing
MORE = 1.25  # times the shake of joints that something must move, for it to be more than that
SPIKE = 0.15  # body lengths
ROOTED = 0.001  # body lengths from the origin: a centre that is always so near was put there
LONGEST = 80.0  # percentile of a trunk's length in pictures that is its true one: seen from above or in front it looks shorter
CONFIRMED = 0.05  # share of the moments at which both shoulders (or hips) must be seen for one to stand for both

# What stands for each point of a body, the first choice whose joints are all there.
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
_STILL_SIDES = ("shoulder", "hip", "eye", "ear", "mouth", "collar")  # pairs that hardly move against each other


@dataclass(frozen=True, eq=False, repr=False)
class Movement:
    """One person's points at even moments, in body lengths; the second coordinate is height.

    In 2D the first goes to the right of the picture; in 3D the axes are those of the file, turned so that the second is up.
    """

    person: int
    skeleton: Skeleton
    times: Floats  # (G,) even
    even: Floats  # (G, K, D) every joint of the skeleton, not smoothed
    shake: Floats  # (K,) body lengths by which each joint jumps about
    fps: float  # frames a second
    upright: bool  # whether which way is up is known
    rooted: bool  # whether the poses were centred on the body, so that where it goes is lost
    seen_times: Floats  # (T,) of the frames themselves
    seen: Floats  # (T,) share of the joints that are seen

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
        """The same, smoothed less."""
        return self.smoothed(CRISP)

    def smoothed(self, cutoff: float) -> Floats:
        """Every joint (G, K, D) without what is faster than so many hertz, or, at few frames a second, than these can show."""
        cutoff = min(cutoff, 0.4 * self.fps)
        if cutoff not in self._smoothed:
            self._smoothed[cutoff] = smooth(self.even, cutoff)
        return self._smoothed[cutoff]

    @cached_property
    def _smoothed(self) -> dict[float, Floats]:
        return {}

    def rates(self, parts: Parts, cutoff: float) -> tuple[Floats, Floats]:
        """Velocity and jerk (G, P, D) of points, each the middle of some joints, smoothed so much."""
        if (parts, cutoff) not in self._rates:
            joints = self.smoothed(cutoff)
            velocity = change(np.stack([joints[:, list(part)].mean(axis=1) for part in parts], axis=1))
            self._rates[parts, cutoff] = velocity, change(change(velocity))
        return self._rates[parts, cutoff]

    @cached_property
    def _rates(self) -> dict[tuple[Parts, float], tuple[Floats, Floats]]:
        return {}

    def still(self, points: int = 1, *, times: float = MORE) -> float:
        """Body lengths a second: what is slower is standing still, or the shake of so many points together, so many times over."""
        shaking = np.mean(np.square(self.shake)) * self.dimensions * points
        return float(np.hypot(STILL, times * np.sqrt(shaking) * shake_left(self.fps, min(CUTOFF, 0.4 * self.fps), 1)))

    @cached_property
    def numbers(self) -> dict[str, tuple[int, ...]]:
        """The joints whose middle each point is, of the points that this skeleton has."""
        found = {}
        for point, choices in POINTS.items():
            for choice in choices:
                joints = [self.skeleton.find(name) for name in choice]
                if None not in joints:
                    found[point] = tuple(joint for joint in joints if joint is not None)
                    break
        return found

    @cached_property
    def points(self) -> dict[str, Floats]:
        """The points there are, (G, D) each, and "centre"."""
        found = {point: self.joints[:, list(joints)].mean(axis=1) for point, joints in self.numbers.items()}
        return found | {"centre": self.centre}

    @cached_property
    def paces(self) -> dict[str, Floats]:
        """How fast each of them is, (G,) in body lengths a second."""
        return {point: np.linalg.norm(change(values), axis=1) for point, values in self.points.items()}

    @cached_property
    def centre(self) -> Floats:
        """The middle of the hips; what comes nearest to it where there are none; of nameless points the middle of all."""
        return np.asarray(self.joints[:, list(self.skeleton.root)].mean(axis=1))

    @cached_property
    def centre_name(self) -> str:
        """What the centre is: "hips", or something else."""
        return "hips" if {"left_hip", "right_hip"} <= self.numbers.keys() or self.skeleton.find("hips") is not None else "other"

    @cached_property
    def parts(self) -> Parts:
        """The joints of each point that stands for the whole body: one a part, or every joint where hardly one has a known name."""
        known = tuple(self.numbers.values())
        return known if len(known) >= 3 else tuple((joint,) for joint in range(len(self.skeleton)))

    @cached_property
    def body(self) -> Floats:
        """The points that stand for the whole body, (G, P, D)."""
        return np.stack([self.joints[:, list(part)].mean(axis=1) for part in self.parts], axis=1)

    @cached_property
    def velocity(self) -> Floats:
        """Of those points, (G, P, D) in body lengths a second."""
        return change(self.body)

    @cached_property
    def acceleration(self) -> Floats:
        return change(self.velocity)

    @cached_property
    def trunk(self) -> Floats | None:
        """From the hips to the shoulders, (G, D); None where the skeleton has no trunk."""
        if self.skeleton.torso is None:
            return None
        upper, lower = (self.joints[:, list(end)].mean(axis=1) for end in self.skeleton.torso)
        return np.asarray(upper - lower)

    @cached_property
    def trunk_length(self) -> float:
        """How long the trunk is, however it leans; NaN where it is never seen."""
        return float("nan") if self.trunk is None else true_length(self.trunk)

    @cached_property
    def tilt(self) -> Floats | None:
        """The cosine of the trunk's angle to the vertical, (G,): 1 upright, -1 upside down; pointing at the camera counts as lying."""
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
        """The mirrored pairs that can move against each other: arms and legs, not face and shoulders; all where no name tells."""
        pairs = self.skeleton.mirrored
        moving = [pair for pair in pairs if not any(word in self.skeleton.joints[pair[0]].casefold() for word in _STILL_SIDES)]
        return tuple(moving) or pairs


def movement(poses: Poses, *, up: str | None = None) -> Movement:
    """One person's movement; `up` names the axis that points upwards ("y", "-y", "z" ...) where it is not to be concluded."""
    if len(poses.people) != 1:
        raise ValueError(f"a movement is of one person, not of {poses}")
    if len(poses) < 4:
        raise QuickstepError(f"{len(poses)} frames are too few to measure a movement; it takes four")
    if poses.times[-1] - poses.times[0] < SHORTEST - 1e-6:
        raise QuickstepError(f"{poses.times[-1] - poses.times[0]:.3f} seconds are too few to measure a movement; it takes {SHORTEST:g}")
    places = poses.joints[:, 0, :, :-1].astype(np.float64)  # (T, K, D)
    length = _length(poses, places)
    if not length > 0 or not np.isfinite(length):
        raise QuickstepError("the person is not seen, or all joints lie on one spot")
    places /= length
    rooted = _rooted(places, poses.skeleton)
    places -= np.nanmedian(places, axis=(0, 1))  # near zero, so that nothing is lost in rounding
    places, upright = turned_up(places, poses, up)
    seen = poses.seen[:, 0]
    sighted = without_spikes(poses.times, places, seen, size=SPIKE)
    moments = grid(poses.times)
    return Movement(
        person=poses.people[0],
        skeleton=poses.skeleton,
        times=moments,
        even=_completed(resample(poses.times, places, sighted, moments), poses.skeleton),
        shake=shake(poses.times, places, sighted),
        fps=1 / float(np.median(np.diff(poses.times))),
        upright=upright,
        rooted=rooted,
        seen_times=poses.times,
        seen=seen.mean(axis=1),
    )


def true_length(trunk: Floats) -> float:
    """How long a trunk (T, D) is that mostly looks shorter than it is; NaN where it is never seen."""
    lengths = np.linalg.norm(trunk, axis=1)
    known = lengths[np.isfinite(lengths)]
    return float(np.percentile(known, LONGEST)) if len(known) else float("nan")


def _length(poses: Poses, places: Floats) -> float:
    """How long the body is: that of `poses.sampling`, where a picture does not show the trunk longer than it mostly looks."""
    length = body_length(poses)
    if poses.skeleton.dimensions == 3 or poses.skeleton.torso is None:
        return length
    upper, lower = (places[:, list(end)].mean(axis=1) for end in poses.skeleton.torso)
    trunk = upper - lower
    known = np.isfinite(trunk).all(axis=1)
    return max(length, true_length(trunk) / TRUNK) if known.mean() >= 0.1 else length


def _rooted(places: Floats, skeleton: Skeleton) -> bool:
    centre = places[:, list(skeleton.root)].mean(axis=1)
    known = centre[np.isfinite(centre).all(axis=1)]
    return len(known) > 0 and bool(np.abs(known).max() < ROOTED)


def _completed(even: Floats, skeleton: Skeleton) -> Floats:
    """Where one shoulder or hip hides the other, as in profile, the other is beside it as it was before and will be after."""
    for joint in ("shoulder", "hip"):
        numbers = [skeleton.find(f"{side}_{joint}") for side in ("left", "right")]
        pair = [number for number in numbers if number is not None]
        if len(pair) < 2:
            continue
        known = np.asarray(np.isfinite(even[:, pair]).all(axis=2))  # (G, 2)
        both = np.asarray(known.all(axis=1))
        if both.mean() < CONFIRMED:
            continue
        places = np.flatnonzero(both)
        beside = even[:, pair[1]] - even[:, pair[0]]
        every = np.arange(len(even))
        beside = np.stack([np.interp(every, places, beside[places, axis]) for axis in range(even.shape[2])], axis=1)
        for one, other, way in ((0, 1, 1.0), (1, 0, -1.0)):
            alone = known[:, one] & ~known[:, other]
            even[alone, pair[other]] = even[alone, pair[one]] + way * beside[alone]
    return even
