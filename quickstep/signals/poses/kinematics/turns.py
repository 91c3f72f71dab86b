"""How often a body turns: about the vertical, seen from the line of shoulders and hips, and in the picture plane, by its trunk.

Pictures show a turn about the vertical as a line of shoulders that becomes narrower, crosses over and becomes wider again; to which side
it goes is told by the nose, which is on one side of the shoulders at one half of the way. In 3D the turn is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.kinematics.availability import Found, Unknown, mostly
from quickstep.signals.poses.kinematics.body import Movement
from quickstep.signals.poses.kinematics.limbs import SHORT_TRUNK, across_trunk
from quickstep.signals.poses.kinematics.smoothing import RATE, stretches

Floats = NDArray[np.float64]

LEAST, LEAST_SEEN = 1 / 8, 1 / 5  # of a turn: going to and fro by less is swaying; where a picture shows it by widths alone
NEARLY = 0.95  # of the widest that a line is seen, it counts as seen from the front
UPRIGHT = 0.5  # cosine of the trunk's angle to the vertical: beyond it a picture does not show turns about the vertical
NARROWEST = {"shoulder": 0.15, "hip": 0.09}  # body lengths: how wide the lines of shoulders and hips are at least, seen from the front
NOSE = 0.03  # body lengths that a nose lies before the neck, at least
_TOES = ("foot_index", "big_toe", "foot")
LONGEST_GAP = 0.4  # seconds for which a direction may be unknown on the way


@dataclass(frozen=True, eq=False)
class Turning:
    """Angles over time in turns, NaN where they are not known; `sided` says whether plus and minus mean anything."""

    angle: Floats | None  # (G,)
    sided: Floats | None  # (G,) the angle with its direction, where that is known
    why: str = ""  # where there is no angle
    why_not_sided: str = ""
    least: float = LEAST


def turning(vertical: Turning, plane: Turning, span: slice) -> Iterator[Found]:
    """The turns of a span of time."""
    yield from _both("turns", vertical, span)
    yield from _both("spins", plane, span)


def _both(name: str, found: Turning, span: slice) -> Iterator[Found]:
    if found.angle is None:
        yield name, Unknown(found.why)
        yield f"{name} net", Unknown(found.why)
        return
    if not mostly(np.isfinite(found.angle[span])):
        why = Unknown(found.why or "the direction of the body is seen too little")
        yield from ((name, why), (f"{name} net", why))
        return
    total = sum(travelled(way, found.least) for way in _ways(found.angle[span])) + 0.0
    yield name, total
    if found.sided is None or not mostly(np.isfinite(found.sided[span])):
        yield f"{name} net", Unknown(found.why_not_sided or "to which side is seen too little")
        return
    yield f"{name} net", _net(found, span, total)


def _net(found: Turning, span: slice, total: float) -> float:
    """The turns with their direction: of what is known of it, scaled to all that was turned."""
    assert found.sided is not None
    ways = _ways(found.sided[span])
    net = sum(float(way[-1] - way[0]) for way in ways)
    if found.sided is found.angle:
        return net + 0.0
    gone = sum(travelled(way, 0.0) for way in ways)
    return float(total * np.clip(net / gone, -1, 1)) + 0.0 if gone > 0 else 0.0


def _ways(angle: Floats) -> list[Floats]:
    return [angle[start:end] for start, end in stretches(np.isfinite(angle))]


def travelled(angle: Floats, least: float) -> float:
    """How far an angle went in all, to and fro added up; less than `least` back is no way back."""
    total, extreme, going = 0.0, float(angle[0]), 0
    low = high = extreme
    for value in angle.tolist():
        low, high = min(low, value), max(high, value)
        if going == 0 and high - low >= least:
            going = 1 if value == high else -1
            total, extreme = high - low, value
        elif going and (value - extreme) * going > 0:
            total += abs(value - extreme)
            extreme = value
        elif going and (extreme - value) * going >= least:
            going, total, extreme = -going, total + abs(value - extreme), value
    return total


# -- about the vertical ------------------------------------------------------------------------------------------------------


def about_vertical(body: Movement) -> Turning:
    """How far the body has turned about the vertical since the beginning, + to its own left."""
    pairs = [joint for joint in ("shoulder", "hip") if {f"left_{joint}", f"right_{joint}"} <= body.points.keys()]
    if not pairs:
        return Turning(None, None, f"the skeleton {body.skeleton.name!r} has neither both shoulders nor both hips")
    if not body.upright:
        return Turning(None, None, "which way is up is not clear")
    return _in_space(body) if body.dimensions == 3 else _in_picture(body, pairs)


def _in_space(body: Movement) -> Turning:
    """The part of the body's turning that is about the vertical, added up."""
    across = across_trunk(body)  # (G, 3) to the left of the body
    trunk = body.trunk if body.trunk is not None else np.tile([0.0, 1.0, 0.0], (len(across), 1))
    along = trunk - np.sum(trunk * across, axis=1, keepdims=True) * across
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    frame = np.stack([across, along, np.cross(across, along)], axis=2)  # (G, 3, 3), columns: left, up the trunk, forwards
    steps = np.einsum("gij,gkj->gik", frame[1:], frame[:-1])  # the turn from each moment to the next
    yaw = (steps[:, 0, 2] - steps[:, 2, 0]) / 2  # of a small turn: its part about the second axis
    angle = _added(np.concatenate([[0.0], np.arcsin(np.clip(yaw, -1, 1))]), np.isfinite(frame).all(axis=(1, 2)))
    angle *= _handedness(body, frame[..., 2]) / (2 * np.pi)
    return Turning(angle, angle, "the line of the shoulders is seen too little")


