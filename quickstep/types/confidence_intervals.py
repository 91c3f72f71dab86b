"""Confidence intervals of measured shares: bootstrap over groups, bounds for few or no errors, paired tests, and their formatting.

A group (a dancer, a source video) is drawn as a whole, because its segments tend to be correct or wrong together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DRAWS = 2000
FEWEST_GROUPS = 3  # fewer are not enough to draw from
FEW_GROUPS = 10  # with fewer the interval is a guess, and its note says so
_MAX_WEIGHTS = 2_000_000  # in memory at once


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval; `over` is what was drawn, `note` what makes the interval less certain."""

    value: float
    low: float
    high: float
    over: str = "segments"  # "segments" or "groups"
    units: int = 0
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """How much more accurate A is than B on the same segments, and the p values of that difference."""

    interval: Interval
    p: float  # sign-flip test over groups
    p_mcnemar: float  # exact McNemar over segments
    only_a: int  # segments that only A classifies correctly
    only_b: int


@dataclass(frozen=True, eq=False)
class Units:
    """The units that are drawn with replacement: `of[i]` is the unit of segment i."""

    of: NDArray[np.int64]  # (N,)
    count: int
    over: str
    note: str


def units_of(groups: Sequence[Hashable]) -> Units:
    """Return the groups as units; single segments, with a note, if there are too few groups."""
    numbers: dict[Hashable, int] = {}
    of = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
    size = len(groups)
    if len(numbers) == size:
        return Units(of, size, "segments", "")
    if len(numbers) < FEWEST_GROUPS:
        some = "all segments are of one group" if len(numbers) == 1 else f"there are only {len(numbers)} groups"
        return Units(np.arange(size), size, "segments", f"{some}, so single segments were drawn: the true interval is wider")
    note = f"only {len(numbers)} groups: the interval itself is a rough guess" if len(numbers) < FEW_GROUPS else ""
    return Units(of, len(numbers), "groups", note)


def bootstrap(sums: Floats, statistic: Callable[[Floats], Floats], *, seed: int = 0, draws: int = DRAWS) -> Floats:
    """Return the 2.5 % and 97.5 % percentiles (2, K) of `statistic` over units drawn with replacement.

    `sums` is (U, M), the sums of each unit; `statistic` maps (B, M) to (B, K). With few units the percentiles are further out, by
    Student's t, because an interval from few units must be wider.
    """
    units = len(sums)
    values = np.concatenate([statistic(weights @ sums) for weights in _weights(units, seed, draws)])  # (B, K)
    from scipy import stats  # slow to import, and most commands measure nothing

    further = math.sqrt(units / (units - 1)) * stats.t.ppf(0.975, units - 1) if units > 1 else math.inf
    level = float(stats.norm.cdf(-further))
    ends: Floats = np.quantile(values, [level, 1 - level], axis=0)
    return ends


def share(right: Bools, groups: Sequence[Hashable], *, seed: int = 0) -> Interval:
    """Return the share of `right` (N,) with its interval over groups."""
    units = units_of(groups)
    sums = add_up(np.column_stack([right, np.ones(len(right))]), units)
    low, high = bootstrap(sums, lambda s: s[:, :1] / s[:, 1:], seed=seed)
    return widened(float(np.mean(right)), float(low[0]), float(high[0]), units=units, segments=len(right))


def difference(a: Bools, b: Bools, groups: Sequence[Hashable], *, seed: int = 0) -> Difference:
    """Return the paired difference of the shares of `a` and `b` (N,), with its interval over groups and two tests."""
    units = units_of(groups)
    gain = a.astype(np.float64) - b.astype(np.float64)
    sums = add_up(np.column_stack([gain, np.ones(len(gain))]), units)
    low, high = bootstrap(sums, lambda s: s[:, :1] / s[:, 1:], seed=seed)
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    least, most = _paired_bounds(only_a, only_b, len(gain))
    interval = Interval(
        float(gain.mean()), max(-1.0, min(float(low[0]), least)), min(1.0, max(float(high[0]), most)), units.over, units.count, units.note
    )
    return Difference(interval, sign_flip(sums[:, 0], seed=seed), mcnemar(only_a, only_b), only_a, only_b)


