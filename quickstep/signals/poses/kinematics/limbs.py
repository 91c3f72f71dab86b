"""How fast, how far, how smoothly and how evenly a body moves; knows no floor, no turn and no beat."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.availability import MOSTLY, Found, Unknown, mean_of, mostly
from quickstep.signals.poses.kinematics.body import Movement, Parts
from quickstep.signals.poses.kinematics.smoothing import CUTOFF, RATE, change, shake_left

Floats = NDArray[np.float64]

PAIRS = {"hands": ("left_hand", "right_hand"), "feet": ("left_foot", "right_foot")}
ENDS = ("left_hand", "right_hand", "left_foot", "right_foot")
CALMER = (CUTOFF, 4.2, 3.0, 2.1, 1.5)  # Hz: how much is smoothed before jerk is measured, as joints shake more
NOISY = 0.2  # share of the jerk that may be shake; what is known of it is taken off
SHORT_TRUNK = 0.4  # of its usual length: a trunk that looks shorter points at the camera, and its direction says little


def speeds(body: Movement, span: slice) -> Iterator[Found]:
    """Mean and highest speed of the whole body and of its parts."""
    whole = _over_points(body.velocity[span])
    yield from _both("speed", whole, Unknown("too few joints are seen"))
    for part, points in {**PAIRS, "head": ("head",), "centre": ("centre",)}.items():
        lacking = _lacking(body, points)
        if lacking is None and body.rooted and part == "centre":
            lacking = Unknown("the poses are centred on the body, so that where it goes is lost")
        if lacking is not None:
            yield from ((f"{part} speed", lacking), (f"{part} speed peak", lacking))
            continue
        each = np.stack([body.paces[point][span] for point in points], axis=1)
        with_gaps = _enough(each)
        if with_gaps is None:
            why = Unknown(f"the {part} {'is' if part in ('head', 'centre') else 'are'} seen too little")
            yield from ((f"{part} speed", why), (f"{part} speed peak", why))
        else:
            yield f"{part} speed", mean_of(with_gaps)
            yield f"{part} speed peak", float(np.nanmax(with_gaps))
    yield from _both("acceleration", _over_points(body.acceleration[span]), Unknown("too few joints are seen"))


def reaches(body: Movement, span: slice) -> Iterator[Found]:
    """How far hands and feet are from the centre, and how much room they fill around it."""
    ends = {point: body.points[point][span] - body.centre[span] for point in ENDS if point in body.points}
    lengths = _enough(np.stack([np.linalg.norm(end, axis=1) for end in ends.values()], axis=1)) if ends else None
    if lengths is None:
        why = Unknown("hands and feet are seen too little" if ends else "the skeleton has no hands and no feet")
        yield from (("reach", why), ("reach peak", why))
    else:
        yield "reach", mean_of(lengths)
        yield "reach peak", float(np.nanmax(lengths))
    for part, points in PAIRS.items():
        lacking = _lacking(body, points)
        boxes = [_box(ends[point]) for point in points if point in ends]
        known = [box for box in boxes if np.isfinite(box)]
        yield f"{part} range", lacking or (float(np.mean(known)) if known else Unknown(f"the {part} are seen too little"))
    if body.rooted:
        yield "travel", Unknown("the poses are centred on the body, so that where it goes is lost")
    else:
        box = _box(body.centre[span])
        yield "travel", box if np.isfinite(box) else Unknown("the centre is seen too little")


def fluidities(body: Movement, span: slice) -> Iterator[Found]:
    """Minus the natural logarithm of the dimensionless jerk, T³ / v² · ∫ |jerk|² dt, v being the highest speed.

    All points together are one point in a space of many dimensions, so that the quickest counts most. Jerk makes much of the shake of
    badly seen joints: they are smoothed more, step by step, until what is left of it is less than NOISY of all.
    """
    yield "fluidity", _log_jerk(body, body.parts, span)
    for part, points in PAIRS.items():
        lacking = _lacking(body, points)
        yield f"{part} fluidity", lacking or _log_jerk(body, tuple(body.numbers[point] for point in points), span)


def _log_jerk(body: Movement, parts: Parts, span: slice) -> float | Unknown:
    """The fluidity of the points that these joints make up."""
    shaking = np.array([np.square(body.shake[list(part)]).sum() / len(part) ** 2 for part in parts])  # (P,) variances
    for cutoff in CALMER:
        velocity, jerk = (rate[span] for rate in body.rates(parts, cutoff))  # (S, P, D)
        known = np.asarray(np.isfinite(jerk).all(axis=2))
        points = known.mean(axis=0) >= 0.8
        moments = np.asarray(known[:, points].all(axis=1))
        if not points.any() or not mostly(moments):
            return Unknown("too few points are seen without a gap")
        peak = float(np.sqrt(np.square(velocity[moments][:, points]).sum(axis=(1, 2))).max())
        if peak < body.still(int(points.sum()), times=2.5):
            return Unknown("hardly anything moves")
        squared = float(np.square(jerk[moments][:, points]).sum(axis=(1, 2)).mean())
        noise = shaking[points].sum() * body.dimensions * shake_left(body.fps, min(cutoff, 0.4 * body.fps), 3) ** 2
        if noise <= NOISY * squared:
            seconds = (span.stop - span.start) / RATE
            return -float(np.log(seconds**4 * (squared - noise) / peak**2))
    return Unknown("the joints shake so much that nothing can be said of it")


def symmetries(body: Movement, span: slice) -> Iterator[Found]:
    """Left against right: how they are held, and how much they move."""
    if not body.limbs:
        why = Unknown(f"the skeleton {body.skeleton.name!r} names no mirrored pairs")
        yield from (("symmetry", why), ("evenness", why))
        return
    left, right = (body.joints[span][:, [pair[side] for pair in body.limbs]] - body.centre[span][:, None] for side in (0, 1))  # (S, L, D)
    yield "symmetry", _alike(left, _mirrored(right, across_trunk(body, span)))
    moved = [np.linalg.norm(change(side), axis=2) for side in (left, right)]  # (S, L) each
    both = np.isfinite(moved[0]) & np.isfinite(moved[1])
    if not mostly(both):
        yield "evenness", Unknown("left and right are seen too little at the same time")
        return
    sums = np.array([np.where(both, side, 0.0).sum(axis=0) for side in moved]) / RATE  # (2, L): ways gone
    if sums.sum() / (2 * both.sum() / RATE) < body.still():
        yield "evenness", Unknown("hardly anything moves")
    else:
        yield "evenness", float(1 - np.abs(sums[0] - sums[1]).sum() / sums.sum())


def _alike(left: Floats, mirrored: Floats) -> float | Unknown:
    """1 - the distance of the left side from the mirrored right, against how far both are from the centre."""
    apart = np.linalg.norm(left - mirrored, axis=2)
    known = np.isfinite(apart)
    if not mostly(known):
        return Unknown("left and right are seen too little at the same time")
    far = np.linalg.norm(left, axis=2) + np.linalg.norm(mirrored, axis=2)
    return float(1 - apart[known].sum() / max(far[known].sum(), 1e-9))


def _mirrored(right: Floats, across: Floats) -> Floats:
    """The right side (S, L, D) on the other side of the body: across the trunk in pictures, across its middle plane in 3D."""
    return np.asarray(right - 2 * np.einsum("gld,gd->gl", right, across)[..., None] * across[:, None])


def across_trunk(body: Movement, span: slice = slice(None)) -> Floats:
    """The direction (S, D) that goes from one side of the body to the other; NaN where it cannot be told."""
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
    long = np.linalg.norm(trunk, axis=1) >= SHORT_TRUNK * body.trunk_length
    return np.where(long[:, None], _unit(np.stack([trunk[:, 1], -trunk[:, 0]], axis=1)), np.nan)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def _over_points(vectors: Floats) -> Floats | None:
    """The mean size over the points at each moment, (S,), of those that are mostly seen; None where too little is."""
    sizes = np.linalg.norm(vectors, axis=2)
    kept = _enough(sizes)
    if kept is None:
        return None
    half = np.isfinite(kept).mean(axis=1) >= MOSTLY
    return np.nanmean(kept[half], axis=1) if mostly(half) else None


def _enough(sizes: Floats) -> Floats | None:
    """The columns (S, P) that are mostly known; None where none is."""
    kept = np.isfinite(sizes).mean(axis=0) >= MOSTLY
    return sizes[:, kept] if kept.any() else None


def _both(name: str, values: Floats | None, lacking: Unknown) -> Iterator[Found]:
    yield name, lacking if values is None else float(values.mean())
    yield f"{name} peak", lacking if values is None else float(values.max())


def _box(places: Floats) -> float:
    """The diagonal of the box that a way fills; NaN where it is mostly unknown."""
    known = np.asarray(np.isfinite(places).all(axis=1))
    if not mostly(known):
        return float("nan")
    return float(np.linalg.norm(places[known].max(axis=0) - places[known].min(axis=0)))


def _lacking(body: Movement, points: tuple[str, ...]) -> Unknown | None:
    """What a skeleton has not of these points."""
    absent = [point.replace("_", " ") for point in points if point not in body.points]
    return Unknown(f"the skeleton {body.skeleton.name!r} has no {' and no '.join(absent)}") if absent else None
