"""Measure tempo and regularity from the autocorrelation of the body's velocity.

The velocities of all points are compared with themselves some time later, as vectors. So moving in a circle counts like moving to and fro,
and one repetition is complete: a step to the left and a step to the right are one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.body import Movement
from quickstep.signals.poses.kinematics.quantities import MIN_KNOWN, Unknown, Value, mostly_known
from quickstep.signals.poses.kinematics.smoothing import RATE

Floats = NDArray[np.float64]

EVERY = 2  # smoothed values need only every second step
STEPS = RATE / EVERY  # a second
QUICKEST, SLOWEST = 300.0, 24.0  # repetitions a minute
AROUND = 4.0  # seconds: a shorter window is widened to both sides, within the movement
COVERED = 2 / 3  # largest share of the span that a repetition may last: the rest is needed for the comparison
DIP = 0.15  # depth of the minimum that must come before a peak
NEARLY = 0.8  # the first peak with this share of the highest one counts: its multiples are peaks, too
MIN_REGULARITY = 0.3  # of a tempo


def rhythm(body: Movement, span: slice) -> Iterator[Value]:
    """Measure the tempo in repetitions a minute, and its regularity, of the span and its surroundings."""
    velocity = body.velocity[_widened(span, len(body.times))][::EVERY]
    measured = np.asarray(np.isfinite(velocity).all(axis=2))
    points = measured.mean(axis=0) >= MIN_KNOWN
    if not points.any() or not mostly_known(measured[:, points]):
        reason = Unknown("too few joints are visible")
        yield from (("tempo", reason), ("regularity", reason))
        return
    moving, measured = velocity[:, points], measured[:, points]
    drift = np.nanmean(moving, axis=0)  # a walk across the frame repeats itself, too
    moving = np.where(measured[..., None], moving - drift, 0.0)
    speeds = np.sqrt(np.square(moving).sum(axis=(0, 2)) / measured.sum(axis=0))  # (P,)
    if speeds.max() < body.still():
        reason = Unknown("hardly anything moves")
        yield from (("tempo", reason), ("regularity", reason))
        return
    active = speeds >= body.still()  # the jitter of points at rest would blur the rhythm of the others
    lag, similarity = _repetition(moving[:, active], measured[:, active].astype(np.float64))
    yield "tempo", 60 / lag if similarity >= MIN_REGULARITY else Unknown("nothing repeats itself in this time")
    yield "regularity", min(similarity, 1.0)


def _widened(span: slice, count: int) -> slice:
    """Widen a span to AROUND, or to the whole movement if that is shorter."""
    length = min(count, max(span.stop - span.start, int(AROUND * RATE)))
    start = min(max(0, (span.start + span.stop - length) // 2), count - length)
    return slice(start, start + length)


def _repetition(moving: Floats, known: Floats) -> tuple[float, float]:
    """Return after how many seconds the movement (S, P, D) repeats itself, and its similarity, 0..1; (inf, 0) if it does not."""
    longest = min(int(60 / SLOWEST * STEPS), int(len(moving) * COVERED))
    curve = autocorrelation(moving, known, longest)
    peaks = [
        lag
        for lag in range(int(60 / QUICKEST * STEPS), longest)
        if curve[lag] >= curve[lag - 1] and curve[lag] >= curve[lag + 1] and curve[:lag].min() < curve[lag] - DIP
    ]
    highest = max((curve[lag] for lag in peaks), default=0.0)
    if highest <= 0:
        return float("inf"), 0.0
    lag = next(lag for lag in peaks if curve[lag] >= NEARLY * highest)
    before, here, after = curve[lag - 1 : lag + 2]
    bend = before - 2 * here + after
    finer = lag + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    return float(finer / STEPS), float(here)


def autocorrelation(moving: Floats, known: Floats, longest: int) -> Floats:
    """Return the similarity of the movement to itself `lag` steps later, for each lag up to `longest`: 1 same, -1 opposite.

    Each lag uses the values that are known at both times, relative to their energy. So an exact repetition gives 1, however few
    repetitions there are.
    """
    count = len(moving)
    energy = np.square(moving).sum(axis=2)  # (S, P)
    curve = np.zeros(longest + 1)
    for lag in range(longest + 1):
        both = known[: count - lag] * known[lag:]
        product = (np.einsum("spd,spd->sp", moving[: count - lag], moving[lag:]) * both).sum()
        total = ((energy[: count - lag] + energy[lag:]) * both).sum()
        curve[lag] = 2 * product / total if total > 0 else 0.0
    return curve
