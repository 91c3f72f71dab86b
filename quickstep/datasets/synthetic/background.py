"""Stage: a textured wall and ground with their light, painted once and then projected by the camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.synthetic.body import Array
from quickstep.datasets.synthetic.camera import Camera
from quickstep.signals.opencv import cv2

Image = NDArray[np.uint8]
Texture = NDArray[np.float32]

WALL = (9.0, 4.2)  # metres: width, height
GROUND = (9.0, 7.0)  # metres: width, depth from the wall towards the camera


@dataclass(frozen=True)
class Lamp:
    """A swaying light above the stage with a visible beam."""

    place: float  # metres to the right of the centre
    sway: float  # metres
    hue: float
    start: float

    def beam(self, camera: Camera, times: Array, back: float) -> Array:
        """Return the outline of the beam in pixels, (T, 4, 2)."""
        foot = self.place * 0.4 + self.sway * np.sin(2 * np.pi * (0.17 * times + self.start))
        top = np.stack([self.place + 0 * times, 3.6 + 0 * times, 0.4 - back + 0 * times], axis=1)
        low = np.stack([foot, 0 * times, 0.2 + 0 * times], axis=1)
        aside = np.array([1.0, 0.0, 0.0])
        return camera.project(np.stack([top - 0.05 * aside, top + 0.05 * aside, low + 0.5 * aside, low - 0.5 * aside], axis=1))[0]


@dataclass(frozen=True, eq=False)
class Stage:
    """The wall behind the dancer and the ground below."""

    kind: str
    wall: Image  # texture
    ground: Image  # texture
    back: float  # metres from the dancer to the wall
    light: Array  # (3,) the direction of the light
    tint: Array  # (3,) factors of the light on red, green, blue
    ambient: float
    scale: float  # texture pixels a metre
    lamps: tuple[Lamp, ...] = ()

    def paint(self, camera: Camera, frame: int) -> Image:
        """Return the empty stage as the camera sees it, RGB."""
        step = 1 / self.scale
        right, up, front = np.eye(3)
        wall = camera.plane(frame, right * step, -up * step, np.array([-WALL[0] / 2, WALL[1], -self.back]))
        ground = camera.plane(frame, right * step, front * step, np.array([-GROUND[0] / 2, 0.0, -self.back]))
        near = GROUND[0] * self.scale * np.array([0.45, 0.55])  # two points where wall and ground meet, in front of the camera
        line = (ground @ np.stack([near, [0, 0], [1, 1]])).T
        ends = line[:, :2] / line[:, 2:]
        slope = (ends[1, 1] - ends[0, 1]) / (ends[1, 0] - ends[0, 0])
        edges = ends[0, 1] + slope * (np.array([0, camera.width]) - ends[0, 0])  # the height of that line at the edges of the frame
        top, low = (int(np.clip(edge, 0, camera.height)) for edge in (edges.min() - 1, edges.max() + 2))
        image = np.empty((camera.height, camera.width, 4), np.uint8)
        image[:low] = _projected(self.wall, wall, camera.width, 0, low)
        below = _projected(self.ground, ground, camera.width, top, camera.height)
        mask = np.full(below.shape[:2], 255, np.uint8)
        if top < low:
            band = mask[: low - top]
            band[:] = 0
            corners = np.array([[0, edges[0]], [camera.width, edges[1]], [camera.width, low + 9], [0, low + 9]]) - [0, top]
            cv2.fillConvexPoly(band, np.rint(corners * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
        cv2.copyTo(below, mask, image[top:])
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2RGB), dtype=np.uint8)


def _projected(texture: Image, plane: Array, width: int, top: int, bottom: int) -> Image:
    """Return the rows from `top` to `bottom` of a plane as the camera sees it."""
    if top >= bottom:
        return np.empty((0, width, 4), np.uint8)
    shift = np.array([[1, 0, 0], [0, 1, -top], [0, 0, 1]])
    seen = cv2.warpPerspective(texture, shift @ plane, (width, bottom - top), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, dtype=np.uint8)


def add_beams(beams: Sequence[tuple[Lamp, Array]], frame: int, image: Image) -> None:
    """Add beams of light to an image, in place."""
    height, width = image.shape[:2]
    haze = np.zeros((height // 4, width // 4, 3), np.uint8)
    for lamp, outline in beams:
        layer = np.zeros_like(haze)
        colour = 30 * _hue(lamp.hue, 0.6)
        cv2.fillConvexPoly(layer, np.rint(outline[frame] * 4).astype(np.int32), colour.tolist(), cv2.LINE_AA, 4)
        cv2.add(haze, layer, dst=haze)
    cv2.add(image, cv2.resize(cv2.blur(haze, (5, 5)), (width, height), interpolation=cv2.INTER_LINEAR), dst=image)


def studio(rng: np.random.Generator, scale: float) -> Stage:
    """Paint a rehearsal studio: boards, a pale wall, mirrors in frames and a barre."""
    wall = _plain(WALL, scale, rng.uniform(150, 215) + rng.uniform(-18, 18, 3))
    frame = _shade(rng.uniform(40, 120) + rng.uniform(-10, 10, 3))
    for left in np.arange(0.4 + rng.uniform(0, 0.5), WALL[0] - 1.6, 1.75):
        glass = rng.uniform(150, 190) + np.array([-8.0, 2.0, 10.0])
        _box(wall, scale, (left, WALL[1] - 2.5, 1.6, 2.2), _shade(glass))
        _slant(wall, scale, (left, WALL[1] - 2.5, 1.6, 2.2), _shade(glass + 22))
        _box(wall, scale, (left, WALL[1] - 2.5, 1.6, 2.2), frame, 0.05)
    _box(wall, scale, (0, WALL[1] - 1.0, WALL[0], 0.05), _shade(np.array([120.0, 85.0, 50.0])))
    _box(wall, scale, (0, WALL[1] - 0.12, WALL[0], 0.12), frame)
    ground = _boards(rng, scale)
    return Stage("studio", _finish(wall, rng, 3), _finish(ground, rng, 4), rng.uniform(1.7, 2.4), _sun(rng), _tint(rng, 0.05), 0.62, scale)


def street(rng: np.random.Generator, scale: float) -> Stage:
    """Paint a brick wall with graffiti, and paving."""
    brick = np.array([rng.uniform(110, 175), rng.uniform(65, 115), rng.uniform(50, 100)])
    wall = _plain(WALL, scale, brick * 0.62)
    for row, top in enumerate(np.arange(0, WALL[1], 0.16)):
        for left in np.arange(-0.2 * (row % 2), WALL[0], 0.4):
            _box(wall, scale, (left + 0.012, top + 0.012, 0.376, 0.136), _shade(brick * rng.uniform(0.82, 1.14)))
    for _ in range(int(rng.integers(4, 9))):
        _blob(wall, scale, rng, (rng.uniform(0.5, WALL[0] - 0.5), rng.uniform(1.6, 3.6)), rng.uniform(0.25, 0.75))
    grey = rng.uniform(85, 150)
    ground = _plain(GROUND, scale, grey + rng.uniform(-8, 8, 3))
    for x in np.arange(0, GROUND[0], 0.8):
        for z in np.arange(0, GROUND[1], 0.8):
            _box(ground, scale, (x + 0.02, z + 0.02, 0.76, 0.76), _shade(np.full(3, grey * rng.uniform(0.9, 1.12))))
    return Stage("street", _finish(wall, rng, 7), _finish(ground, rng, 7), rng.uniform(1.5, 2.3), _sun(rng), _tint(rng, 0.1), 0.6, scale)


def theatre(rng: np.random.Generator, scale: float) -> Stage:
    """Paint a dark stage: a curtain in folds, pools of light, swaying lamps."""
    cloth = np.array([rng.uniform(25, 120), rng.uniform(15, 60), rng.uniform(30, 120)])
    wall = _plain(WALL, scale, cloth)
    x = np.arange(wall.shape[1]) / scale
    folds = 0.75 + 0.25 * np.sin(x * rng.uniform(9, 16) + 1.5 * np.sin(x * 2.1)) + 0.1 * np.sin(x * 37)
    wall *= folds[None, :, None].astype(np.float32)
    ground = _plain(GROUND, scale, rng.uniform(38, 70) + rng.uniform(-6, 6, 3))
    for _ in range(int(rng.integers(2, 4))):
        hue = _hue(rng.uniform(0, 1), 0.45)
        _pool(ground, scale, (GROUND[0] / 2 + rng.uniform(-1.4, 1.4), rng.uniform(1.2, 3.4)), rng.uniform(0.9, 1.7), 95 * hue)
        _pool(wall, scale, (WALL[0] / 2 + rng.uniform(-2, 2), rng.uniform(1.5, 3.6)), rng.uniform(0.7, 1.4), 75 * hue)
    shapes = rng.uniform((-2.0, 0.2, 0.0, 0.0), (2.0, 0.7, 1.0, 1.0), (int(rng.integers(1, 4)), 4))
    lamps = tuple(Lamp(*shape) for shape in shapes.tolist())
    return Stage(
        "theatre", _finish(wall, rng, 2), _finish(ground, rng, 2), rng.uniform(1.8, 2.8), _sun(rng), _tint(rng, 0.18), 0.5, scale, lamps
    )


def court(rng: np.random.Generator, scale: float) -> Stage:
    """Paint an outdoor court: sky, buildings and trees in the distance, lines on the ground."""
    wall = _plain(WALL, scale, np.zeros(3))
    top, low = np.array([90.0, 140, 205]) * rng.uniform(0.7, 1.1), np.array([215.0, 215, 205]) * rng.uniform(0.7, 1.05)
    share = np.linspace(0, 1, len(wall))[:, None, None]
    wall[:] = (top * (1 - share) + low * share).astype(np.float32)
    for left in np.arange(-0.3, WALL[0], 0.7):
        tall, tone = rng.uniform(0.9, 2.6), rng.uniform(95, 165) + rng.uniform(-12, 12, 3)
        _box(wall, scale, (left, WALL[1] - tall, rng.uniform(0.5, 0.9), tall), _shade(tone))
        for y in np.arange(WALL[1] - tall + 0.12, WALL[1] - 0.3, 0.24):
            for x in (0.1, 0.32):
                _box(wall, scale, (left + x, y, 0.12, 0.12), _shade(tone * rng.uniform(0.6, 1.35)))
    for left in np.arange(rng.uniform(0, 1), WALL[0], 1.3):
        _blob(
            wall,
            scale,
            rng,
            (left, WALL[1] - rng.uniform(0.5, 0.9)),
            rng.uniform(0.3, 0.55),
            (rng.uniform(40, 90), rng.uniform(80, 130), 50),
        )
    _box(wall, scale, (0, WALL[1] - 0.35, WALL[0], 0.35), _shade(np.array([70.0, 90, 75])))
    base = np.array([[60.0, 120, 85], [165, 85, 65], [70, 100, 150]][int(rng.integers(3))]) * rng.uniform(0.85, 1.15)
    ground = _plain(GROUND, scale, base)
    white = (225.0, 225.0, 215.0)
    _box(ground, scale, (1.2, 0.8, 6.6, 5.4), white, 0.06)
    cv2.circle(ground, (int(4.5 * scale), int(2.6 * scale)), int(1.5 * scale), white, max(1, int(0.06 * scale)), cv2.LINE_AA)
    return Stage("court", _finish(wall, rng, 3), _finish(ground, rng, 6), rng.uniform(2.2, 3.2), _sun(rng), _tint(rng, 0.08), 0.66, scale)


STAGES: dict[str, Callable[[np.random.Generator, float], Stage]] = {"studio": studio, "street": street, "theatre": theatre, "court": court}


def _plain(size: tuple[float, float], scale: float, colour: Array) -> Texture:
    return np.tile(np.asarray(colour, np.float32), (round(size[1] * scale), round(size[0] * scale), 1))


def _shade(colour: Array) -> tuple[float, float, float]:
    red, green, blue = np.clip(colour, 0, 255)
    return float(red), float(green), float(blue)


def _box(
    texture: Texture, scale: float, box: tuple[float, float, float, float], colour: tuple[float, ...], line: float | None = None
) -> None:
    left, top, width, height = (v * scale for v in box)
    thick = -1 if line is None else max(1, round(line * scale))
    cv2.rectangle(texture, (round(left), round(top)), (round(left + width) - 1, round(top + height) - 1), colour, thick)


def _slant(texture: Texture, scale: float, box: tuple[float, float, float, float], colour: tuple[float, ...]) -> None:
    left, top, width, height = box
    corners = [(left + 0.3 * width, top), (left + 0.6 * width, top), (left + 0.3 * width, top + height), (left, top + height)]
    cv2.fillConvexPoly(texture, np.rint(np.array(corners) * scale).astype(np.int32), colour, cv2.LINE_AA)


def _blob(
    texture: Texture,
    scale: float,
    rng: np.random.Generator,
    middle: tuple[float, float],
    radius: float,
    colour: tuple[float, float, float] | None = None,
) -> None:
    """Paint a rounded, ragged shape: graffiti on a wall, or a tree."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ragged = 1 + sum(rng.uniform(0, 0.3) / k * np.sin(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5))
    outline = np.stack([middle[0] + 1.4 * radius * ragged * np.cos(angle), middle[1] + radius * ragged * np.sin(angle)], 1)
    points = np.rint(outline * scale).astype(np.int32)
    paint = _shade(230 * _hue(rng.uniform(0, 1), 0.75)) if colour is None else colour
    cv2.fillPoly(texture, [points], paint, cv2.LINE_AA)
    if colour is None:
        cv2.polylines(texture, [points], True, _shade(60 * _hue(rng.uniform(0, 1), 0.5)), max(1, round(0.05 * scale)), cv2.LINE_AA)


