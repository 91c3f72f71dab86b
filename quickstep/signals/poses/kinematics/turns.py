"""Measure turns: about the vertical, from the line of shoulders and hips, and in the image plane, from the trunk.

In 2D, during a turn about the vertical, the line of the shoulders becomes narrower, crosses over and becomes wider again. The nose shows
the direction: it is on one side of the shoulders in one half of the turn. In 3D the turn is measured directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.body import Movement
from quickstep.signals.poses.kinematics.limbs import SHORT_TRUNK, across_trunk
from quickstep.signals.poses.kinematics.quantities import Unknown, Value, mostly_known
from quickstep.signals.poses.kinematics.smoothing import RATE, stretches

Floats = NDArray[np.float64]

MIN_TURN, MIN_TURN_2D = 1 / 8, 1 / 5  # of a turn: less to and fro is swaying; the second where only widths show it
FRONTAL = 0.95  # of its largest width: a line this wide counts as frontal
UPRIGHT = 0.5  # cosine of the trunk's angle to the vertical: with a smaller one, 2D poses do not show turns about the vertical
NARROWEST = {"shoulder": 0.15, "hip": 0.09}  # body lengths: least width of the lines of shoulders and hips from the front
NOSE = 0.03  # body lengths: least distance of the nose in front of the neck
_TOES = ("foot_index", "big_toe", "foot")
LONGEST_GAP = 0.4  # seconds for which a direction may be unknown on the way


@dataclass(frozen=True, eq=False)
class Turning:
    """Angles over time in turns, NaN where they are unknown."""

    angle: Floats | None  # (G,) its sign may be arbitrary
    signed: Floats | None  # (G,) the angle with its direction, where that is known
    reason: str = ""  # why there is no angle
    unsigned_reason: str = ""  # why there is no direction
    least: float = MIN_TURN


def count_turns(vertical: Turning, plane: Turning, span: slice) -> Iterator[Value]:
    """Measure the turns and spins of a span of time."""
    yield from _total_and_net("turns", vertical, span)
    yield from _total_and_net("spins", plane, span)


def _total_and_net(name: str, turning: Turning, span: slice) -> Iterator[Value]:
    if turning.angle is None:
        yield name, Unknown(turning.reason)
        yield f"{name} net", Unknown(turning.reason)
        return
    if not mostly_known(np.isfinite(turning.angle[span])):
        reason = Unknown(turning.reason or "the direction of the body is visible too rarely")
        yield from ((name, reason), (f"{name} net", reason))
        return
    total = sum(travelled(path, turning.least) for path in _paths(turning.angle[span])) + 0.0
    yield name, total
    if turning.signed is None or not mostly_known(np.isfinite(turning.signed[span])):
        yield f"{name} net", Unknown(turning.unsigned_reason or "the side is visible too rarely")
        return
    yield f"{name} net", _net(turning, span, total)


def _net(turning: Turning, span: slice, total: float) -> float:
    """Return the turns with their direction, scaled from the stretches where it is known to the total."""
    assert turning.signed is not None
    paths = _paths(turning.signed[span])
    net = sum(float(path[-1] - path[0]) for path in paths)
    if turning.signed is turning.angle:
        return net + 0.0
    length = sum(travelled(path, 0.0) for path in paths)
    return float(total * np.clip(net / length, -1, 1)) + 0.0 if length > 0 else 0.0


def _paths(angle: Floats) -> list[Floats]:
    return [angle[start:end] for start, end in stretches(np.isfinite(angle))]


def travelled(angle: Floats, least: float) -> float:
    """Return how far an angle went, to and fro added up; it counts as back only if it is at least `least`."""
    total, extreme, direction = 0.0, float(angle[0]), 0
    low = high = extreme
    for value in angle.tolist():
        low, high = min(low, value), max(high, value)
        if direction == 0 and high - low >= least:
            direction = 1 if value == high else -1
            total, extreme = high - low, value
        elif direction and (value - extreme) * direction > 0:
            total += abs(value - extreme)
            extreme = value
        elif direction and (extreme - value) * direction >= least:
            direction, total, extreme = -direction, total + abs(value - extreme), value
    return total


# -- about the vertical ------------------------------------------------------------------------------------------------------


def about_vertical(body: Movement) -> Turning:
    """Return how far the body has turned about the vertical since the start, + to its own left."""
    pairs = [joint for joint in ("shoulder", "hip") if {f"left_{joint}", f"right_{joint}"} <= body.points.keys()]
    if not pairs:
        return Turning(None, None, f"the skeleton {body.skeleton.name!r} has neither both shoulders nor both hips")
    if not body.upright:
        return Turning(None, None, "the upward axis is not clear")
    return _in_3d(body) if body.dimensions == 3 else _in_2d(body, pairs)


def _in_3d(body: Movement) -> Turning:
    """Add up the component of the body's rotation about the vertical."""
    across = across_trunk(body)  # (G, 3) to the left of the body
    trunk = body.trunk if body.trunk is not None else np.tile([0.0, 1.0, 0.0], (len(across), 1))
    along = trunk - np.sum(trunk * across, axis=1, keepdims=True) * across
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    frame = np.stack([across, along, np.cross(across, along)], axis=2)  # (G, 3, 3), columns: left, up the trunk, forwards
    steps = np.einsum("gij,gkj->gik", frame[1:], frame[:-1])  # the turn from each moment to the next
    yaw = (steps[:, 0, 2] - steps[:, 2, 0]) / 2  # of a small turn: its part about the second axis
    angle = _cumulated(np.concatenate([[0.0], np.arcsin(np.clip(yaw, -1, 1))]), np.isfinite(frame).all(axis=(1, 2)))
    angle *= _handedness(body, frame[..., 2]) / (2 * np.pi)
    return Turning(angle, angle, "the line of the shoulders is visible too rarely")


