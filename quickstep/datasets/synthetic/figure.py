"""Draw a body as a camera sees it: skin, hair and clothes, limbs, trunk and head, light and shadow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.synthetic.background import Image, Stage
from quickstep.datasets.synthetic.body import SIDES, Array, Figure
from quickstep.datasets.synthetic.camera import Camera
from quickstep.signals.opencv import cv2

Fixed = NDArray[np.int32]
Ink = Sequence[float]

SHIFT = 4  # fractional bits of a coordinate that OpenCV draws with
ZOOM = 2  # figures are drawn enlarged, then averaged down
RINGS, SECTORS = 5, 16  # of the trunk


@dataclass(frozen=True, eq=False)
class Looks:
    """Skin, hair and clothes of a person; colours are RGB in 0..255."""

    skin: Array
    hair: Array
    top: Array
    accent: Array
    trousers: Array
    shoes: Array
    style: str  # of the hair
    pattern: str  # of the top
    sleeves: float  # share of the arm that is covered
    hems: float  # share of the leg that is covered
    loose: float  # width of the clothes, relative to the limbs

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Looks:
        """Draw a random appearance."""
        skins = [(238, 196, 165), (205, 155, 120), (160, 110, 78), (110, 72, 50), (225, 178, 140)]
        hairs = [(35, 28, 25), (85, 55, 35), (190, 150, 85), (120, 50, 30), (60, 60, 65), (175, 60, 120)]
        top, accent, trousers, shoes = (_cloth(rng) for _ in range(4))
        if np.abs(top - accent).sum() < 150:
            accent = 255 - top
        return cls(
            np.array(skins[rng.integers(len(skins))], float),
            np.array(hairs[rng.integers(len(hairs))], float),
            top,
            accent,
            trousers * 0.85,
            shoes * 0.5 + 120,
            str(rng.choice(["short", "long", "afro", "cap", "beanie"])),
            str(rng.choice(["plain", "stripes", "logo", "jacket", "halves"])),
            float(rng.choice([0.0, 0.45, 1.0, 1.0])),
            float(rng.choice([0.45, 1.0, 1.0, 1.0])),
            float(rng.uniform(0.95, 1.35)),
        )


def _torso_colours(looks: Looks) -> Array:
    """Return the colour of every patch of the trunk, (RINGS - 1, SECTORS, 3): rings from the hips up, sectors from the front leftwards."""
    patches = np.tile(looks.top, (RINGS - 1, SECTORS, 1))
    patches[0] = looks.top * 0.9
    if looks.pattern == "stripes":
        patches[1] = looks.accent
        patches[3] = looks.accent
    elif looks.pattern == "logo":
        patches[2, [0, 1, -1, -2]] = looks.accent
        patches[1:3, 7:9] = looks.accent
    elif looks.pattern == "jacket":
        patches[:, [0, -1]] = looks.accent
        patches[2, 6:10] = looks.accent * 0.7
    elif looks.pattern == "halves":
        patches[:, :8] = looks.accent
    return patches


def _cloth(rng: np.random.Generator) -> Array:
    """Return a random colour of cloth, from pale to dark."""
    wheel = np.clip(np.abs((rng.uniform(0, 6) + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    colour: Array = (1 - rng.uniform(0.15, 0.85) * (1 - wheel)) * rng.uniform(70, 235)
    return colour


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure prepared for drawing: its outlines in every frame, in pixels."""

    figure: Figure
    looks: Looks
    order: list[list[str]]  # the parts of each frame, the farthest first
    limbs: dict[str, tuple[Fixed, Ink, Fixed, Ink]]  # outlines (T, 14, 2) and colours of each limb and of its lit side
    torso: Fixed  # (T, RINGS - 1, SECTORS, 4, 2)
    torso_colours: Array  # (T, RINGS - 1, SECTORS, 3) as lit
    facing: NDArray[np.bool_]  # (T, RINGS - 1, SECTORS) whether a patch faces the camera
    skull: Array  # (T, 2)
    radius: Array  # (T,) pixels
    gaze: Array  # (T, 3, 3) the head's axes in camera axes: columns right, down, away
    shadow: list[Fixed]  # outlines (T, 14, 2) on the ground
    boxes: list[list[int]]  # (T, 4) left, top, right and bottom of the whole drawing, in pixels


