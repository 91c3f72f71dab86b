"""Body, Pose and Figure: the length of the limbs, how they are held over time, and the position of every joint.

World and body axes agree when the dancer faces the camera: x to the dancer's left, y up, z forwards, in metres; the ground is y = 0.
In arrays of two, index 0 is the dancer's left and 1 the right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SIDES = np.array([1.0, -1.0])


@dataclass(frozen=True)
class Body:
    """The proportions of a body; lengths are in metres."""

    height: float = 1.7
    legs: float = 1.0  # relative to the default figure, as are the next three
    arms: float = 1.0
    width: float = 1.0
    head: float = 1.0

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Body:
        """Draw random proportions."""
        legs, arms, width, head = (float(rng.uniform(low, high)) for low, high in ((0.93, 1.07), (0.94, 1.06), (0.88, 1.2), (0.93, 1.1)))
        return cls(float(rng.uniform(1.52, 1.9)), legs, arms, width, head)

    @property
    def leg(self) -> float:
        """Length from hip to ankle, stretched."""
        return 0.49 * self.height * self.legs

    @property
    def arm(self) -> float:
        """Length from shoulder to wrist, stretched."""
        return 0.315 * self.height * self.arms

    @property
    def trunk(self) -> float:
        """Length from the middle of the hips to the root of the neck."""
        return float(0.295 * self.height / np.sqrt(self.legs))

    @property
    def skull(self) -> float:
        """Radius of the head."""
        return 0.066 * self.height * self.head

    @property
    def ankle(self) -> float:
        """Height of the ankle above the sole."""
        return 0.042 * self.height

    @property
    def hip(self) -> float:
        """Distance from the middle of the pelvis to a hip joint."""
        return 0.056 * self.height * self.width

    @property
    def shoulder(self) -> float:
        """Distance from the spine to a shoulder joint."""
        return 0.112 * self.height * (0.5 + 0.5 * self.width)


@dataclass(frozen=True, eq=False)
class Pose:
    """How a body is held in T frames; hands and feet are relative to shoulder and hip, in lengths of the stretched limb.

    `turn` is the pelvis in world axes, `chest` in pelvis axes, `head` in chest axes. Hands and elbows are in chest axes; feet, knees and
    toes in pelvis axes. Only changes of the height of `root` count, because the body is put on the ground.
    """

    root: Array  # (T, 3)
    turn: Array  # (T, 3, 3)
    chest: Array  # (T, 3, 3)
    head: Array  # (T, 3, 3)
    hands: Array  # (T, 2, 3)
    feet: Array  # (T, 2, 3)
    elbows: Array  # (T, 2, 3) the direction of an elbow
    knees: Array  # (T, 2, 3)
    toes: Array  # (T, 2, 3) the direction of the foot
    air: Array  # (T,) metres between the lowest point and the ground


@dataclass(frozen=True, eq=False)
class Figure:
    """The position of every part of a body in T frames, in world axes."""

    body: Body
    pelvis: Array  # (T, 3)
    neck: Array  # (T, 3)
    skull: Array  # (T, 3) the middle of the head
    shoulders: Array  # (T, 2, 3)
    elbows: Array
    wrists: Array
    fingers: Array
    hips: Array
    knees: Array
    ankles: Array
    toes: Array
    turn: Array  # (T, 3, 3) pelvis, chest and head in world axes
    chest: Array
    head: Array

    @property
    def coco(self) -> Array:
        """The seventeen COCO joints, (T, 17, 3): nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; left first."""
        face = self.skull[:, None] + np.einsum("tij,kj->tki", self.head, FACE * self.body.skull)
        limbs = [self.shoulders, self.elbows, self.wrists, self.hips, self.knees, self.ankles]
        return np.concatenate([face, *limbs], axis=1)


POINTS = ("pelvis", "neck", "skull", "shoulders", "elbows", "wrists", "fingers", "hips", "knees", "ankles", "toes")
FACE = np.array([(0, -0.1, 0.98), (0.33, 0.12, 0.9), (-0.33, 0.12, 0.9), (0.95, 0.0, 0.0), (-0.95, 0.0, 0.0)])  # (5, 3) in head radii


def rotation(axis: str, angle: Array) -> Array:
    """Return right-handed rotations about x, y or z, (T, 3, 3)."""
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = {
        "x": [[one, zero, zero], [zero, cos, -sin], [zero, sin, cos]],
        "y": [[cos, zero, sin], [zero, one, zero], [-sin, zero, cos]],
        "z": [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]],
    }[axis]
    return np.moveaxis(np.array(rows), 2, 0)


def figure_of(pose: Pose, body: Body) -> Figure:
    """Return the joints of a body in a pose, put on the ground."""
    chest, pelvis = pose.turn @ pose.chest, pose.root
    head = chest @ pose.head
    across = SIDES[:, None] * np.array([1.0, 0.0, 0.0])  # (2, 3)
    hips = pelvis[:, None] + _apply(pose.turn, across * body.hip)
    waist = pelvis + 0.42 * body.trunk * pose.turn[:, :, 1]
    neck = waist + 0.58 * body.trunk * chest[:, :, 1]
    shoulders = neck[:, None] + _apply(chest, across * body.shoulder + [0.0, -0.03 * body.height, 0.0])
    skull = neck + head[:, :, 1] * (0.035 * body.height + body.skull) + head[:, :, 2] * 0.01 * body.height
    elbows, wrists = _reach(shoulders, body.arm, 0.53, _apply(chest, pose.hands), _apply(chest, pose.elbows))
    knees, ankles = _reach(hips, body.leg, 0.5, _apply(pose.turn, pose.feet), _apply(pose.turn, pose.knees))
    toes = ankles + _unit(_apply(pose.turn, pose.toes)) * 0.105 * body.height
    fingers = wrists + _unit(wrists - elbows) * 0.055 * body.height
    parts = (pelvis, neck, skull, shoulders, elbows, wrists, fingers, hips, knees, ankles, toes)
    drop = pose.air - _lowest(body, parts)  # (T,)
    lift = drop[:, None] * np.array([0.0, 1.0, 0.0])
    moved = [part + (lift if part.ndim == 2 else lift[:, None]) for part in parts]
    return Figure(body, **dict(zip(POINTS, moved, strict=True)), turn=pose.turn, chest=chest, head=head)


def mirrored(figure: Figure) -> Figure:
    """Return the figure with left and right exchanged."""
    flip = np.array([-1.0, 1.0, 1.0])
    parts = [getattr(figure, name) * flip for name in POINTS]
    swapped = {name: part[:, ::-1] if part.ndim == 3 else part for name, part in zip(POINTS, parts, strict=True)}
    turns = {name: flip[:, None] * getattr(figure, name) * flip for name in ("turn", "chest", "head")}
    return replace(figure, **swapped, **turns)


def moved(figure: Figure, by: Array) -> Figure:
    """Return the figure at another place."""
    return replace(figure, **{name: getattr(figure, name) + by for name in POINTS})


def planted(root: Array, turn: Array, body: Body, soles: Array) -> Array:
    """Return the `Pose.feet` that put the ankles above these points of the world, (T, 2, 3)."""
    hips = root[:, None] + _apply(turn, SIDES[:, None] * np.array([body.hip, 0.0, 0.0]))
    ankles = soles + np.array([0.0, body.ankle, 0.0])
    result: Array = np.einsum("tji,tkj->tki", turn, ankles - hips) / body.leg
    return result


def _apply(turn: Array, vectors: Array) -> Array:
    """Rotate vectors (2, 3) or (T, 2, 3) by (T, 3, 3)."""
    result: Array = np.einsum("tij,tkj->tki", turn, np.broadcast_to(vectors, (len(turn), 2, 3)))
    return result


def _unit(vectors: Array) -> Array:
    lengths = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    result: Array = vectors / lengths
    return result


def _reach(start: Array, length: float, share: float, target: Array, pole: Array) -> tuple[Array, Array]:
    """Return the middle and the end joint of a limb that reaches for a target and bends towards a pole."""
    upper, lower = length * share, length * (1 - share)
    along = _unit(target)
    distance = np.clip(np.linalg.norm(target, axis=-1, keepdims=True) * length, 0.3 * length, 0.998 * length)
    cos = np.clip((upper**2 + distance**2 - lower**2) / (2 * upper * distance), -1.0, 1.0)
    side = _unit(pole - along * np.sum(pole * along, axis=-1, keepdims=True))
    middle = start + upper * (along * cos + side * np.sqrt(1 - cos**2))
    return middle, start + along * distance


def _lowest(body: Body, parts: tuple[Array, ...]) -> Array:
    """Return the height of the lowest point of the body, skin included, (T,)."""
    tall = body.height
    flesh = (0.07 * tall, 0.03 * tall, body.skull, 0.035 * tall, 0.02 * tall, 0.015 * tall, 0.005 * tall, 0.05 * tall, 0.03 * tall)
    thick = (*flesh, body.ankle, 0.018 * tall)
    lows = [(part[..., 1].reshape(len(part), -1) - skin).min(axis=1) for part, skin in zip(parts, thick, strict=True)]
    lowest: Array = np.min(lows, axis=0)
    return lowest
