"""Measure height above the ground: standing, crouched, on the ground, in the air.

The ground is a low percentile of the lowest joint over two seconds, so walking towards the camera does not look like sinking. A body is in
the air if all its joints are clearly above the ground while the centre moves on a parabola.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.body import Movement
from quickstep.signals.poses.kinematics.quantities import Unknown, Value, mostly_known
from quickstep.signals.poses.kinematics.smoothing import RATE, stretches

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

AROUND = 2.0  # seconds of the percentile
LOW = 10.0  # percentile of the lowest joint: the ground
CLEAR, TOUCH = 0.05, 0.012  # body lengths: a jump reaches the first height, and lasts while the feet are above the second
SHORTEST, LONGEST = 0.1, 1.3  # seconds that a jump lasts
FALL = (4.5, 14.0)  # body lengths/s²: gravity for children and adults, from any viewpoint
MAX_RESIDUAL = 0.03  # body lengths between the centre and the parabola of a fall
LYING, CROUCHED = 0.22, 0.36  # body lengths: with a lower centre the body is on the ground, or crouched
TOUCHED = 0.12  # body lengths: a lower hand, shoulder or knee is on the ground
TILTED, TURNED_OVER = np.cos(np.radians(60)), np.cos(np.radians(100))


@dataclass(frozen=True, eq=False)
class Ground:
    """The height over time, levels and jumps; None where they are unknown, with the reason."""

    height: Floats | None  # (G,) of the centre above the ground
    levels: Floats | None  # (G, 3) one-hot: standing, crouched, floor; NaN where unknown
    jumps: tuple[tuple[int, int], ...] | None  # first step and the one after the last
    reason: str = ""
    no_jumps_reason: str = ""


def find_ground(body: Movement) -> Ground:
    """Find heights, levels and jumps of the whole movement."""
    reason = _missing(body)
    if reason:
        return Ground(None, None, None, reason, reason)
    lows = body.crisp[..., 1]
    soles = [lows[:, list(joints)] for joints in body.soles]
    feet = np.stack([np.fmin.reduce(sole, axis=1) for sole in soles], axis=1)  # (G, 2)
    if not mostly_known(np.asarray(np.isfinite(feet).any(axis=1))):
        return Ground(None, None, None, "the feet are visible too rarely", "the feet are visible too rarely")
    lowest = np.fmin.reduce(lows[:, _supporting(body)], axis=1)
    floor = lowest if body.rooted else _floor(np.where(np.isfinite(feet).any(axis=1), lowest, np.nan))
    centre = body.crisp[:, list(body.skeleton.root), 1].mean(axis=1)
    height = centre - floor
    others = np.fmin.reduce(lows[:, sorted({*_supporting(body)} - {joint for sole in body.soles for joint in sole})], axis=1)
    levels = _levels(body, height, {"feet": np.fmin.reduce(feet, axis=1) - centre, "others": others - floor})
    if body.rooted:
        return Ground(height, levels, None, "", "the poses are centred on the body, which loses jumps")
    assert body.tilt is not None
    upright = (feet.min(axis=1) - floor <= CLEAR) & (body.tilt > 0)  # on a foot, head up: where a jump starts and ends
    visible = np.isfinite(feet).all(axis=1)
    return Ground(height, levels, tuple(_jumps(np.where(visible, lowest - floor, -1.0), upright, centre)))


def measure_levels(ground: Ground, span: slice) -> Iterator[Value]:
    """Measure airtime, height and level of a span of time."""
    yield from _airtime(ground, span)
    if ground.height is None or not mostly_known(np.isfinite(ground.height[span])):
        reason = Unknown(ground.reason or "the feet or the hips are visible too rarely")
        yield from ((name, reason) for name in ("height", "standing", "crouched", "floor"))
        return
    assert ground.levels is not None
    height, by_level = ground.height[span], ground.levels[span]
    yield "height", float(np.nanmean(height))
    measured = np.asarray(np.isfinite(by_level).all(axis=1))
    shares = by_level[measured].mean(axis=0).tolist() if mostly_known(measured) else [Unknown("the trunk is visible too rarely")] * 3
    yield from zip(("standing", "crouched", "floor"), shares, strict=True)


def _airtime(ground: Ground, span: slice) -> Iterator[Value]:
    if ground.jumps is None or ground.height is None or not mostly_known(np.isfinite(ground.height[span])):
        reason = Unknown(ground.no_jumps_reason or "the feet or the hips are visible too rarely")
        yield from (("airtime", reason), ("longest air", reason))
        return
    inside = sum(max(0, min(end, span.stop) - max(start, span.start)) for start, end in ground.jumps)
    lengths = [end - start for start, end in ground.jumps if span.start <= (start + end) / 2 < span.stop]
    yield "airtime", inside / (span.stop - span.start)
    yield "longest air", max(lengths, default=0) / RATE


def _missing(body: Movement) -> str:
    """Return why heights cannot be measured; "" if they can."""
    name = f"the skeleton {body.skeleton.name!r}"
    if not all(body.soles):
        return f"{name} has no feet"
    if body.centre_name != "hips" or body.trunk is None:
        return f"{name} has no trunk: that needs hips, and shoulders or a neck"
    return "" if body.upright else "the upward axis is not clear"


def _supporting(body: Movement) -> list[int]:
    """Return the joints that may touch the ground: those of the body's points, and all of the feet."""
    return sorted({joint for joints in body.numbers.values() for joint in joints} | {joint for sole in body.soles for joint in sole})


