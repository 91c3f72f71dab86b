"""Scene: one synthetic video before it is written; it yields the frames and the true positions of the joints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.synthetic.background import STAGES, Image, Lamp, Stage, add_beams
from quickstep.datasets.synthetic.body import Array, Body, Figure, figure_of, mirrored, moved
from quickstep.datasets.synthetic.camera import Camera
from quickstep.datasets.synthetic.figure import ZOOM, Drawing, Looks, draw, prepare, shade
from quickstep.datasets.synthetic.moves import MOVES, Beat
from quickstep.datasets.synthetic.routine import Routine, perform
from quickstep.signals.opencv import cv2


@dataclass(frozen=True, eq=False)
class Dancer:
    """A person, a stage and a camera position: what the videos of one group share."""

    name: str
    body: Body
    looks: Looks
    stage: Stage
    rig: int  # seed of the camera's position
    tempo: float

    @classmethod
    def drawn(cls, index: int, seed: int, height: int) -> Dancer:
        """Draw the random dancer of this number; `height` is that of the video and decides the resolution of the stage."""
        rng = np.random.default_rng([seed, 101, index])
        kinds = np.random.default_rng([seed, 100]).permutation(sorted(STAGES))
        stage = STAGES[str(kinds[index % len(kinds)])](rng, round(height / 2.0))
        body, looks = Body.drawn(rng), Looks.drawn(rng)
        return cls(f"dancer-{index + 1:02d}", body, looks, stage, int(rng.integers(2**31)), float(rng.uniform(0.92, 1.1)))


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that determines a video; nothing is drawn yet."""

    dancer: Dancer
    camera: Camera
    times: Array  # (T,)
    figure: Figure
    others: tuple[tuple[Figure, Looks], ...]  # people behind the dancer
    gain: Array  # (T, 3) light on red, green, blue
    grain: float
    quality: int  # of the encoding, x264's crf
    seed: int
    beams: tuple[tuple[Lamp, Array], ...] = ()
    blocker: Array | None = None  # (T, 4, 2) a post in front of the dancer, in pixels

    @classmethod
    def drawn(
        cls, move: str, dancer: Dancer, seeds: tuple[int, ...], *, size: tuple[int, int], fps: float, seconds: float, clutter: float
    ) -> Scene:
        """Draw a random scene; two moves with the same seeds differ in nothing but the movement."""
        rng = np.random.default_rng(seeds)
        length = seconds * rng.uniform(0.85, 1.15)
        times = np.arange(max(2, round(length * fps))) / fps
        camera = Camera.drawn(np.random.default_rng(dancer.rig), rng, times, size)
        return cls._around(_dance(move, dancer.body, times, rng, dancer.tempo), dancer, camera, times, rng, clutter)

    @classmethod
    def of_routine(cls, routine: Routine, dancer: Dancer, seeds: tuple[int, ...], *, size: tuple[int, int], fps: float) -> Scene:
        """Draw a scene in which a dancer performs several moves; nobody else is in it."""
        rng = np.random.default_rng(seeds)
        figure, times = perform(routine, dancer.body, fps, rng, dancer.tempo)
        camera = Camera.drawn(np.random.default_rng(dancer.rig), rng, times, size)
        return cls._around(figure, dancer, camera, times, rng, 0.0)

    @classmethod
    def _around(cls, figure: Figure, dancer: Dancer, camera: Camera, times: Array, rng: np.random.Generator, clutter: float) -> Scene:
        """Place the figure, and draw what is around it."""
        figure = moved(figure, np.array([rng.uniform(-0.25, 0.25), 0.0, rng.uniform(-0.3, 0.2)]))
        others = (_bystander(rng, times, dancer.stage),) if rng.uniform() < clutter else ()
        blocker = _blocker(rng, times, (camera.width, camera.height)) if rng.uniform() < clutter else None
        gain = dancer.stage.tint * _flicker(rng, times)[:, None]
        grain, quality, noise = float(rng.uniform(0.4, 1.6)), int(rng.integers(22, 29)), int(rng.integers(2**31))
        beams = tuple((lamp, lamp.beam(camera, times, dancer.stage.back)) for lamp in dancer.stage.lamps)
        return cls(dancer, camera, times, figure, others, gain, grain, quality, noise, beams, blocker)

    @property
    def joints(self) -> NDArray[np.float32]:
        """The seventeen COCO joints in pixels from the top left corner, (T, 17, 3): x, y and whether the joint is visible."""
        points = self.figure.coco
        pixels, depth = self.camera.project(points)
        inside = (pixels >= 0).all(-1) & (pixels[..., 0] < self.camera.width) & (pixels[..., 1] < self.camera.height)
        visible = inside & ~_hidden(self.figure, self.camera, pixels, depth)
        return np.concatenate([pixels, visible[..., None]], axis=-1).astype(np.float32)

    def frames(self, numbers: Iterable[int] | None = None, *, empty: bool = False) -> Iterator[Image]:
        """Yield the frames, RGB, or only those with these numbers; `empty` leaves out the people."""
        rng = np.random.default_rng(self.seed)
        height, width = self.camera.height, self.camera.width
        grain = np.repeat(rng.normal(0, self.grain, (height + 64, width + 64, 1)), 3, axis=2).astype(np.int16)
        corners = rng.integers(0, 64, (len(self.times), 2)).tolist()
        cast = [] if empty else [*self.others, (self.figure, self.dancer.looks)]
        drawings = [prepare(figure, looks, self.camera, self.dancer.stage) for figure, looks in cast]
        for frame in range(len(self.times)) if numbers is None else numbers:
            image = self.dancer.stage.paint(self.camera, frame)
            for drawing in drawings:
                _shadow(drawing, frame, image, self.dancer.stage)
            _people(drawings, frame, image)
            if self.blocker is not None and not empty:
                _block(self.blocker[frame], image)
            if self.beams:
                add_beams(self.beams, frame, image)
            y, x = corners[frame]
            curve = np.clip(np.arange(256)[:, None] * self.gain[frame], 0, 255).astype(np.uint8)  # (256, 3)
            lit = cv2.LUT(image, curve[None])
            yield np.asarray(cv2.add(lit, grain[y : y + height, x : x + width], dtype=cv2.CV_8U), dtype=np.uint8)