def _added(steps: Floats, known: NDArray[np.bool_]) -> Floats:
    total = np.cumsum(np.where(np.isfinite(steps), steps, 0.0))
    return np.where(known, total, np.nan)


def _handedness(body: Movement, forwards: Floats) -> int:
    """-1 where the axes are left-handed, which shows in noses and toes that point backwards."""
    ahead = []
    if "head" in body.points and body.skeleton.find("nose") is not None and body.skeleton.torso is not None:
        neck = body.joints[:, list(body.skeleton.torso[0])].mean(axis=1)
        ahead.append(np.einsum("gd,gd->g", body.points["head"] - neck, forwards))
    for side in ("left", "right"):
        toe = next((joint for name in _TOES if (joint := body.skeleton.find(f"{side}_{name}")) is not None), None)
        ankle = body.skeleton.find(f"{side}_ankle")
        if toe is not None and ankle is not None:
            ahead.append(np.einsum("gd,gd->g", body.joints[:, toe] - body.joints[:, ankle], forwards))
    known = np.concatenate(ahead) if ahead else np.zeros(0)
    known = known[np.isfinite(known)]
    return -1 if len(known) and np.median(known) < 0 else 1


def _in_picture(body: Movement, pairs: list[str]) -> Turning:
    across = across_trunk(body)  # (G, 2); to the right of the picture for somebody upright
    standing = np.ones(len(across), dtype=bool)
    if body.tilt is not None:
        standing = np.abs(body.tilt) >= UPRIGHT
        across = across * np.where(body.tilt < 0, -1.0, 1.0)[:, None]  # upside down the left is on the other side
    widths = []
    for joint in pairs:
        line = np.einsum("gd,gd->g", body.points[f"left_{joint}"] - body.points[f"right_{joint}"], across)
        widths.append(line / _widest(line, NARROWEST[joint]))
    known = np.isfinite(widths).sum(axis=0)
    facing = np.where(known > 0, np.nansum(widths, axis=0) / np.maximum(known, 1), np.nan)
    facing = np.where(standing, np.clip(facing, -1, 1), np.nan)  # cosine of the turn: 1 towards the camera
    upside_down = np.zeros(len(across), dtype=bool) if body.tilt is None else body.tilt < 0
    folded = np.arccos(facing) / (2 * np.pi)
    folded = np.where(upside_down, *(_bridged(np.where(upside_down == side, folded, np.nan)) for side in (True, False)))
    why = "the trunk is not upright, or the shoulders are seen too little"
    nose = body.points.get("head") if body.skeleton.find("nose") is not None else None
    if nose is None:
        lacking = f"to which side one turns is told by the nose, which the skeleton {body.skeleton.name!r} lacks"
        return Turning(folded, None, why, lacking, LEAST_SEEN)
    torso = body.skeleton.torso
    middle = body.joints[:, list(torso[0])].mean(axis=1) if torso is not None else _middle(body, pairs[0])
    ahead = np.einsum("gd,gd->g", nose - middle, across)
    aside = np.clip(ahead / _widest(ahead, NOSE), -1, 1)  # sine of the turn
    return Turning(folded, _unwrapped(np.arctan2(aside, facing)), why, "the nose is seen too little", LEAST_SEEN)