def prepare(figure: Figure, looks: Looks, camera: Camera, stage: Stage) -> Drawing:
    """Compute the outlines, colours and depths of all frames at once."""
    limbs, shadow, depths, points = {}, [], {}, []
    light = camera.turn @ stage.light  # (T, 3) the direction of the light in camera axes
    aside = light[:, :2] / np.linalg.norm(light[:, :2], axis=1, keepdims=True)
    for name, (start, end, first, last, colour) in _limbs(figure, looks).items():
        (a, near), (b, far) = camera.project(start), camera.project(end)
        wide, narrow = first * camera.focal / near, last * camera.focal / far
        outline = _capsule(a, b, wide, narrow)
        strip = _capsule(a + 0.3 * aside * wide[:, None], b + 0.3 * aside * narrow[:, None], 0.55 * wide, 0.55 * narrow)
        limbs[name] = (_fixed(outline, ZOOM), _ink(colour * 0.8), _fixed(strip, ZOOM), _ink(colour * 1.06))
        depths[name] = (near + far) / 2
        points.append(outline)
        shadow.append(_fixed(_cast(camera, stage, (start, end), (first, last)), 1))
    patches = _patches(_rings(figure, looks))  # (T, RINGS - 1, SECTORS, 4, 3)
    outward = np.cross(patches[..., 2, :] - patches[..., 0, :], patches[..., 3, :] - patches[..., 1, :])
    outward /= np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    lit = stage.ambient + (1.15 - stage.ambient) * np.clip(outward @ stage.light, 0, None)
    torso, deep = camera.project(patches)
    points.append(torso.reshape(len(torso), -1, 2))
    depths["torso"] = deep.mean(axis=(1, 2, 3))
    skull, depths["head"] = camera.project(figure.skull)
    radius = figure.body.skull * camera.focal / depths["head"]
    trunk = ((figure.pelvis, figure.neck), (0.075 * figure.body.height, 0.1 * figure.body.height))
    ball = ((figure.skull, figure.skull + 1e-3), (figure.body.skull, figure.body.skull))
    shadow += [_fixed(_cast(camera, stage, *part), 1) for part in (trunk, ball)]
    return Drawing(
        figure=figure,
        looks=looks,
        order=_farthest_first(depths),
        limbs=limbs,
        torso=_fixed(torso, ZOOM),
        torso_colours=np.minimum(_torso_colours(looks) * lit[..., None], 255.0),
        facing=np.sum(outward * (camera.place[:, None, None] - patches.mean(axis=-2)), axis=-1) > 0,
        skull=skull,
        radius=radius,
        gaze=camera.turn @ figure.head,
        shadow=shadow,
        boxes=_boxes(np.concatenate(points, axis=1), skull, radius),
    )


def draw(drawing: Drawing, frame: int, canvas: Image, corner: tuple[int, int] = (0, 0)) -> None:
    """Draw the figure, the farthest part first, on a canvas that shows the frame from `corner` on, enlarged by ZOOM."""
    brush = Brush(canvas, np.array(corner))
    for name in drawing.order[frame]:
        if name == "torso":
            _draw_torso(drawing, frame, brush)
        elif name == "head":
            _draw_head(drawing, frame, brush)
        else:
            outline, colour, strip, bright = drawing.limbs[name]
            brush.fill(outline[frame], colour)
            brush.fill(strip[frame], bright)


def shade(drawing: Drawing, frame: int, mask: Image) -> None:
    """Draw the shadow of the figure on a mask."""
    for outline in drawing.shadow:
        cv2.fillConvexPoly(mask, outline[frame], 255.0, cv2.LINE_AA, SHIFT)


class Brush:
    """Draws smooth shapes on a canvas that shows a part of the frame, enlarged by ZOOM."""

    def __init__(self, canvas: Image, corner: NDArray[np.int_]) -> None:
        self.canvas = canvas
        self._corner = (corner * ZOOM << SHIFT).astype(np.int32)

    def fill(self, outline: Fixed, colour: Ink) -> None:
        """Fill a convex outline of `_fixed` points."""
        cv2.fillConvexPoly(self.canvas, outline - self._corner, colour, cv2.LINE_AA, SHIFT)

    def disc(self, middle: Array, radius: float, colour: Array) -> None:
        """Fill a circle, given in pixels."""
        size = max(1, round(radius * ZOOM * (1 << SHIFT)))
        cv2.circle(self.canvas, (_fixed(middle, ZOOM) - self._corner).tolist(), size, _ink(colour), -1, cv2.LINE_AA, SHIFT)


