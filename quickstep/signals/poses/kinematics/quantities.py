"""The numbers that say how somebody moves: their names, units and meaning, as data; and what was measured in one span of time.

Knows no joint and measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Number:
    """One number. `usual` is what stands for it, with a flag beside it, where a classifier needs a value and none is known."""

    name: str
    unit: str
    about: str
    usual: float

    @property
    def heading(self) -> str:
        """The name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


SPEED, ACCELERATION, LENGTH = "body lengths/s", "body lengths/s²", "body lengths"

NUMBERS: tuple[Number, ...] = (
    Number("speed", SPEED, "how fast the points of the body move, mean over points and time", 0.5),
    Number("speed peak", SPEED, "the same at its highest", 1.2),
    Number("hands speed", SPEED, "how fast the hands are, mean of both", 0.7),
    Number("hands speed peak", SPEED, "the faster hand at its fastest", 2.0),
    Number("feet speed", SPEED, "how fast the feet are, mean of both", 0.5),
    Number("feet speed peak", SPEED, "the faster foot at its fastest", 1.8),
    Number("head speed", SPEED, "how fast the head is, mean", 0.4),
    Number("head speed peak", SPEED, "the head at its fastest", 1.0),
    Number("centre speed", SPEED, "how fast the middle of the hips is, mean", 0.3),
    Number("centre speed peak", SPEED, "the middle of the hips at its fastest", 0.8),
    Number("acceleration", ACCELERATION, "how much the points speed up, slow down and bend their way, mean", 4.0),
    Number("acceleration peak", ACCELERATION, "the same at its highest", 10.0),
    Number("reach", LENGTH, "how far hands and feet are from the centre, mean", 0.45),
    Number("reach peak", LENGTH, "the farthest that a hand or foot gets from the centre", 0.65),
    Number("hands range", LENGTH, "the diagonal of the box that a hand fills, seen from the centre; mean of both", 0.4),
    Number("feet range", LENGTH, "the diagonal of the box that a foot fills, seen from the centre; mean of both", 0.3),
    Number("travel", LENGTH, "the diagonal of the box that the centre fills", 0.3),
    Number("fluidity", "log", "minus the log of the dimensionless jerk of the whole body: nearer to 0 is smoother", -9.0),
    Number("hands fluidity", "log", "the fluidity of both hands together", -9.0),
    Number("feet fluidity", "log", "the fluidity of both feet together", -9.0),
    Number("symmetry", "0-1", "1: the left side is held as the mirrored right side is, at every moment", 0.8),
    Number("evenness", "0-1", "1: left and right move equally much; 0: one side alone moves", 0.8),
    Number("tempo", "beats/min", "how often a minute the movement repeats itself", 70.0),
    Number("regularity", "0-1", "how alike the repetitions are: the peak of the autocorrelation", 0.4),
    Number("turns", "turns", "turned about the vertical, to either side, added up", 0.0),
    Number("turns net", "turns", "turned about the vertical: + to the dancer's left, - to the right", 0.0),
    Number("spins", "turns", "turned of the trunk in the picture plane, either way, added up", 0.0),
    Number("spins net", "turns", "turned of the trunk in the picture plane: + counter-clockwise as seen", 0.0),
    Number("airtime", "0-1", "share of the time in the air", 0.0),
    Number("longest air", "s", "the longest time in the air", 0.0),
    Number("height", LENGTH, "how high the centre is above the floor, mean", 0.5),
    Number("standing", "0-1", "share of the time upright on the feet", 0.9),
    Number("crouched", "0-1", "share of the time low, on the feet", 0.05),
    Number("floor", "0-1", "share of the time on the floor, or upside down", 0.05),
)
NAMES: tuple[str, ...] = tuple(number.name for number in NUMBERS)
LEVELS = ("standing", "crouched", "floor")

# Numbers that say much the same: one can stand in for another, so that only all of them together show what they are worth.
FAMILIES: dict[str, tuple[str, ...]] = {
    "how fast": tuple(name for name in NAMES if "speed" in name or "acceleration" in name),
    "how far": ("reach", "reach peak", "hands range", "feet range", "travel"),
    "how smoothly": ("fluidity", "hands fluidity", "feet fluidity"),
    "how evenly left and right": ("symmetry", "evenness"),
    "in what rhythm": ("tempo", "regularity"),
    "how it turns": ("turns", "turns net", "spins", "spins net"),
    "how high": ("airtime", "longest air", "height", *LEVELS),
}


@dataclass(frozen=True, eq=False, repr=False)
class Numbers:
    """What was measured of one person from `start` to `end`: a value a name, NaN where it cannot be known, and then why."""

    person: int
    start: float
    end: float
    values: NDArray[np.float64]  # (N,) as in NUMBERS
    unknown: Mapping[str, str]  # name -> why there is no number
    seen: float  # share of the joints that were seen

    def __post_init__(self) -> None:
        if self.values.shape != (len(NUMBERS),):
            raise ValueError(f"{len(NUMBERS)} numbers, not {self.values.shape}")
        lacking = {name for name, value in zip(NAMES, self.values, strict=True) if not math.isfinite(value)}
        if lacking != set(self.unknown):
            raise ValueError("every number that is not known has a reason, and no other")

    def __getitem__(self, name: str) -> float:
        return float(self.values[_PLACE[name]])

    def __repr__(self) -> str:
        known = len(NUMBERS) - len(self.unknown)
        return f"Numbers(person {self.person}, {self.start:.2f}-{self.end:.2f} s, {known} of {len(NUMBERS)} known)"

    @cached_property
    def level(self) -> str:
        """Where the body mostly is: standing, crouched, floor; "" where it is not known."""
        shares = [self[name] for name in LEVELS]
        return LEVELS[int(np.argmax(shares))] if all(map(math.isfinite, shares)) else ""

    def to_json(self) -> dict[str, Any]:
        """Everything in JSON's own types: a number that is not known is null, and `unknown` says why."""
        values = {name: _rounded(value) if math.isfinite(value) else None for name, value in zip(NAMES, self.values.tolist(), strict=True)}
        return {
            "person": self.person,
            "start": _rounded(self.start),
            "end": _rounded(self.end),
            "seen": _rounded(self.seen),
            "level": self.level or None,
            "numbers": values,
            "unknown": dict(self.unknown),
        }


_PLACE = {name: place for place, name in enumerate(NAMES)}


def _rounded(value: float) -> float:
    """Six significant digits: more would be noise."""
    return float(f"{value:.6g}")
