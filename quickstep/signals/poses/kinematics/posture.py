"""Where a body is above the floor: standing, crouched, on the floor, in the air; knows no speed of limbs and no turn.

The floor is where the lowest joint rests: a low percentile of it over two seconds, so that walking towards the camera does not look like
sinking. In the air is who has both feet, and all else, clearly above it while the centre falls as things fall.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.availability import Found, Unknown, mostly
from quickstep.signals.poses.kinematics.body import Movement
from quickstep.signals.poses.kinematics.smoothing import RATE, stretches

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

AROUND = 2.0  # seconds over which the floor is looked for
LOW = 10.0  # percentile of the lowest joint that is the floor
CLEAR, TOUCH = 0.05, 0.012  # body lengths: a foot so high is off the floor, and has been since it was so high
SHORTEST, LONGEST = 0.1, 1.3  # seconds that a jump lasts
FALL = (4.5, 14.0)  # body lengths/s²: what gravity may look like, for children and adults, seen from wherever
ASTRAY = 0.03  # body lengths that the centre may lie beside the curve of a fall
LYING, CROUCHED = 0.22, 0.36  # body lengths: a centre lower than these is on the floor, or crouched
TOUCHED = 0.12  # body lengths: a hand, shoulder or knee so low is on the floor
TILTED, TURNED_OVER = np.cos(np.radians(60)), np.cos(np.radians(100))


@dataclass(frozen=True, eq=False)
class Ground:
    """Height over time and what follows from it; None where it cannot be known, and then why."""

    height: Floats | None  # (G,) of the centre above the floor
    levels: Floats | None  # (G, 3) standing, crouched, floor: 1 for the one it is, NaN where unknown
    jumps: tuple[tuple[int, int], ...] | None  # first step and the one after the last
    why: str = ""
    why_no_jumps: str = ""


def ground(body: Movement) -> Ground:
    """Heights, levels and jumps of the whole movement."""
    why = _lacking(body)
    if why:
        return Ground(None, None, None, why, why)
    lows = body.crisp[..., 1]
    soles = [lows[:, list(joints)] for joints in body.soles]
    feet = np.stack([np.fmin.reduce(sole, axis=1) for sole in soles], axis=1)  # (G, 2)
    if not mostly(np.asarray(np.isfinite(feet).any(axis=1))):
        return Ground(None, None, None, "the feet are seen too little", "the feet are seen too little")
    lowest = np.fmin.reduce(lows[:, _bearing(body)], axis=1)
    floor = lowest if body.rooted else _floor(np.where(np.isfinite(feet).any(axis=1), lowest, np.nan))
    centre = body.crisp[:, list(body.skeleton.root), 1].mean(axis=1)
    height = centre - floor
    others = np.fmin.reduce(lows[:, sorted({*_bearing(body)} - {joint for sole in body.soles for joint in sole})], axis=1)
    levels = _levels(body, height, {"feet": np.fmin.reduce(feet, axis=1) - centre, "others": others - floor})
    if body.rooted:
        return Ground(height, levels, None, "", "the poses are centred on the body, so that jumps are lost")
    assert body.tilt is not None
    resting = (feet.min(axis=1) - floor <= CLEAR) & (body.tilt > 0)  # on a foot, head up: from where one jumps
    seen = np.isfinite(feet).all(axis=1)
    return Ground(height, levels, tuple(_jumps(np.where(seen, lowest - floor, -1.0), resting, centre)))


def levelled(found: Ground, span: slice) -> Iterator[Found]:
    """Airtime, height and level of a span of time."""
    yield from _airtime(found, span)
    if found.height is None or not mostly(np.isfinite(found.height[span])):
        why = Unknown(found.why or "the feet or the hips are seen too little")
        yield from ((name, why) for name in ("height", "standing", "crouched", "floor"))
        return
    assert found.levels is not None
    height, levels = found.height[span], found.levels[span]
    yield "height", float(np.nanmean(height))
    known = np.asarray(np.isfinite(levels).all(axis=1))
    shares = levels[known].mean(axis=0).tolist() if mostly(known) else [Unknown("the trunk is seen too little")] * 3
    yield from zip(("standing", "crouched", "floor"), shares, strict=True)


def _airtime(found: Ground, span: slice) -> Iterator[Found]:
    if found.jumps is None or found.height is None or not mostly(np.isfinite(found.height[span])):
        why = Unknown(found.why_no_jumps or "the feet or the hips are seen too little")
        yield from (("airtime", why), ("longest air", why))
        return
    inside = sum(max(0, min(end, span.stop) - max(start, span.start)) for start, end in found.jumps)
    lengths = [end - start for start, end in found.jumps if span.start <= (start + end) / 2 < span.stop]
    yield "airtime", inside / (span.stop - span.start)
    yield "longest air", max(lengths, default=0) / RATE


def _lacking(body: Movement) -> str:
    """What keeps heights from being known."""
    name = f"the skeleton {body.skeleton.name!r}"
    if not all(body.soles):
        return f"{name} has no feet"
    if body.centre_name != "hips" or body.trunk is None:
        return f"{name} has no trunk: it takes hips, and shoulders or a neck"
    return "" if body.upright else "which way is up is not clear"


def _bearing(body: Movement) -> list[int]:
    """The joints that somebody may rest on: those of the body's points, and all of the feet."""
    return sorted({joint for joints in body.numbers.values() for joint in joints} | {joint for sole in body.soles for joint in sole})