def _boards(rng: np.random.Generator, scale: float) -> Texture:
    wood = np.array([rng.uniform(140, 200), rng.uniform(100, 145), rng.uniform(60, 100)])
    ground = _plain(GROUND, scale, wood * 0.8)
    for z in np.arange(0, GROUND[1], 0.2):
        for x in np.arange(-rng.uniform(0, 1.5), GROUND[0], 1.5):
            _box(ground, scale, (x + 0.01, z + 0.01, 1.48, 0.18), _shade(wood * rng.uniform(0.88, 1.1)))
    return ground


def _pool(texture: Texture, scale: float, middle: tuple[float, float], radius: float, colour: Array) -> None:
    """Add a soft round light."""
    reach = 1.7 * radius  # where it has faded
    left, top = (max(0, int((place - reach) * scale)) for place in middle)
    part = texture[top : int((middle[1] + reach) * scale), left : int((middle[0] + reach) * scale)]
    across = (np.arange(left, left + part.shape[1]) / scale - middle[0]) ** 2
    down = (np.arange(top, top + part.shape[0]) / scale - middle[1]) ** 2
    glow = np.exp(-(((down[:, None] + across) / radius**2) ** 2)).astype(np.float32)
    part += glow[..., None] * colour.astype(np.float32)


def _hue(hue: float, strength: float) -> Array:
    """Return a colour of the colour wheel, each channel in 0..1."""
    wheel = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    result: Array = 1 - strength + strength * wheel
    return result


def _finish(texture: Texture, rng: np.random.Generator, grain: float) -> Image:
    """Soften a texture and add stains, grain, and a fourth channel, because OpenCV warps four channels three times as fast."""
    height, width = texture.shape[:2]
    coarse = rng.normal(0, 1, (6, 12)).astype(np.float32)
    stains = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.standard_normal((height, width), dtype=np.float32)
    mixed = cv2.GaussianBlur(texture, (3, 3), 0.7) * (1 + np.float32(0.05) * stains[..., None]) + np.float32(grain) * noise[..., None]
    return np.asarray(cv2.cvtColor(np.clip(mixed, 0, 255).astype(np.uint8), cv2.COLOR_RGB2RGBA), dtype=np.uint8)


def _sun(rng: np.random.Generator) -> Array:
    way = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.9, 1.5), rng.uniform(0.3, 1.0)])
    unit: Array = way / np.linalg.norm(way)
    return unit


def _tint(rng: np.random.Generator, strength: float) -> Array:
    return 1 + rng.uniform(-strength, strength, 3)
