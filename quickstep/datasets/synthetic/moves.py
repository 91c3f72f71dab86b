"""The moves that can be drawn: each is a function from a beat and a body to a Pose over time.

Moves that only motion tells apart are one movement with another `way` or pace: mirrored, reversed or slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quickstep.datasets.synthetic.body import SIDES, Array, Body, Pose, planted, rotation

TAU = 2 * np.pi


@dataclass(frozen=True, eq=False)
class Beat:
    """The timing and style of one performance of a move."""

    times: Array  # (T,) seconds
    phase: Array  # (T,) cycles of the move
    way: float  # +1 or -1: to the left or the right, forwards or backwards
    style: Array  # (6,) in 0..1: random variations of this performance


@dataclass(frozen=True)
class Move:
    """A move and what distinguishes it from the others."""

    about: str
    pose: Callable[[Beat, Body], Pose]
    pace: float  # cycles a second
    way: float = 1.0
    pair: str | None = None  # the move with the same single frames
    turns: bool = False  # whether mirroring reverses `way`
    once: bool = False  # whether it is performed once, over the length of the video, and not in cycles


def spin(beat: Beat, _: Body) -> Pose:
    """Turn upright on one leg, the other foot at the knee or trailing, arms out or close."""
    angle = TAU * beat.phase
    turn = rotation("y", beat.way * angle + TAU * beat.style[5]) @ rotation("z", 0.05 * np.sin(0.7 * angle))
    free = 0.35 + 0.5 * beat.style[0]
    lift = 0.12 + 0.3 * beat.style[1] + 0.05 * np.sin(0.5 * angle)
    feet = np.stack([_stack(0.02, -0.97, 0 * angle), _stack(-0.12 - 0.25 * free, -0.93 + lift, 0.1 * free)], 1)
    open_ = 0.25 + 0.7 * beat.style[2] + 0.15 * np.sin(0.61 * angle + 3)
    level = -0.35 + 0.6 * beat.style[3]
    left = _stack(0.35 + 0.6 * open_, level + 0 * angle, 0.45 - 0.35 * open_)
    right = _stack(-0.3 - 0.5 * open_, level - 0.25 * beat.style[4] + 0 * angle, 0.6 - 0.4 * open_)
    chest = rotation("z", 0.08 * np.sin(0.9 * angle + 1))
    return _pose(turn, feet=feet, hands=np.stack([left, right], 1), chest=chest, knees=_pair(_row(0, 0, 1), _row(-0.5, 0.2, 1), len(angle)))


def toprock(beat: Beat, body: Body) -> Pose:
    """Step upright across the middle, left and right in turn, with the arms opening."""
    angle = TAU * beat.phase
    sway, tall = np.sin(angle), body.height
    turn = rotation("y", 0.5 * sway + 0.6 * (beat.style[0] - 0.5))
    root = _stack(0.05 * tall * sway, 0.5 * tall - 0.02 * tall * np.cos(2 * angle), 0 * angle)
    soles = np.zeros((len(angle), 2, 3))
    for side in (0, 1):
        step = np.clip(SIDES[side] * sway, 0, None) ** 0.7
        soles[:, side, 0] = SIDES[side] * (0.08 * tall - (0.16 + 0.1 * beat.style[1]) * tall * step)
        soles[:, side, 1] = 0.07 * tall * np.clip(np.sin(2 * angle), 0, None) * (step > 0)
        soles[:, side, 2] = (0.16 + 0.1 * beat.style[2]) * tall * step - 0.05 * tall
    wide = 0.5 - 0.5 * np.cos(2 * angle + 0.6)
    hands = np.stack(
        [_stack(side * (0.1 + 0.75 * wide), -0.25 + 0.3 * wide * beat.style[3] + 0 * angle, 0.62 - 0.4 * wide) for side in SIDES], 1
    )
    chest = rotation("y", -0.6 * sway) @ rotation("x", 0.16 + 0.05 * np.cos(2 * angle))
    return _pose(turn, root=root, feet=planted(root, turn, body, soles), hands=hands, chest=chest)


def stroll(beat: Beat, body: Body) -> Pose:
    """Step in profile to and fro; forwards it is a walk, backwards, with the same steps, a moonwalk."""
    angle, tall = TAU * beat.phase, body.height
    stride = (0.12 + 0.03 * beat.style[0]) * tall
    reach = 0.6 + 0.15 * beat.style[1]  # metres to each side of the middle
    distance = 4 * stride * beat.phase / (4 * reach) + beat.style[2]  # in lengths of the way there and back
    cycle = distance % 1.0
    place = reach * (np.abs(4 * cycle - 2) - 1)  # a triangle wave: starts at +reach and goes to -reach
    forth = np.clip(np.sin(TAU * cycle) * 5, -1, 1)  # -place's direction
    turn = rotation("y", -beat.way * forth * 1.45)
    root = _stack(place, 0.505 * tall + 0.008 * tall * np.cos(2 * angle), 0 * angle)
    feet = np.zeros((len(angle), 2, 3))
    toes = np.zeros((len(angle), 2, 3))
    for side in (0, 1):
        step = (beat.phase + 0.5 * side) % 1.0
        swing = step >= 0.5
        forward = np.where(swing, 4 * step - 3, 1 - 4 * step) * stride
        heel = np.where(swing, np.sin(TAU * (step - 0.5)), 0.0)  # the heel lifts while the foot comes forward
        feet[:, side] = _stack(0 * angle, (body.ankle + 0.05 * tall * heel - root[:, 1]) / body.leg, forward / body.leg)
        toes[:, side] = _stack(0 * angle, -0.75 * heel, 1 + 0 * angle)
    swing_arm = 0.35 * np.cos(angle)
    hands = np.stack([_stack(0.12 * side + 0 * angle, -0.9 + 0 * angle, 0.1 - side * swing_arm) for side in SIDES], 1)
    chest = rotation("y", 0.12 * np.cos(angle)) @ rotation("x", 0.06 + 0.08 * beat.style[3] + 0 * angle)
    return _pose(turn, root=root, feet=feet, toes=toes, hands=hands, chest=chest)


def windmill(beat: Beat, _: Body) -> Pose:
    """Roll over back and shoulders, hips off the ground, the legs a wide V that goes round."""
    angle = TAU * beat.phase * beat.way
    tilt = -1.95 - 0.22 * np.cos(angle)  # the spine lies nearly flat, hips higher than the head
    turn = rotation("y", angle + TAU * beat.style[5]) @ rotation("x", tilt) @ rotation("y", -angle)
    wide = 0.72 + 0.15 * beat.style[0]
    feet = _legs(wide, -0.62, 0.25 + 0.2 * np.sin(angle), len(angle))
    tuck = 0.35 + 0.15 * np.cos(angle)
    hands = np.stack([_stack(side * (0.15 + 0.3 * beat.style[1]) + 0 * angle, -0.45 + 0 * angle, tuck) for side in SIDES], 1)
    return _pose(turn, feet=feet, hands=hands, chest=rotation("x", 0.35 + 0 * angle), toes=_along(feet), air=0.0)


def halo(beat: Beat, _: Body) -> Pose:
    """Circle on the rim of the head, hands pushing, hips high, the legs apart."""
    angle = TAU * beat.phase * beat.way
    rock = 0.9 * np.sin(angle)
    turn = rotation("y", angle + TAU * beat.style[5]) @ rotation("x", -2.35 - 0.2 * np.cos(angle)) @ rotation("y", rock)
    feet = _legs(0.6 + 0.15 * beat.style[0], -0.7, 0.35 + 0.15 * np.cos(angle), len(angle))
    hands = np.stack([_stack(side * 0.45 + 0 * angle, 0.35 + 0.2 * np.sin(angle + side), 0.5 + 0 * angle) for side in SIDES], 1)
    return _pose(
        turn, feet=feet, hands=hands, chest=rotation("x", 0.3 + 0 * angle), head=rotation("z", 0.5 * np.sin(angle)), toes=_along(feet)
    )


def swipe(beat: Beat, body: Body) -> Pose:
    """Throw the legs over from a bridge on the hands, twisting once, and land in the bridge again."""
    angle = TAU * beat.phase
    twist = angle - 0.75 * np.sin(angle)  # rests in the bridge, then goes quickly
    throw = (0.5 - 0.5 * np.cos(twist)) ** 0.8  # 0 in the bridge, 1 in the air
    turn = (
        rotation("y", beat.way * 0.5 * twist + TAU * beat.style[5])
        @ rotation("x", -1.45 - (0.25 + 0.35 * beat.style[0]) * throw)
        @ rotation("y", beat.way * twist)
    )
    down = -turn[:, 1, :]  # the world's down in the pelvis's axes
    away = np.array([0.0, -1.0, 0.0])
    bridge = np.stack([0.72 * down + 0.35 * away + SIDES[s] * np.array([0.22, 0, 0]) for s in (0, 1)], 1)
    thrown = _legs(0.55 + 0.2 * beat.style[1], -0.75, 0.2 + 0 * angle, len(angle))
    feet = bridge + (thrown - bridge) * throw[:, None, None]
    hands = np.stack([0.93 * down + SIDES[s] * np.array([0.25, 0, 0]) for s in (0, 1)], 1)
    air = 0.03 * body.height * throw
    return _pose(turn, feet=feet, hands=hands, knees=_pair(_row(0.2, 0, 1), _row(-0.2, 0, 1), len(angle)), toes=_along(feet), air=air)


def headspin(beat: Beat, _: Body) -> Pose:
    """Spin upside down on the head, legs open or bent."""
    angle = TAU * beat.phase * beat.way
    turn = rotation("y", angle + TAU * beat.style[5]) @ rotation("z", np.pi + 0.12 * np.sin(0.8 * angle))
    bend = 0.75 + 0.2 * np.sin(0.4 * angle)
    feet = np.stack([_stack(side * (0.3 + 0.5 * beat.style[0]) + 0 * angle, -bend, 0.2 * side + 0 * angle) for side in SIDES], 1)
    hands = np.stack([_stack(side * 0.5 + 0 * angle, 0.45 + 0.2 * beat.style[1] + 0 * angle, 0.35 + 0 * angle) for side in SIDES], 1)
    return _pose(turn, feet=feet, hands=hands, toes=_along(feet))


def sequence(beat: Beat, body: Body) -> Pose:
    """Reach up once and drop to a crouch once, in this order or in the other."""
    tall, length = body.height, beat.times[-1] + beat.times[1]
    span = length * (0.3 + 0.06 * beat.style[0])
    start = (length - 2 * span) * (0.15 + 0.7 * beat.style[1])
    first, second = _swell((beat.times - start) / span), _swell((beat.times - start - span) / span)
    reach, crouch = (first, second) if beat.way > 0 else (second, first)
    sway = np.sin(TAU * beat.phase)
    turn = rotation("y", 1.2 * (beat.style[2] - 0.5) + 0.1 * sway)
    root = _stack(0.03 * tall * sway, (0.51 - (0.2 + 0.06 * beat.style[3]) * crouch) * tall - 0.01 * tall * sway**2, 0 * sway)
    soles = np.zeros((len(sway), 2, 3))
    soles[:, :, 0] = SIDES * 0.1 * tall
    rest = np.stack([_stack(side * 0.35 + 0 * sway, -0.78 + 0.05 * sway, 0.2 + 0 * sway) for side in SIDES], 1)
    sky = np.stack([_stack(side * 0.35 + 0.25 * np.sin(2 * TAU * beat.phase), 0.88 + 0 * sway, 0.1 + 0 * sway) for side in SIDES], 1)
    low = np.stack([_stack(side * 0.3 + 0 * sway, -0.55 + 0 * sway, 0.6 + 0 * sway) for side in SIDES], 1)
    hands = rest + reach[:, None, None] * (sky - rest) + crouch[:, None, None] * (low - rest)
    chest = rotation("x", 0.05 + 0.6 * crouch - 0.15 * reach)
    return _pose(turn, root=root, feet=planted(root, turn, body, soles), hands=hands, chest=chest)


def groove(beat: Beat, body: Body) -> Pose:
    """Step to the side and back with a bounce, fast or slow."""
    angle, tall = TAU * beat.phase, body.height
    sway = np.sin(angle)
    turn = rotation("y", 0.25 * sway + 0.9 * (beat.style[0] - 0.5))
    root = _stack(0.1 * tall * sway, (0.49 - 0.03 * np.cos(2 * angle)) * tall, 0 * angle)
    soles = np.zeros((len(angle), 2, 3))
    for side in (0, 1):
        out = SIDES[side] * np.cos(angle)
        soles[:, side] = _stack(
            SIDES[side] * 0.09 * tall + 0.1 * tall * sway + 0.06 * tall * out, 0.05 * tall * np.clip(out, 0, None), 0 * angle
        )
    lift = 0.3 + 0.4 * beat.style[1]
    hands = np.stack([_stack(side * 0.3 + 0.15 * sway, -0.4 + lift * side * sway, 0.5 + 0 * angle) for side in SIDES], 1)
    chest = rotation("z", -0.15 * sway) @ rotation("x", 0.1 + 0 * angle)
    return _pose(turn, root=root, feet=planted(root, turn, body, soles), hands=hands, chest=chest)


def level_change(beat: Beat, body: Body) -> Pose:
    """Sink once from standing to a low crouch with the hands near the ground, or rise from it through the same poses."""
    tall, length = body.height, beat.times[-1] + beat.times[1]
    span = length * (0.35 + 0.25 * beat.style[0])
    share = np.clip((beat.times - (length - span) * (0.15 + 0.7 * beat.style[1])) / span, 0, 1)
    low = share**2 * (3 - 2 * share)
    low = low if beat.way > 0 else 1 - low
    sway = np.sin(TAU * beat.phase)
    turn = rotation("y", 1.2 * (beat.style[2] - 0.5) + 0.08 * sway)
    root = _stack(0.02 * tall * sway, (0.51 - (0.26 + 0.06 * beat.style[3]) * low) * tall - 0.008 * tall * sway**2, 0 * sway)
    soles = np.zeros((len(sway), 2, 3))
    soles[:, :, 0] = SIDES * (0.1 + 0.05 * beat.style[4]) * tall
    up = np.stack([_stack(side * (0.35 + 0.3 * beat.style[5]) + 0 * sway, -0.5 + 0.06 * sway, 0.35 + 0 * sway) for side in SIDES], 1)
    down = np.stack([_stack(side * 0.35 + 0 * sway, -0.7 + 0 * sway, 0.6 + 0 * sway) for side in SIDES], 1)
    hands = up + low[:, None, None] * (down - up)
    return _pose(turn, root=root, feet=planted(root, turn, body, soles), hands=hands, chest=rotation("x", 0.08 + 0.5 * low))


MOVES: dict[str, Move] = {
    "windmill": Move(
        "rolls over back and shoulders with the legs a wide V going round; one frame tells it from standing moves", windmill, 0.75
    ),
    "halo": Move("circles on the rim of the head, hips high; shares many frames with the windmill", halo, 0.8),
    "swipe": Move("from a bridge on the hands the legs are thrown over; one frame mostly tells it", swipe, 0.6),
    "headspin": Move("upside down on the head, going round; one frame tells it", headspin, 0.9),
    "toprock": Move("upright steps across the middle with opening arms; one frame mostly tells it", toprock, 0.9),
    "walk": Move("steps to and fro in profile, travelling the way the dancer faces", stroll, 0.75, 1.0, "moonwalk"),
    "moonwalk": Move("the walk's very steps, sliding backwards", stroll, 0.75, -1.0, "walk"),
    "spin-left": Move("turns on one leg towards the dancer's left: counter-clockwise seen from above", spin, 0.8, 1.0, "spin-right", True),
    "spin-right": Move("turns on one leg towards the dancer's right: clockwise seen from above", spin, 0.8, -1.0, "spin-left", True),
    "reach-then-drop": Move("first a reach to the sky, then a drop to a crouch", sequence, 0.6, 1.0, "drop-then-reach", once=True),
    "drop-then-reach": Move("first a drop to a crouch, then a reach to the sky", sequence, 0.6, -1.0, "reach-then-drop", once=True),
    "groove-fast": Move("steps side to side with a bounce, quickly", groove, 1.35, 1.0, "groove-slow"),
    "groove-slow": Move("the same steps side to side, taking twice as long", groove, 0.6, 1.0, "groove-fast"),
    "drop": Move("sinks from standing to a low crouch", level_change, 0.8, 1.0, "rise", once=True),
    "rise": Move("rises from a low crouch through the same poses", level_change, 0.8, -1.0, "drop", once=True),
}


def _pose(turn: Array, *, feet: Array, hands: Array, **parts: Array | float) -> Pose:
    """Return a pose; parts that are not given hang naturally."""
    count = len(turn)
    still = np.broadcast_to(np.eye(3), (count, 3, 3))
    values: dict[str, Array] = {
        "root": np.tile([0.0, 1.0, 0.0], (count, 1)),
        "chest": still,
        "head": still,
        "elbows": _pair(_row(0.6, -0.4, -0.7), _row(-0.6, -0.4, -0.7), count),
        "knees": _pair(_row(0.15, 0, 1), _row(-0.15, 0, 1), count),
        "toes": _pair(_row(0.25, 0, 1), _row(-0.25, 0, 1), count),
        "air": np.zeros(count),
    }
    values.update({name: np.broadcast_to(value, values[name].shape) for name, value in parts.items()})
    return Pose(turn=turn, feet=feet, hands=hands, **values)


def _row(x: float, y: float, z: float) -> Array:
    return np.array([x, y, z], dtype=np.float64)


def _stack(x: Array | float, y: Array | float, z: Array | float) -> Array:
    return np.asarray(np.stack(np.broadcast_arrays(x, y, z), axis=-1), dtype=np.float64)


def _pair(left: Array, right: Array, count: int) -> Array:
    return np.tile(np.stack([left, right]), (count, 1, 1))


def _legs(wide: float, down: float, forward: Array, count: int) -> Array:
    """Return straight legs apart, (T, 2, 3)."""
    return np.stack([_stack(np.full(count, side * wide), np.full(count, down), forward) for side in SIDES], 1)


def _along(feet: Array) -> Array:
    """Return the direction of pointed, slightly flexed feet."""
    return np.asarray(feet + np.array([0.0, 0.0, 0.45]), dtype=np.float64)


def _swell(share: Array) -> Array:
    """Rise and fall once while `share` goes from 0 to 1, symmetrically."""
    inside = np.clip(share, 0.0, 1.0)
    result: Array = np.sin(np.pi * inside) ** 1.5
    return result