def _dance(move: str, body: Body, times: Array, rng: np.random.Generator, tempo: float) -> Figure:
    """Perform a move at a tempo, with a random start, pauses and leading side."""
    step = times[1] - times[0]
    pace = tempo * rng.uniform(0.85, 1.18) * (1 + 0.15 * np.sin(2 * np.pi * (rng.uniform(0.15, 0.4) * times + rng.uniform())))
    pause, middle, span = rng.uniform() < 0.3, rng.uniform(0.15, 0.85) * times[-1], rng.uniform(0.12, 0.25)
    if pause:
        pace = pace * (1 - 0.92 * np.exp(-(((times - middle) / span) ** 4)))
    start, style, flip = rng.uniform(), rng.uniform(size=6), rng.uniform() < 0.5
    phase = start + np.cumsum(pace * MOVES[move].pace) * step
    way = MOVES[move].way
    turns = MOVES[move].turns
    if flip and turns:
        way = -way  # mirrored below: the direction of the turn stays, the leading side changes
    figure = figure_of(MOVES[move].pose(Beat(times, phase, way, style), body), body)
    return mirrored(figure) if flip else figure


def _bystander(rng: np.random.Generator, times: Array, stage: Stage) -> tuple[Figure, Looks]:
    """Return another person who moves in the background."""
    body, looks = Body.drawn(rng), Looks.drawn(rng)
    figure = _dance(str(rng.choice(["groove-slow", "groove-fast"])), body, times, rng, 0.8)
    place = np.array([rng.choice([-1, 1]) * rng.uniform(0.7, 1.3), 0.0, -stage.back + 0.45])
    return moved(figure, place), looks


