"""The quantities that describe how somebody moves: their names, units and meaning; and the values of one span of time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_KNOWN = 0.5  # share of the moments at which a value must be known for a measurement
STILL = 0.05  # body lengths a second: a slower body stands still


@dataclass(frozen=True)
class Unknown:
    """The reason why a quantity has no value."""

    why: str


Value = tuple[str, float | Unknown]  # the name of a quantity, and its value


def mostly_known(known: NDArray[np.bool_]) -> bool:
    """Whether enough values are known for a measurement."""
    return bool(known.size) and bool(known.mean() >= MIN_KNOWN)


def mean_of(values: NDArray[np.float64]) -> float:
    """Return the mean of the known values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


@dataclass(frozen=True)
class Quantity:
    """One quantity. A classifier that needs a value where none is known gets `default`, with a flag beside it."""

    name: str
    unit: str
    about: str
    default: float

    @property
    def heading(self) -> str:
        """The name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


SPEED, ACCELERATION, LENGTH = "body lengths/s", "body lengths/s²", "body lengths"

QUANTITIES: tuple[Quantity, ...] = (
    Quantity("speed", SPEED, "mean speed of the points of the body, over points and time", 0.5),
    Quantity("speed peak", SPEED, "the same at its highest", 1.2),
    Quantity("hands speed", SPEED, "mean speed of both hands", 0.7),
    Quantity("hands speed peak", SPEED, "the faster hand at its fastest", 2.0),
    Quantity("feet speed", SPEED, "mean speed of both feet", 0.5),
    Quantity("feet speed peak", SPEED, "the faster foot at its fastest", 1.8),
    Quantity("head speed", SPEED, "mean speed of the head", 0.4),
    Quantity("head speed peak", SPEED, "the head at its fastest", 1.0),
    Quantity("centre speed", SPEED, "mean speed of the middle of the hips", 0.3),
    Quantity("centre speed peak", SPEED, "the middle of the hips at its fastest", 0.8),
    Quantity("acceleration", ACCELERATION, "mean size of the acceleration of the points", 4.0),
    Quantity("acceleration peak", ACCELERATION, "the same at its highest", 10.0),
    Quantity("reach", LENGTH, "mean distance of hands and feet from the centre", 0.45),
    Quantity("reach peak", LENGTH, "largest distance of a hand or foot from the centre", 0.65),
    Quantity("hands range", LENGTH, "diagonal of the box that a hand covers relative to the centre; mean of both", 0.4),
    Quantity("feet range", LENGTH, "diagonal of the box that a foot covers relative to the centre; mean of both", 0.3),
    Quantity("travel", LENGTH, "diagonal of the box that the centre covers", 0.3),
    Quantity("fluidity", "log", "minus the log of the dimensionless jerk of the whole body: nearer to 0 is smoother", -9.0),
    Quantity("hands fluidity", "log", "the fluidity of both hands together", -9.0),
    Quantity("feet fluidity", "log", "the fluidity of both feet together", -9.0),
    Quantity("symmetry", "0-1", "1: at every moment the left side is the mirror image of the right side", 0.8),
    Quantity("evenness", "0-1", "1: left and right move equally much; 0: one side alone moves", 0.8),
    Quantity("tempo", "beats/min", "repetitions of the movement a minute", 70.0),
    Quantity("regularity", "0-1", "similarity of the repetitions: the peak of the autocorrelation", 0.4),
    Quantity("turns", "turns", "turns about the vertical, to either side, added up", 0.0),
    Quantity("turns net", "turns", "turns about the vertical: + to the dancer's left, - to the right", 0.0),
    Quantity("spins", "turns", "turns of the trunk in the image plane, either way, added up", 0.0),
    Quantity("spins net", "turns", "turns of the trunk in the image plane: + counter-clockwise", 0.0),
    Quantity("airtime", "0-1", "share of the time in the air", 0.0),
    Quantity("longest air", "s", "the longest time in the air", 0.0),
    Quantity("height", LENGTH, "mean height of the centre above the ground", 0.5),
    Quantity("standing", "0-1", "share of the time upright on the feet", 0.9),
    Quantity("crouched", "0-1", "share of the time low, on the feet", 0.05),
    Quantity("floor", "0-1", "share of the time on the ground, or upside down", 0.05),
)
NAMES: tuple[str, ...] = tuple(quantity.name for quantity in QUANTITIES)
LEVELS = ("standing", "crouched", "floor")

# Quantities that are correlated: one can replace another, so their importance shows only for all of them together.
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
class Measurement:
    """The values of one person from `start` to `end`: NaN where a value is unknown, and then the reason."""

    person: int
    start: float
    end: float
    values: NDArray[np.float64]  # (N,) in the order of QUANTITIES
    unknown: Mapping[str, str]  # name -> reason
    seen: float  # share of the joints that are visible

    def __post_init__(self) -> None:
        if self.values.shape != (len(QUANTITIES),):
            raise ValueError(f"{len(QUANTITIES)} values, not {self.values.shape}")
        missing = {name for name, value in zip(NAMES, self.values, strict=True) if not math.isfinite(value)}
        if missing != set(self.unknown):
            raise ValueError("every unknown value needs a reason, and no other value has one")

    def __getitem__(self, name: str) -> float:
        return float(self.values[_PLACE[name]])

    def __repr__(self) -> str:
        count = len(QUANTITIES) - len(self.unknown)
        return f"Measurement(person {self.person}, {self.start:.2f}-{self.end:.2f} s, {count} of {len(QUANTITIES)} known)"

    @cached_property
    def level(self) -> str:
        """The most frequent level: standing, crouched or floor; "" if it is unknown."""
        shares = [self[name] for name in LEVELS]
        return LEVELS[int(np.argmax(shares))] if all(map(math.isfinite, shares)) else ""

    def to_json(self) -> dict[str, Any]:
        """Return everything in JSON's own types: an unknown value is null, and `unknown` gives the reason."""
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
    """Round to six significant digits: more would be noise."""
    return float(f"{value:.6g}")