def _cumulated(steps: Floats, known: NDArray[np.bool_]) -> Floats:
    total = np.cumsum(np.where(np.isfinite(steps), steps, 0.0))
    return np.where(known, total, np.nan)


def _handedness(body: Movement, forwards: Floats) -> int:
    """Return -1 if the axes are left-handed: then noses and toes point backwards."""
    ahead = []
    if "head" in body.points and body.skeleton.find("nose") is not None and body.skeleton.torso is not None:
        neck = body.joints[:, list(body.skeleton.torso[0])].mean(axis=1)
        ahead.append(np.einsum("gd,gd->g", body.points["head"] - neck, forwards))
    for side in ("left", "right"):
        toe = next((joint for name in _TOES if (joint := body.skeleton.find(f"{side}_{name}")) is not None), None)
        ankle = body.skeleton.find(f"{side}_ankle")
        if toe is not None and ankle is not None:
            ahead.append(np.einsum("gd,gd->g", body.joints[:, toe] - body.joints[:, ankle], forwards))
    angles = np.concatenate(ahead) if ahead else np.zeros(0)
    angles = angles[np.isfinite(angles)]
    return -1 if len(angles) and np.median(angles) < 0 else 1


def _in_2d(body: Movement, pairs: list[str]) -> Turning:
    """Derive the turn from the widths of the lines of shoulders and hips, its direction from the nose."""
    across = across_trunk(body)  # (G, 2); to the right of the picture for somebody upright
    upright = np.ones(len(across), dtype=bool)
    if body.tilt is not None:
        upright = np.abs(body.tilt) >= UPRIGHT
        across = across * np.where(body.tilt < 0, -1.0, 1.0)[:, None]  # upside down the left is on the other side
    widths = []
    for joint in pairs:
        line = np.einsum("gd,gd->g", body.points[f"left_{joint}"] - body.points[f"right_{joint}"], across)
        widths.append(line / _largest(line, NARROWEST[joint]))
    counts = np.isfinite(widths).sum(axis=0)
    facing = np.where(counts > 0, np.nansum(widths, axis=0) / np.maximum(counts, 1), np.nan)
    facing = np.where(upright, np.clip(facing, -1, 1), np.nan)  # cosine of the turn: 1 towards the camera
    upside_down = np.zeros(len(across), dtype=bool) if body.tilt is None else body.tilt < 0
    folded = np.arccos(facing) / (2 * np.pi)
    folded = np.where(upside_down, *(_bridge_gaps(np.where(upside_down == side, folded, np.nan)) for side in (True, False)))
    reason = "the trunk is not upright, or the shoulders are visible too rarely"
    nose = body.points.get("head") if body.skeleton.find("nose") is not None else None
    if nose is None:
        no_nose = f"the nose shows the side of a turn, and the skeleton {body.skeleton.name!r} has none"
        return Turning(folded, None, reason, no_nose, MIN_TURN_2D)
    torso = body.skeleton.torso
    middle = body.joints[:, list(torso[0])].mean(axis=1) if torso is not None else _middle(body, pairs[0])
    ahead = np.einsum("gd,gd->g", nose - middle, across)
    aside = np.clip(ahead / _largest(ahead, NOSE), -1, 1)  # sine of the turn
    return Turning(folded, _unwrapped(np.arctan2(aside, facing)), reason, "the nose is visible too rarely", MIN_TURN_2D)