def _fixed(points: Array, zoom: int) -> Fixed:
    """Return pixels, counted from the corner of the frame, in the units of OpenCV, which counts from the centre of the first pixel."""
    return np.rint((points * zoom - 0.5) * (1 << SHIFT)).astype(np.int32)


def _farthest_first(depths: dict[str, Array]) -> list[list[str]]:
    """Return the names in the order in which each frame draws them."""
    names = list(depths)
    order = np.argsort(-np.stack(list(depths.values()), axis=1), axis=1, kind="stable")
    return [[names[index] for index in row] for row in order.tolist()]


def _boxes(points: Array, skull: Array, radius: Array) -> list[list[int]]:
    """Return left, top, right and bottom of what is drawn in each frame, in pixels."""
    margin = 2.4 * radius[:, None]  # for an afro, long hair or a brim
    low = np.minimum(points.min(axis=1) - 2, skull - margin)
    high = np.maximum(points.max(axis=1) + 3, skull + margin)
    boxes: list[list[int]] = np.concatenate([low, high], axis=1).astype(int).tolist()
    return boxes


def _ink(colour: Array) -> Ink:
    return tuple(min(255.0, value) for value in colour.tolist())


def _limbs(figure: Figure, looks: Looks) -> dict[str, tuple[Array, Array, float, float, Array]]:
    """Return name -> (start, end, first radius, last radius, colour) of each limb, in metres."""
    unit, parts = figure.body.height * (0.6 + 0.4 * figure.body.width), {}
    for side, name in enumerate(("left", "right")):
        shoulder, elbow, wrist = figure.shoulders[:, side], figure.elbows[:, side], figure.wrists[:, side]
        hip, knee, ankle = figure.hips[:, side], figure.knees[:, side], figure.ankles[:, side]
        sleeve, hem = looks.sleeves, looks.hems
        cuff, turn_up = (looks.loose if sleeve else 1.0), looks.loose
        parts[f"{name} upper arm"] = (shoulder, elbow, 0.034 * unit * cuff, 0.026 * unit * cuff, looks.top if sleeve else looks.skin)
        parts[f"{name} forearm"] = (elbow, wrist, 0.026 * unit, 0.018 * unit, looks.top * 0.97 if sleeve == 1 else looks.skin)
        parts[f"{name} hand"] = (wrist, figure.fingers[:, side], 0.021 * unit, 0.016 * unit, looks.skin * 1.02)
        parts[f"{name} thigh"] = (hip, knee, 0.053 * unit * turn_up**0.5, 0.036 * unit * turn_up, looks.trousers)
        low = (
            (0.036 * unit * turn_up, 0.028 * unit * turn_up, looks.trousers * 0.95)
            if hem == 1
            else (0.034 * unit, 0.021 * unit, looks.skin)
        )
        parts[f"{name} shin"] = (knee, ankle, *low)
        sole = ankle - 0.012 * unit * (ankle - knee) / np.linalg.norm(ankle - knee, axis=1, keepdims=True) * -1
        parts[f"{name} foot"] = (sole, figure.toes[:, side], 0.03 * unit, 0.02 * unit, looks.shoes)
    return parts


def _rings(figure: Figure, looks: Looks) -> Array:
    """Return the trunk as rings from the hips to the neck, (T, RINGS, SECTORS, 3)."""
    body = figure.body
    angle = 2 * np.pi * np.arange(SECTORS) / SECTORS  # 0 is the front, a quarter the left
    wide = np.array(
        [body.hip + 0.045 * body.height, body.hip + 0.03 * body.height, 0.9 * body.shoulder, body.shoulder * 1.06, 0.42 * body.shoulder]
    )
    deep = np.array([0.062, 0.056, 0.068, 0.058, 0.036]) * body.height * body.width**0.5
    wide[:2], deep[:2] = wide[:2] * looks.loose**0.3, deep[:2] * looks.loose**0.4
    waist = figure.pelvis + 0.42 * body.trunk * figure.turn[:, :, 1]
    up = figure.chest[:, :, 1]
    middles = [
        figure.pelvis - 0.03 * body.height * figure.turn[:, :, 1],
        waist,
        waist + 0.3 * body.trunk * up,
        figure.neck - 0.1 * body.trunk * up,
        figure.neck + 0.04 * body.trunk * up,
    ]
    turns = [figure.turn, (figure.turn + figure.chest) / 2, figure.chest, figure.chest, figure.chest]
    rings = []
    for index in range(RINGS):
        flat = np.stack([wide[index] * np.sin(angle), 0 * angle, deep[index] * np.cos(angle)], axis=1)
        rings.append(middles[index][:, None] + np.einsum("tij,kj->tki", turns[index], flat))
    return np.stack(rings, axis=1)