def widened(value: float, low: float, high: float, *, units: Units, segments: int) -> Interval:
    """Return a bootstrap interval of a share, at least as wide as Wilson's for so many independent segments.

    If all units are the same, drawing them shows no variation: then the bound is Wilson's for so many independent *units*.
    """
    alike = value in (0.0, 1.0)
    least, most = wilson(value * (units.count if alike else segments), units.count if alike else segments)
    note = units.note
    if alike:
        all_of = "all right" if value else "all wrong"
        what = "groups" if units.over == "groups" else "segments"
        note = "; ".join(filter(None, [note, f"{all_of}, so this is Wilson's bound for {units.count} {what}"]))
    return Interval(value, max(0.0, min(low, least)), min(1.0, max(high, most)), units.over, units.count, note)


def wilson(right: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of `right` in `count`, which is valid for small counts, and for none or all."""
    z = 1.959963984540054
    center = (right + z * z / 2) / (count + z * z)
    half = z * math.sqrt(right * (count - right) / count + z * z / 4) / (count + z * z)
    low = 0.0 if right <= 0 else center - half
    high = 1.0 if right >= count else center + half
    return low, high


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p that a fair coin decides which of A and B is correct where they differ."""
    if only_a + only_b == 0:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def sign_flip(sums: Floats, *, seed: int = 0, draws: int = 5000) -> float:
    """Return the two-sided p of the sum of the units' sums (U,) if A and B were exchangeable in each unit."""
    sums = sums[sums != 0]
    if len(sums) == 0:
        return 1.0
    observed = abs(sums.sum()) - 1e-9
    if len(sums) <= 12:
        flips = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)  # every pattern of signs
        return float(np.mean(np.abs(flips @ sums) >= observed))
    rng = np.random.default_rng(seed)
    more, step = 0, max(1, _MAX_WEIGHTS // len(sums))
    for first in range(0, draws, step):
        flips = 1 - 2 * rng.integers(0, 2, (min(step, draws - first), len(sums)))
        more += int(np.sum(np.abs(flips @ sums) >= observed))
    return (more + 1) / (draws + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p values corrected for multiple comparisons (Holm), in the given order."""
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected


def percent(value: float) -> str:
    """Format a share in percent: 100 % only for all, 0 % only for none."""
    rounded = f"{100 * value:.0f}"
    if 0 < value < 1 and rounded in ("0", "100"):
        rounded = f"{min(99.9, max(0.1, 100 * value)):.1f}"
    return f"{rounded} %"


def between(interval: Interval) -> str:
    """Format the two ends of an interval of shares."""
    return f"{100 * interval.low:.0f}–{100 * interval.high:.0f} %"


def points(interval: Interval) -> str:
    """Format a difference of shares in percentage points with its interval."""
    value, low, high = (f"{100 * share:+.0f}".replace("-", "−") for share in (interval.value, interval.low, interval.high))
    return f"{value} points ({low} to {high})"


def add_up(values: ArrayLike, units: Units) -> Floats:
    """Sum values (N, M) over each unit: (U, M)."""
    rows = np.asarray(values, dtype=np.float64)
    sums = np.zeros((units.count, rows.shape[1]))
    np.add.at(sums, units.of, rows)
    return sums


def _weights(units: int, seed: int, draws: int) -> Iterator[Floats]:
    """Yield how often each unit is drawn, (b, U) at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, _MAX_WEIGHTS // units)
    for first in range(0, draws, step):
        size = min(step, draws - first)
        drawn = rng.integers(0, units, (size, units)) + units * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)


def _paired_bounds(only_a: int, only_b: int, count: int) -> tuple[float, float]:
    """Return Agresti and Min's interval of a paired difference, which is never of zero width."""
    n, gain = count + 2, only_a - only_b
    half = 1.959963984540054 * math.sqrt(only_a + only_b + 1 - gain * gain / n) / n
    return gain / n - half, gain / n + half