def _blocker(rng: np.random.Generator, times: Array, size: tuple[int, int]) -> Array:
    """Return the outline of a blurred post that the camera passes, (T, 4, 2)."""
    width, height = size
    middle = width * (rng.uniform(0.1, 0.9) + rng.uniform(-0.08, 0.08) * times)
    half, lean = width * rng.uniform(0.025, 0.05), width * rng.uniform(-0.03, 0.03)
    offsets = np.array([(-half - lean, 0), (half - lean, 0), (half + lean, height), (-half + lean, height)])
    return offsets + np.stack([middle, 0 * middle], 1)[:, None]


def _flicker(rng: np.random.Generator, times: Array) -> Array:
    """Return the factor of a slightly flickering light, (T,)."""
    slow = rng.uniform(0.02, 0.08) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.6) * times + rng.uniform()))
    fast = rng.normal(0, rng.uniform(0.0, 0.012), len(times))
    result: Array = rng.uniform(0.85, 1.12) * (1 + slow + fast)
    return result


def _shadow(drawing: Drawing, frame: int, image: Image, stage: Stage) -> None:
    """Draw the shadow of the figure, in place."""
    mask = np.zeros(image.shape[:2], np.uint8)
    shade(drawing, frame, mask)
    soft = cv2.blur(mask, (5, 5))
    keep = cv2.cvtColor(255 - (soft * (1 - stage.ambient + 0.12)).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    cv2.multiply(image, keep, dst=image, scale=1 / 255)


def _people(drawings: Sequence[Drawing], frame: int, image: Image) -> None:
    """Draw the people with smooth edges, in place: enlarged, then averaged down, which does not change the stage."""
    height, width = image.shape[:2]
    for drawing in drawings:
        left, top, right, bottom = drawing.boxes[frame]
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if left >= right or top >= bottom:
            continue
        part = image[top:bottom, left:right]
        large = cv2.resize(part, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
        draw(drawing, frame, np.asarray(large, dtype=np.uint8), (left, top))
        part[:] = cv2.resize(large, (right - left, bottom - top), interpolation=cv2.INTER_AREA)


def _block(outline: Array, image: Image) -> None:
    """Draw a dark post in front of everything, in place."""
    cv2.fillConvexPoly(image, np.rint(outline * 16).astype(np.int32), (38, 36, 40), cv2.LINE_AA, 4)


def _hidden(figure: Figure, camera: Camera, pixels: Array, depth: Array) -> NDArray[np.bool_]:
    """Return whether a joint is behind another part of its own body, (T, 17)."""
    body = figure.body
    hidden = np.zeros(depth.shape, bool)
    limbs: list[tuple[Array, Array, float, list[int]]] = [
        (figure.pelvis, figure.neck, 0.085 * body.height, [5, 6, 11, 12]),
        (figure.skull, figure.skull + 1e-3, body.skull, []),
    ]
    for side in (0, 1):
        arm = (figure.shoulders[:, side], figure.elbows[:, side], figure.wrists[:, side])
        leg = (figure.hips[:, side], figure.knees[:, side], figure.ankles[:, side])
        limbs += [(arm[0], arm[1], 0.026 * body.height, [5 + side, 7 + side]), (arm[1], arm[2], 0.02 * body.height, [7 + side, 9 + side])]
        limbs += [
            (leg[0], leg[1], 0.04 * body.height, [11 + side, 13 + side]),
            (leg[1], leg[2], 0.03 * body.height, [13 + side, 15 + side]),
        ]
    for start, end, radius, own in limbs:
        (a, near), (b, far) = camera.project(start), camera.project(end)
        axis = b - a
        share = np.sum((pixels - a[:, None]) * axis[:, None], -1) / np.maximum(np.sum(axis**2, -1), 1e-6)[:, None]
        share = np.clip(share, 0, 1)
        apart = np.linalg.norm(pixels - a[:, None] - share[..., None] * axis[:, None], axis=-1)
        deep = near[:, None] + share * (far - near)[:, None]
        covers = (apart < radius * camera.focal / deep) & (depth > deep + 0.3 * radius)
        covers[:, own] = False
        hidden |= covers
    return hidden