def _patches(rings: Array) -> Array:
    after = np.roll(rings, -1, axis=2)
    return np.stack([rings[:, :-1], after[:, :-1], after[:, 1:], rings[:, 1:]], axis=3)


def _draw_torso(drawing: Drawing, frame: int, brush: Brush) -> None:
    outline, lit = drawing.torso[frame], drawing.torso_colours[frame]
    for ring, colour in enumerate((lit.mean(axis=1) * 0.9).tolist()):
        brush.fill(cv2.convexHull(outline[ring].reshape(-1, 2))[:, 0], colour)
    visible, colours = np.nonzero(drawing.facing[frame]), lit[drawing.facing[frame]].tolist()
    for ring, sector, colour in zip(*visible, colours, strict=True):
        brush.fill(outline[ring, sector], colour)


def _draw_head(drawing: Drawing, frame: int, brush: Brush) -> None:
    """Draw a ball with hair on its back and a face on its front, and the cap or long hair."""
    looks, axes = drawing.looks, drawing.gaze[frame]
    left, up, front = axes[:, 0], axes[:, 1], axes[:, 2]  # the head's axes in camera axes: right, down, away
    middle, radius = drawing.skull[frame], float(drawing.radius[frame])

    def dot(away: Array, size: float, colour: Array) -> None:
        brush.disc(middle + radius * away[:2], radius * size, colour)

    crown = looks.accent if looks.style in ("cap", "beanie") else looks.hair
    tail = [(-0.55 * front - step * up, 0.85 - 0.1 * step) for step in (0.4, 0.8, 1.2)] if looks.style == "long" else []
    face_visible = front[2] < 0.15
    if face_visible:
        for away, size in tail[:1]:  # the rest is hidden by the trunk
            dot(away, size, looks.hair * 0.85)
    dot(-0.95 * up, 0.5, looks.skin * 0.85)
    if looks.style == "afro":
        dot(0.25 * up - 0.15 * front, 1.32, looks.hair)
    hood = -0.32 * front + 0.28 * up
    balls = [(0.0, np.zeros(3), 1.0, looks.skin * 0.95), (float(hood[2]), hood, 0.95, crown)]
    for _, away, size, colour in sorted(balls, key=lambda ball: -ball[0]):
        dot(away, size, colour)
    if face_visible:
        dot(0.42 * front - 0.14 * up, 0.72, looks.skin)
        for side in SIDES:
            eye = 0.36 * side * left + 0.1 * up + 0.92 * front
            if eye[2] < -0.2:
                dot(eye, 0.11, np.array([30.0, 25.0, 25.0]))
    else:
        for away, size in tail:
            dot(away, size, looks.hair)
    if looks.style == "cap" and front[2] < 0.5:
        brim = [(0.75, 0.6), (0.5, 1.5), (-0.5, 1.5), (-0.75, 0.6)]
        edge = np.array([(middle + radius * (x * left + 0.35 * up + z * front)[:2]) for x, z in brim])
        brush.fill(_fixed(edge, ZOOM), _ink(looks.accent * 0.75))


def _capsule(a: Array, b: Array, first: Array, last: Array) -> Array:
    """Return the outline around two discs, (T, 14, 2)."""
    away = b - a
    heading = np.arctan2(away[:, 1], away[:, 0])[:, None]
    arc = np.linspace(np.pi / 2, 3 * np.pi / 2, 7)
    start = a[:, None] + first[:, None, None] * np.stack([np.cos(heading + arc), np.sin(heading + arc)], -1)
    end = b[:, None] + last[:, None, None] * np.stack([np.cos(heading + arc + np.pi), np.sin(heading + arc + np.pi)], -1)
    return np.concatenate([start, end], axis=1)


def _cast(camera: Camera, stage: Stage, ends: tuple[Array, Array], radii: tuple[float, float]) -> Array:
    """Return the outline of the shadow of a limb on the ground, in pixels."""
    projected = [point - stage.light * (np.maximum(point[:, 1:2], 0) / stage.light[1]) for point in ends]
    (a, near), (b, far) = camera.project(projected[0]), camera.project(projected[1])
    return _capsule(a, b, 0.8 * radii[0] * camera.focal / near, 0.8 * radii[1] * camera.focal / far)
