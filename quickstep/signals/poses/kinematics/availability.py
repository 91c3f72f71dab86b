"""What is known of a number: its value, or why there is none; and how much must be seen for one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOSTLY = 0.5  # share of the moments at which something must be seen to be measured
STILL = 0.05  # body lengths a second: what is slower is standing still


@dataclass(frozen=True)
class Unknown:
    """There is no number, and this is why."""

    why: str


Found = tuple[str, float | Unknown]


def mostly(known: NDArray[np.bool_]) -> bool:
    """Whether enough is known."""
    return bool(known.size) and bool(known.mean() >= MOSTLY)


def mean_of(values: NDArray[np.float64]) -> float:
    """The mean of what is known; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