def _middle(body: Movement, joint: str) -> Floats:
    return np.asarray((body.points[f"left_{joint}"] + body.points[f"right_{joint}"]) / 2)


def _widest(line: Floats, least: float) -> float:
    known = np.abs(line[np.isfinite(line)])
    return max(NEARLY * float(np.percentile(known, 95)), least) if len(known) else least


# -- in the picture plane ----------------------------------------------------------------------------------------------------


def in_plane(body: Movement) -> Turning:
    """How far the trunk has turned in the picture plane, + counter-clockwise; in 3D in the upright plane in which it moves most."""
    if body.trunk is None:
        return Turning(None, None, f"the skeleton {body.skeleton.name!r} has no trunk: it takes hips, and shoulders or a neck")
    trunk = body.trunk
    if body.dimensions == 3:
        if not body.upright:
            return Turning(None, None, "which way is up is not clear")
        trunk = np.stack([trunk[:, [0, 2]] @ _main_direction(trunk[:, [0, 2]]), trunk[:, 1]], axis=1)
    clear = np.linalg.norm(trunk, axis=1) >= SHORT_TRUNK * body.trunk_length
    angle = _bridged(_unwrapped(np.where(clear, np.arctan2(-trunk[:, 0], trunk[:, 1]), np.nan), over_gaps=True))
    if body.dimensions == 3:
        return Turning(angle, None, "the trunk is seen too little", "from which side one looks is not known in 3D")
    return Turning(angle, angle, "the trunk is seen too little")


def _main_direction(flat: Floats) -> Floats:
    """The direction (2,) in which these mostly lie."""
    known = flat[np.isfinite(flat).all(axis=1)]
    if not len(known):
        return np.array([1.0, 0.0])
    return np.asarray(np.linalg.svd(known.T @ known)[0][:, 0])


def _unwrapped(angle: Floats, *, over_gaps: bool = False) -> Floats:
    """Radians as turns that go on beyond one; over gaps the shorter way is taken, or each piece counts by itself."""
    out = np.full_like(angle, np.nan)
    known = np.isfinite(angle)
    if over_gaps:
        out[known] = np.unwrap(angle[known])
    else:
        for start, end in stretches(known):
            out[start:end] = np.unwrap(angle[start:end])
    return out / (2 * np.pi)


def _bridged(angle: Floats) -> Floats:
    """Short gaps filled by straight lines."""
    known = np.isfinite(angle)
    if not known.any():
        return angle
    places = np.arange(len(angle))
    filled = np.interp(places, places[known], angle[known])
    for start, end in stretches(~known):
        if end - start > LONGEST_GAP * RATE or start == 0 or end == len(angle):
            filled[start:end] = np.nan
    return filled
