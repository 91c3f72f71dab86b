"""Draw a body as a camera sees it: skin, hair and clothes, limbs, trunk and head, light and shadow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.synthetic.background import Image, Stage
from quickstep.datasets.synthetic.body import SIDES, Array, Figure
from quickstep.datasets.synthetic.camera import Camera

SHIFT = 4  # fractional bits of a coordinate that OpenCV draws with
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
    pixels: dict[str, Array]  # capsule outlines (T, 14, 2) by part
    strips: dict[str, Array]  # outlines of their lit sides
    depths: dict[str, Array]  # (T,)
    colours: dict[str, Array]  # (3,)
    torso: Array  # (T, RINGS - 1, SECTORS, 4, 2)
    facing: Array  # (T, RINGS - 1, SECTORS) > 0 where a patch faces the camera
    lit: Array  # (T, RINGS - 1, SECTORS) light on each patch
    torso_colours: Array  # (RINGS - 1, SECTORS, 3)
    skull: Array  # (T, 2)
    radius: Array  # (T,) pixels
    gaze: Array  # (T, 3, 3) the head's axes in camera axes: columns right, down, away
    shadow: list[Array]  # outlines (T, 14, 2) on the ground

    def box(self, frame: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of the whole drawing, in pixels."""
        outlines = [outline[frame] for outline in self.pixels.values()]
        points = np.concatenate([*outlines, self.torso[frame].reshape(-1, 2)])
        margin = 2.4 * self.radius[frame]  # for an afro, long hair or a brim
        low = np.minimum(points.min(axis=0) - 2, self.skull[frame] - margin)
        high = np.maximum(points.max(axis=0) + 3, self.skull[frame] + margin)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def prepare(figure: Figure, looks: Looks, camera: Camera, stage: Stage) -> Drawing:
    """Compute the outlines, colours and depths of all frames at once."""
    limbs = _limbs(figure, looks)
    pixels, strips, depths, colours, shadow = {}, {}, {}, {}, []
    light = camera.turn @ stage.light  # (T, 3) the direction of the light in camera axes
    for name, (start, end, first, last, colour) in limbs.items():
        (a, near), (b, far) = camera.project(start), camera.project(end)
        wide, narrow = first * camera.focal / near, last * camera.focal / far
        pixels[name] = _capsule(a, b, wide, narrow)
        aside = light[:, :2] / np.linalg.norm(light[:, :2], axis=1, keepdims=True)
        strips[name] = _capsule(a + 0.3 * aside * wide[:, None], b + 0.3 * aside * narrow[:, None], 0.55 * wide, 0.55 * narrow)
        depths[name], colours[name] = (near + far) / 2, colour
        shadow.append(_cast(camera, stage, (start, end), (first, last)))
    rings = _rings(figure, looks)  # (T, RINGS, SECTORS, 3)
    patches = _patches(rings)  # (T, RINGS - 1, SECTORS, 4, 3)
    outward = np.cross(patches[..., 2, :] - patches[..., 0, :], patches[..., 3, :] - patches[..., 1, :])
    outward /= np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    middle = patches.mean(axis=-2)
    facing = np.sum(outward * (camera.place[:, None, None] - middle), axis=-1)
    lit = stage.ambient + (1.15 - stage.ambient) * np.clip(outward @ stage.light, 0, None)
    torso, deep = camera.project(patches)
    depths["torso"] = deep.mean(axis=(1, 2, 3))
    skull, depths["head"] = camera.project(figure.skull)
    radius = figure.body.skull * camera.focal / depths["head"]
    spine = (figure.pelvis, figure.neck)
    shadow.append(_cast(camera, stage, spine, (0.075 * figure.body.height, 0.1 * figure.body.height)))
    shadow.append(_cast(camera, stage, (figure.skull, figure.skull + 1e-3), (figure.body.skull, figure.body.skull)))
    return Drawing(
        figure,
        looks,
        pixels,
        strips,
        depths,
        colours,
        torso,
        facing,
        lit,
        _torso_colours(looks),
        skull,
        radius,
        camera.turn @ figure.head,
        shadow,
    )


def draw(drawing: Drawing, frame: int, canvas: Image, zoom: int, corner: tuple[int, int] = (0, 0)) -> None:
    """Draw the figure, the farthest part first, on a canvas that shows the frame from `corner` on, enlarged by `zoom`."""
    brush = Brush(canvas, zoom, np.array(corner))
    for name in sorted(drawing.depths, key=lambda part: -drawing.depths[part][frame]):
        if name == "torso":
            _draw_torso(drawing, frame, brush)
        elif name == "head":
            _draw_head(drawing, frame, brush)
        else:
            colour = drawing.colours[name]
            brush.fill(drawing.pixels[name][frame], colour * 0.8)
            brush.fill(drawing.strips[name][frame], colour * 1.06)


def shade(drawing: Drawing, frame: int, mask: Image) -> None:
    """Draw the shadow of the figure on a mask."""
    brush = Brush(mask, 1, np.zeros(2))
    for outline in drawing.shadow:
        brush.fill(outline[frame], np.array([255.0]))


@dataclass(frozen=True, eq=False)
class Brush:
    """Draws smooth shapes, given in pixels from the corner of the frame (OpenCV counts from the centre of the first pixel)."""

    canvas: Image
    zoom: int
    corner: Array

    def fill(self, outline: Array, colour: Array) -> None:
        """Fill a convex outline."""
        cv2.fillConvexPoly(self.canvas, self._fixed(outline), _ink(colour), cv2.LINE_AA, SHIFT)

    def disc(self, middle: Array, radius: float, colour: Array) -> None:
        """Fill a circle."""
        size = max(1, round(radius * self.zoom * (1 << SHIFT)))
        cv2.circle(self.canvas, self._fixed(middle).tolist(), size, _ink(colour), -1, cv2.LINE_AA, SHIFT)

    def _fixed(self, points: Array) -> NDArray[np.int32]:
        return np.rint(((points - self.corner) * self.zoom - 0.5) * (1 << SHIFT)).astype(np.int32)


def _ink(colour: Array) -> tuple[float, ...]:
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
    outline, visible = drawing.torso[frame], drawing.facing[frame] > 0
    lit = drawing.torso_colours * drawing.lit[frame][..., None]
    for ring in range(RINGS - 1):
        hull = cv2.convexHull(outline[ring].reshape(-1, 2).astype(np.float32))[:, 0]
        brush.fill(hull.astype(np.float64), lit[ring].mean(axis=0) * 0.9)
    for ring, sector in zip(*np.nonzero(visible), strict=True):
        brush.fill(outline[ring, sector], lit[ring, sector])


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
        brush.fill(np.array([(middle + radius * (x * left + 0.35 * up + z * front)[:2]) for x, z in brim]), looks.accent * 0.75)


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
