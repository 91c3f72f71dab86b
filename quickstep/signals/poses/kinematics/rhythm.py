"""How often a movement repeats itself, and how alike the repetitions are: the autocorrelation of the body's velocity.

The velocity of all points is compared with itself some time later, as vectors, so that going round counts as going to and fro does, and
one repetition is the whole of it: a step to the left and a step to the right are one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.availability import MOSTLY, Found, Unknown, mostly
from quickstep.signals.poses.kinematics.body import Movement
from quickstep.signals.poses.kinematics.smoothing import RATE

Floats = NDArray[np.float64]

EVERY = 2  # steps are enough for what is smoothed
STEPS = RATE / EVERY  # a second
QUICKEST, SLOWEST = 300.0, 24.0  # repetitions a minute that are looked for
AROUND = 4.0  # seconds that are listened to at least: a shorter window is widened to both sides, as far as the movement goes
COVERED = 2 / 3  # share of the span that a repetition may last: the rest is needed to compare
DIP = 0.15  # how much less alike the movement must have been in between
NEARLY = 0.8  # the first repetition this near to the most alike one counts: twice it is alike too
LEAST = 0.3  # of regularity, for a tempo to be one


def rhythm(body: Movement, span: slice) -> Iterator[Found]:
    """Tempo in repetitions a minute and its regularity, of the span and what is around it."""
    velocity = body.velocity[_widened(span, len(body.times))][::EVERY]
    known = np.asarray(np.isfinite(velocity).all(axis=2))
    points = known.mean(axis=0) >= MOSTLY
    if not points.any() or not mostly(known[:, points]):
        why = Unknown("too few joints are seen")
        yield from (("tempo", why), ("regularity", why))
        return
    moving, known = velocity[:, points], known[:, points]
    drift = np.nanmean(moving, axis=0)  # somebody who walks across the picture repeats himself all the same
    moving = np.where(known[..., None], moving - drift, 0.0)
    usual = np.sqrt(np.square(moving).sum(axis=(0, 2)) / known.sum(axis=0))  # (P,)
    if usual.max() < body.still():
        why = Unknown("hardly anything moves")
        yield from (("tempo", why), ("regularity", why))
        return
    going = usual >= body.still()  # the shake of what rests would only blur the rhythm of what moves
    lag, alike = _repetition(moving[:, going], known[:, going].astype(np.float64))
    yield "tempo", 60 / lag if alike >= LEAST else Unknown("nothing repeats itself in this time")
    yield "regularity", min(alike, 1.0)


def _widened(span: slice, count: int) -> slice:
    """A span of at least AROUND, where the movement is so long."""
    length = min(count, max(span.stop - span.start, int(AROUND * RATE)))
    start = min(max(0, (span.start + span.stop - length) // 2), count - length)
    return slice(start, start + length)


def _repetition(moving: Floats, known: Floats) -> tuple[float, float]:
    """After how many seconds the movement (S, P, D) comes again, and how alike, 0..1; (inf, 0) where it does not."""
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
    """How alike the movement is to itself `lag` steps later, for each lag up to `longest`: 1 is the same, -1 the contrary.

    Each lag is measured over what is known at both times, against the energy that both have there, so that it is 1 for whatever
    repeats itself exactly, however few repetitions there are.
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