def _middle(body: Movement, joint: str) -> Floats:
    return np.asarray((body.points[f"left_{joint}"] + body.points[f"right_{joint}"]) / 2)


def _largest(line: Floats, least: float) -> float:
    sizes = np.abs(line[np.isfinite(line)])
    return max(FRONTAL * float(np.percentile(sizes, 95)), least) if len(sizes) else least


# -- in the image plane ------------------------------------------------------------------------------------------------------


def in_plane(body: Movement) -> Turning:
    """Return how far the trunk has turned in the image plane, + counter-clockwise; in 3D in the vertical plane in which it moves most."""
    if body.trunk is None:
        return Turning(None, None, f"the skeleton {body.skeleton.name!r} has no trunk: that needs hips, and shoulders or a neck")
    trunk = body.trunk
    if body.dimensions == 3:
        if not body.upright:
            return Turning(None, None, "the upward axis is not clear")
        trunk = np.stack([trunk[:, [0, 2]] @ _main_direction(trunk[:, [0, 2]]), trunk[:, 1]], axis=1)
    clear = np.linalg.norm(trunk, axis=1) >= SHORT_TRUNK * body.trunk_length
    angle = _bridge_gaps(_unwrapped(np.where(clear, np.arctan2(-trunk[:, 0], trunk[:, 1]), np.nan), over_gaps=True))
    if body.dimensions == 3:
        return Turning(angle, None, "the trunk is visible too rarely", "in 3D the side of the viewer is unknown")
    return Turning(angle, angle, "the trunk is visible too rarely")


def _main_direction(flat: Floats) -> Floats:
    """Return the main direction (2,) of vectors."""
    rows = flat[np.isfinite(flat).all(axis=1)]
    if not len(rows):
        return np.array([1.0, 0.0])
    return np.asarray(np.linalg.svd(rows.T @ rows)[0][:, 0])


def _unwrapped(angle: Floats, *, over_gaps: bool = False) -> Floats:
    """Unwrap radians to turns; over gaps by the shorter way, or each stretch by itself."""
    out = np.full_like(angle, np.nan)
    measured = np.isfinite(angle)
    if over_gaps:
        out[measured] = np.unwrap(angle[measured])
    else:
        for start, end in stretches(measured):
            out[start:end] = np.unwrap(angle[start:end])
    return out / (2 * np.pi)


def _bridge_gaps(angle: Floats) -> Floats:
    """Interpolate short gaps linearly."""
    measured = np.isfinite(angle)
    if not measured.any():
        return angle
    places = np.arange(len(angle))
    filled = np.interp(places, places[measured], angle[measured])
    for start, end in stretches(~measured):
        if end - start > LONGEST_GAP * RATE or start == 0 or end == len(angle):
            filled[start:end] = np.nan
    return filled