def _floor(lowest: Floats) -> Floats:
    """Return the ground (G,) under the body, which changes slowly."""
    from scipy.ndimage import percentile_filter  # slow to import, and what is cached needs none of it

    measured = np.isfinite(lowest)
    places = np.arange(len(lowest))
    filled = np.interp(places, places[measured], lowest[measured])
    size = min(len(filled), int(AROUND * RATE)) | 1
    return np.asarray(percentile_filter(filled, LOW, size=size, mode="nearest"))


def _levels(body: Movement, height: Floats, lows: Mapping[str, Floats]) -> Floats:
    """Return the level of each moment, one-hot (G, 3).

    A body is on the ground if it is very low; or upside down with the feet above the hips; or if its trunk is tilted and it is low or
    touches the ground with something else than the feet.
    """
    assert body.tilt is not None
    measured = np.isfinite(body.tilt) & np.isfinite(height)
    upside_down = (body.tilt < TURNED_OVER) & (lows["feet"] > 0)
    lying = (height < LYING) | upside_down | ((body.tilt < TILTED) & ((height < CROUCHED) | (lows["others"] < TOUCHED)))
    low = ~lying & (height < CROUCHED)
    one_hot = np.stack([~lying & ~low, low, lying], axis=1).astype(np.float64)
    return np.where(measured[:, None], one_hot, np.nan)


def _jumps(lowest: Floats, standing: Bools, centre: Floats) -> Iterator[tuple[int, int]]:
    """Yield (first step, the one after the last) of each jump: nothing touches the ground while the centre (G,) falls freely.

    `lowest` (G,) is the height of the lowest joint. A jump starts and ends on a foot (`standing`), unless the movement starts or ends in
    the air.
    """
    for start, end in stretches(lowest > TOUCH):
        seconds = (end - start) / RATE
        if lowest[start:end].max() < CLEAR or not SHORTEST <= seconds <= LONGEST:
            continue
        if (start > 0 and not standing[start - 1]) or (end < len(standing) and not standing[end]):
            continue
        arc = centre[start:end]
        if np.isfinite(arc).all() and _falls(arc):
            yield start, end


def _falls(arc: Floats) -> bool:
    """Whether a height over time is that of a free fall."""
    times = np.arange(len(arc)) / RATE
    curve = np.polyfit(times, arc, 2)
    residual = float(np.sqrt(np.mean(np.square(np.polyval(curve, times) - arc))))
    return FALL[0] <= -2 * curve[0] <= FALL[1] and residual <= MAX_RESIDUAL