def _floor(lowest: Floats) -> Floats:
    """The floor (G,) under somebody, followed slowly."""
    from scipy.ndimage import percentile_filter  # slow to import, and what is cached needs none of it

    known = np.isfinite(lowest)
    places = np.arange(len(lowest))
    filled = np.interp(places, places[known], lowest[known])
    size = min(len(filled), int(AROUND * RATE)) | 1
    return np.asarray(percentile_filter(filled, LOW, size=size, mode="nearest"))


def _levels(body: Movement, height: Floats, lows: Mapping[str, Floats]) -> Floats:
    """For each moment 1 at what it is, (G, 3).

    On the floor is who is very low, upside down with the feet higher than the hips, or has the trunk tilted and is low or rests on
    something else than the feet.
    """
    assert body.tilt is not None
    known = np.isfinite(body.tilt) & np.isfinite(height)
    over = (body.tilt < TURNED_OVER) & (lows["feet"] > 0)
    lying = (height < LYING) | over | ((body.tilt < TILTED) & ((height < CROUCHED) | (lows["others"] < TOUCHED)))
    low = ~lying & (height < CROUCHED)
    levels = np.stack([~lying & ~low, low, lying], axis=1).astype(np.float64)
    return np.where(known[:, None], levels, np.nan)


def _jumps(lowest: Floats, resting: Bools, centre: Floats) -> Iterator[tuple[int, int]]:
    """Times (first step, the one after the last) of nothing (G,) touching the floor while the centre (G,) falls freely.

    It is somebody resting on a foot (G,) who leaves the floor and meets it again, unless the movement begins or ends in the air.
    """
    for start, end in stretches(lowest > TOUCH):
        seconds = (end - start) / RATE
        if lowest[start:end].max() < CLEAR or not SHORTEST <= seconds <= LONGEST:
            continue
        if (start > 0 and not resting[start - 1]) or (end < len(resting) and not resting[end]):
            continue
        arc = centre[start:end]
        if np.isfinite(arc).all() and _falls(arc):
            yield start, end


def _falls(arc: Floats) -> bool:
    """Whether a height over time is that of something thrown."""
    times = np.arange(len(arc)) / RATE
    curve = np.polyfit(times, arc, 2)
    beside = float(np.sqrt(np.mean(np.square(np.polyval(curve, times) - arc))))
    return FALL[0] <= -2 * curve[0] <= FALL[1] and beside <= ASTRAY
