"""Measure speed, reach, fluidity and symmetry: how fast, far, smoothly and evenly a body moves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.body import Movement, Parts
from quickstep.signals.poses.kinematics.quantities import MIN_KNOWN, Unknown, Value, mean_of, mostly_known
from quickstep.signals.poses.kinematics.smoothing import CUTOFF, RATE, derivative, jitter_left

Floats = NDArray[np.float64]

PAIRS = {"hands": ("left_hand", "right_hand"), "feet": ("left_foot", "right_foot")}
CENTRED = "the poses are centred on the body, which loses its path"
ENDS = ("left_hand", "right_hand", "left_foot", "right_foot")
JERK_CUTOFFS = (CUTOFF, 4.2, 3.0, 2.1, 1.5)  # Hz: tried in turn until jitter is a small part of the jerk
MAX_NOISE = 0.2  # share of the squared jerk that may be jitter; its expected value is subtracted
SHORT_TRUNK = 0.4  # of its true length: a trunk that looks shorter points at the camera, and its direction is unreliable


def speeds(body: Movement, span: slice) -> Iterator[Value]:
    """Measure the mean and peak speed of the whole body and of its parts, and the acceleration."""
    whole = _mean_over_points(body.velocity[span])
    yield from _mean_and_peak("speed", whole, Unknown("too few joints are visible"))
    for part, points in {**PAIRS, "head": ("head",), "centre": ("centre",)}.items():
        missing = _missing(body, points)
        if missing is None and body.rooted and part == "centre":
            missing = Unknown(CENTRED)
        if missing is not None:
            yield from ((f"{part} speed", missing), (f"{part} speed peak", missing))
            continue
        columns = _mostly_known_columns(np.stack([body.paces[point][span] for point in points], axis=1))
        if columns is None:
            reason = Unknown(f"the {part} {'is' if part in ('head', 'centre') else 'are'} visible too rarely")
            yield from ((f"{part} speed", reason), (f"{part} speed peak", reason))
        else:
            yield f"{part} speed", mean_of(columns)
            yield f"{part} speed peak", float(np.nanmax(columns))
    yield from _mean_and_peak("acceleration", _mean_over_points(body.acceleration[span]), Unknown("too few joints are visible"))


def reaches(body: Movement, span: slice) -> Iterator[Value]:
    """Measure how far hands and feet are from the centre, and the box that they cover around it."""
    ends = {point: body.points[point][span] - body.centre[span] for point in ENDS if point in body.points}
    lengths = _mostly_known_columns(np.stack([np.linalg.norm(end, axis=1) for end in ends.values()], axis=1)) if ends else None
    if lengths is None:
        reason = Unknown("hands and feet are visible too rarely" if ends else "the skeleton has no hands and no feet")
        yield from (("reach", reason), ("reach peak", reason))
    else:
        yield "reach", mean_of(lengths)
        yield "reach peak", float(np.nanmax(lengths))
    for part, points in PAIRS.items():
        missing = _missing(body, points)
        boxes = [_box_diagonal(ends[point]) for point in points if point in ends]
        finite = [box for box in boxes if np.isfinite(box)]
        yield f"{part} range", missing or (float(np.mean(finite)) if finite else Unknown(f"the {part} are visible too rarely"))
    if body.rooted:
        yield "travel", Unknown(CENTRED)
    else:
        box = _box_diagonal(body.centre[span])
        yield "travel", box if np.isfinite(box) else Unknown("the centre is visible too rarely")


def fluidities(body: Movement, span: slice) -> Iterator[Value]:
    """Measure minus the natural logarithm of the dimensionless jerk, T³ / v² · ∫ |jerk|² dt, where v is the peak speed.

    All points together are one point in a space of many dimensions, so the fastest counts most. Jerk amplifies the jitter of the joints:
    they are smoothed more, step by step, until jitter is less than MAX_NOISE of the squared jerk.
    """
    yield "fluidity", _log_jerk(body, body.parts, span)
    for part, points in PAIRS.items():
        missing = _missing(body, points)
        yield f"{part} fluidity", missing or _log_jerk(body, tuple(body.numbers[point] for point in points), span)


def _log_jerk(body: Movement, parts: Parts, span: slice) -> float | Unknown:
    """Return the fluidity of points, each the mean of some joints."""
    variances = np.array([np.square(body.jitter[list(part)]).sum() / len(part) ** 2 for part in parts])  # (P,)
    for cutoff in JERK_CUTOFFS:
        velocity, jerk = (rate[span] for rate in body.rates(parts, cutoff))  # (S, P, D)
        measured = np.asarray(np.isfinite(jerk).all(axis=2))
        points = measured.mean(axis=0) >= 0.8
        moments = np.asarray(measured[:, points].all(axis=1))
        if not points.any() or not mostly_known(moments):
            return Unknown("too few points are visible without a gap")
        peak = float(np.sqrt(np.square(velocity[moments][:, points]).sum(axis=(1, 2))).max())
        if peak < body.still(int(points.sum()), times=2.5):
            return Unknown("hardly anything moves")
        squared = float(np.square(jerk[moments][:, points]).sum(axis=(1, 2)).mean())
        noise = variances[points].sum() * body.dimensions * jitter_left(body.fps, min(cutoff, 0.4 * body.fps), 3) ** 2
        if noise <= MAX_NOISE * squared:
            seconds = (span.stop - span.start) / RATE
            return -float(np.log(seconds**4 * (squared - noise) / peak**2))
    return Unknown("the jitter of the joints is too large")


def symmetries(body: Movement, span: slice) -> Iterator[Value]:
    """Compare left and right: whether they mirror each other, and whether they move equally much."""
    if not body.limbs:
        reason = Unknown(f"the skeleton {body.skeleton.name!r} names no mirrored pairs")
        yield from (("symmetry", reason), ("evenness", reason))
        return
    left, right = (body.joints[span][:, [pair[side] for pair in body.limbs]] - body.centre[span][:, None] for side in (0, 1))  # (S, L, D)
    yield "symmetry", _symmetry(left, _mirrored(right, across_trunk(body, span)))
    moved = [np.linalg.norm(derivative(side), axis=2) for side in (left, right)]  # (S, L) each
    both = np.isfinite(moved[0]) & np.isfinite(moved[1])
    if not mostly_known(both):
        yield "evenness", Unknown("left and right are visible too rarely at the same time")
        return
    sums = np.array([np.where(both, side, 0.0).sum(axis=0) for side in moved]) / RATE  # (2, L): path lengths
    if sums.sum() / (2 * both.sum() / RATE) < body.still():
        yield "evenness", Unknown("hardly anything moves")
    else:
        yield "evenness", float(1 - np.abs(sums[0] - sums[1]).sum() / sums.sum())


def _symmetry(left: Floats, mirrored: Floats) -> float | Unknown:
    """Return 1 - the distance of the left side from the mirrored right, relative to their distances from the centre."""
    distance = np.linalg.norm(left - mirrored, axis=2)
    measured = np.isfinite(distance)
    if not mostly_known(measured):
        return Unknown("left and right are visible too rarely at the same time")
    size = np.linalg.norm(left, axis=2) + np.linalg.norm(mirrored, axis=2)
    return float(1 - distance[measured].sum() / max(size[measured].sum(), 1e-9))


def _mirrored(right: Floats, across: Floats) -> Floats:
    """Mirror the right side (S, L, D): at the trunk in 2D, at the middle plane of the body in 3D."""
    return np.asarray(right - 2 * np.einsum("gld,gd->gl", right, across)[..., None] * across[:, None])


def across_trunk(body: Movement, span: slice = slice(None)) -> Floats:
    """Return the direction (S, D) from one side of the body to the other; NaN where it is unknown."""
    if body.dimensions == 3:
        joints = [joint for joint in ("shoulder", "hip") if f"left_{joint}" in body.points and f"right_{joint}" in body.points]
        lines = [body.points[f"left_{joint}"][span] - body.points[f"right_{joint}"][span] for joint in joints]
        if lines:
            return _unit(np.sum([_unit(line) for line in lines], axis=0))
        pairs = np.stack([body.joints[span, one] - body.joints[span, other] for one, other in body.skeleton.mirrored], axis=1)
        return _unit(pairs.mean(axis=1))
    if body.trunk is None:
        return np.tile([1.0, 0.0], (len(body.times[span]), 1))
    trunk = body.trunk[span]
    reliable = np.linalg.norm(trunk, axis=1) >= SHORT_TRUNK * body.trunk_length
    return np.where(reliable[:, None], _unit(np.stack([trunk[:, 1], -trunk[:, 0]], axis=1)), np.nan)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def _mean_over_points(vectors: Floats) -> Floats | None:
    """Return the mean size over the points at each moment, (S,), of those that are mostly known; None if too few are."""
    sizes = np.linalg.norm(vectors, axis=2)
    columns = _mostly_known_columns(sizes)
    if columns is None:
        return None
    moments = np.isfinite(columns).mean(axis=1) >= MIN_KNOWN
    return np.nanmean(columns[moments], axis=1) if mostly_known(moments) else None


def _mostly_known_columns(sizes: Floats) -> Floats | None:
    """Return the columns (S, P) that are mostly known; None if there are none."""
    chosen = np.isfinite(sizes).mean(axis=0) >= MIN_KNOWN
    return sizes[:, chosen] if chosen.any() else None


def _mean_and_peak(name: str, values: Floats | None, reason: Unknown) -> Iterator[Value]:
    yield name, reason if values is None else float(values.mean())
    yield f"{name} peak", reason if values is None else float(values.max())


def _box_diagonal(places: Floats) -> float:
    """Return the diagonal of the box around places (S, D); NaN if they are mostly unknown."""
    measured = np.asarray(np.isfinite(places).all(axis=1))
    if not mostly_known(measured):
        return float("nan")
    return float(np.linalg.norm(places[measured].max(axis=0) - places[measured].min(axis=0)))


def _missing(body: Movement, points: tuple[str, ...]) -> Unknown | None:
    """Return why points have no value: the skeleton lacks one of them; None if it has all."""
    absent = [point.replace("_", " ") for point in points if point not in body.points]
    return Unknown(f"the skeleton {body.skeleton.name!r} has no {' and no '.join(absent)}") if absent else None
