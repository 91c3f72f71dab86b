"""Augment training windows: draw the changes for a window of a segment, and apply them.

One draw applies to all frames of a window: they are rotated, cropped and coloured in the same way, so the movement stays the same. A draw
gives the timestamps to read, and is then applied to the uncropped frames (or the flow) at these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.types.config_fields import between, setting
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View, within

Matrix = NDArray[np.float64]

# The strength of each part at augment=1. Flips and timestamps harm least, so they are at full strength from 0.5.
_FULL = {"flip": 0.5, "vertical_flip": 0.0, "crop": 1.0, "rotation": 20.0, "colour": 0.4, "noise": 0.08, "erase": 0.5}
_FULL |= {"time_jitter": 1.0, "speed": 0.25}
_EARLY = ("flip", "time_jitter")
_SMALLEST = 0.35  # the smallest share of the tested square that crop=1 shows
_SHAPE = math.log(4 / 3)  # the logarithm of the longest shape, width over height, that crop=1 shows
_ERASED = (0.02, 0.2)  # shares of the picture
_GREY = np.array([0.299, 0.587, 0.114])
_REST = 128  # the level of flow that is no motion


@dataclass(frozen=True)
class Augment:
    """What may be changed, and how much; parts that are None follow `augment`."""

    augment: float = setting(0.5, "strength of the augmentation, from 0 (none) to 1; parts that are set keep their own value")
    flip: float | None = setting(None, "how often a segment is mirrored, left for right, 0 to 1")
    mirror_labels: tuple[str, ...] = setting(
        (), "what a mirrored segment is called: left-turn:right-turn swaps two labels, a label alone is never mirrored, none keeps all"
    )
    vertical_flip: float | None = setting(None, "how often a segment is flipped upside down, 0 to 1; never by default")
    crop: float | None = setting(None, "how much the crop may change in size, shape and position, 0 to 1")
    rotation: float | None = setting(None, "largest rotation in degrees")
    colour: float | None = setting(None, "how much brightness, contrast, saturation and hue change, 0 to 1")
    noise: float | None = setting(None, "largest noise, as a share of white")
    erase: float | None = setting(None, "how often a rectangle is covered, 0 to 1")
    time_jitter: float | None = setting(None, "how much timestamps move inside the segment, 0 to 1")
    speed: float | None = setting(None, "largest share by which a segment is faster or slower")

    def __post_init__(self) -> None:
        between("augment", self.augment, 0, 1)
        for name in ("flip", "vertical_flip", "crop", "colour", "noise", "erase", "time_jitter"):
            if getattr(self, name) is not None:
                between(name, getattr(self, name), 0, 1)
        if self.rotation is not None:
            between("rotation", self.rotation, 0, 180)
        if self.speed is not None:
            between("speed", self.speed, 0, 4)

    def strength(self, name: str) -> float:
        """Return the strength of one part: its own value, else from `augment`."""
        said: float | None = getattr(self, name)
        if said is not None:
            return said
        dial = min(1.0, 2 * self.augment) if name in _EARLY else self.augment
        return _FULL[name] * dial

    @property
    def strengths(self) -> dict[str, float]:
        """The strengths of all parts by name."""
        return {each.name: self.strength(each.name) for each in fields(self) if each.name in _FULL}

    @property
    def still(self) -> bool:
        """Whether the timestamps never change."""
        return self.strength("time_jitter") == 0 and self.strength("speed") == 0

    def draw(self, rng: np.random.Generator, *, mirrors: bool = True) -> Draw:
        """Draw the changes to one window; `mirrors=False` for a label that has no mirror image.

        As many numbers are drawn whatever the strengths are, so that turning one part off leaves the others as they were.
        """
        flip, vertical, area, shape, erased = rng.random(5)
        wander, turn, lead, speed = rng.uniform(-1, 1, 2), *rng.uniform(-1, 1, 3)
        colour, grain, spot, seed = rng.uniform(-1, 1, 4), rng.random(), rng.random(7), int(rng.integers(2**63))
        part = self.strengths
        return Draw(
            flipped=bool(mirrors and flip < part["flip"]),
            upside_down=bool(vertical < part["vertical_flip"]),
            crop=part["crop"],
            area=float(area),
            shape=float(2 * shape - 1),
            wander=(float(wander[0]), float(wander[1])),
            turn=float(turn) * part["rotation"],
            colour=tuple(float(each) * part["colour"] for each in colour),
            noise=float(grain) * part["noise"],
            spot=tuple(map(float, spot)) if erased < part["erase"] else (),
            lead=float(lead) * part["time_jitter"],
            loose=part["time_jitter"],
            pace=(1 + part["speed"]) ** float(speed),
            seed=seed,
        )


NOTHING = Augment(augment=0.0)


@dataclass(frozen=True)
class Draw:
    """What is done to one window of a segment, the same for all its pictures."""

    flipped: bool
    upside_down: bool
    crop: float  # how strong cropping is
    area: float  # 0..1: how much of it is used
    shape: float  # -1..1: narrow to wide
    wander: tuple[float, float]  # -1..1
    turn: float  # degrees
    colour: tuple[float, ...]  # brightness, contrast, saturation, hue
    noise: float
    spot: tuple[float, ...]  # of what is covered: share, shape, x, y, colour; empty where nothing is
    lead: float  # -1..1: how far the window moves in what is free before and behind it
    loose: float  # 0..1: how far each moment moves inside its share of time, where a view has no pace
    pace: float  # how many times as fast
    seed: int  # of what is drawn a picture or a moment

    def view(self, view: View) -> View:
        """Return the view of the uncut frames with drawn timestamps, as one window inside the segment."""
        if view.windows == 1 and (self.lead, self.loose, self.pace) == (0, 0, 1):
            return view.uncut()  # nothing is drawn: flow that is kept of the view is found again
        plain = {each.name: getattr(view, each.name) for each in fields(View)} | {"crops": 1}
        return Drawn(**plain, lead=self.lead, loose=self.loose, pace=self.pace, seed=self.seed).uncut()

    def frames(self, frames: Frames, view: View) -> Frames:
        """Change uncut frames, and scale them to the size of the view."""
        pixels = frames.pixels
        matrix = self._matrix(pixels.shape[2], pixels.shape[1], view)
        size = (view.size, view.size)
        if matrix is None:
            shown = self._plain(pixels, view)
        else:
            how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            shown = np.stack([cv2.warpAffine(each, matrix, size, flags=how, borderMode=cv2.BORDER_REFLECT_101) for each in pixels])
        shown = self._covered(self._coloured(shown))
        return replace(frames, pixels=np.ascontiguousarray(self._grainy(shown)))

    def flow(self, flow: Flow, view: View) -> Flow:
        """Change flow as the frames are changed; its vectors are rotated, scaled and mirrored too."""
        matrix = self._matrix(flow.levels.shape[2], flow.levels.shape[1], view)
        if matrix is None:
            levels = self._plain(flow.levels, view)
            for axis, turned in enumerate((self.flipped, self.upside_down)):
                if turned:  # level 1 is the other end of 255, so 256 - level; bytes wrap around
                    levels[..., axis] = np.negative(levels[..., axis].clip(1))
            return replace(flow, levels=np.ascontiguousarray(self._covered(levels, flow=True)))
        how, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (view.size, view.size)
        moved = np.stack([cv2.warpAffine(each, matrix, size, flags=how, borderMode=cv2.BORDER_CONSTANT) for each in flow.pixels])
        arrows = moved @ np.linalg.inv(matrix[:, :2]).T.astype(np.float32)  # of the uncut picture -> of the one that is shown
        made = Flow.of(arrows, flow.times, bound=flow.bound, lost=flow.lost)
        return replace(made, levels=self._covered(made.levels, flow=True))

    def _matrix(self, width: int, height: int, view: View) -> Matrix | None:
        """Where in the uncut picture each point that is shown comes from, (2, 3); None where pixels stay whole."""
        if self.crop == 0 and self.turn == 0:
            return None
        across, down, x, y = self._box(width, height, view)
        angle = math.radians(self.turn)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        scale = np.diag([across / view.size * (-1 if self.flipped else 1), down / view.size * (-1 if self.upside_down else 1)])
        linear = turn @ scale
        middle = np.array([(view.size - 1) / 2] * 2)
        offset = np.array([x + (across - 1) / 2, y + (down - 1) / 2]) - linear @ middle
        return np.hstack([linear, offset[:, None]])

    def _box(self, width: int, height: int, view: View) -> tuple[float, float, float, float]:
        """Width, height, left and top of what is shown, in the uncut picture."""
        tested = width if view.fit == "stretch" else view.size
        largest = tested + (min(width, height) - tested) * self.crop
        smallest = tested * math.sqrt(1 - (1 - _SMALLEST) * self.crop)
        side = math.sqrt(smallest**2 + (largest**2 - smallest**2) * self.area)
        stretch = math.exp(self.shape * _SHAPE * self.crop / 2)
        across, down = min(side * stretch, float(width)), min(side / stretch, float(height))
        reach = self.crop / 2
        return across, down, (width - across) * (0.5 + reach * self.wander[0]), (height - down) * (0.5 + reach * self.wander[1])

    def _plain(self, pixels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
        """Cut the square that a prediction uses, mirrored if that was drawn; the pixels keep their values."""
        height, width = pixels.shape[1:3]
        shown = pixels if view.fit == "stretch" else replace(view, crops=1).cuts(width, height)[0].out_of(pixels)
        return shown[:, :: -1 if self.upside_down else 1, :: -1 if self.flipped else 1].copy()

    def _coloured(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Brightness, contrast, saturation and hue in one matrix, the same for every picture."""
        if not any(self.colour):
            return pixels
        brightness, contrast, saturation, hue = self.colour
        grey = np.tile(_GREY, (3, 1))
        mixed = (1 + saturation) * np.eye(3) - saturation * grey
        angle = hue * math.pi / 4
        swirl = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)  # turns colours about the grey axis
        turned = np.full((3, 3), (1 - math.cos(angle)) / 3) + math.cos(angle) * np.eye(3) + math.sin(angle) * swirl
        linear = (1 + contrast) * turned @ mixed
        level = float(pixels.mean(dtype=np.float64))
        offset = (1 + brightness) * level - linear @ np.full(3, level)
        matrix = np.hstack([linear, offset[:, None]])
        flat: NDArray[np.uint8] = cv2.transform(pixels.reshape(1, -1, 3), matrix).reshape(pixels.shape)  # rounds and saturates
        return flat

    def _covered(self, pixels: NDArray[np.uint8], *, flow: bool = False) -> NDArray[np.uint8]:
        """Erase the same rectangle of every frame with one colour; in flow, with zero motion."""
        if not self.spot:
            return pixels
        share, shape, x, y, *colour = self.spot
        area = (_ERASED[0] + (_ERASED[1] - _ERASED[0]) * share) * pixels.shape[1] * pixels.shape[2]
        stretch = math.exp((2 * shape - 1) * math.log(2))
        across = min(pixels.shape[2], max(1, round(math.sqrt(area * stretch))))
        down = min(pixels.shape[1], max(1, round(math.sqrt(area / stretch))))
        left, top = int(x * (pixels.shape[2] - across + 1)), int(y * (pixels.shape[1] - down + 1))
        covered = pixels.copy()
        covered[:, top : top + down, left : left + across] = _REST if flow else np.array([255 * each for each in colour])
        return covered

    def _grainy(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Grain, another for every picture: pieces of one sheet, because so many random numbers take their time."""
        if self.noise * 255 < 0.5:
            return pixels
        rng, (height, width) = np.random.default_rng(self.seed), pixels.shape[1:3]
        sheet = rng.standard_normal((height + 32, width + 32, 3), dtype=np.float32) * np.float32(self.noise * 255)
        grain = np.rint(sheet).astype(np.int16)
        out = np.empty_like(pixels)
        for picture, (top, left) in enumerate(rng.integers(0, 33, (len(pixels), 2))):
            piece = grain[top : top + height, left : left + width]
            out[picture] = cv2.add(pixels[picture], piece, dtype=cv2.CV_8U)
        return out


@dataclass(frozen=True)
class Drawn(View):
    """A view's moments for one look in training: one window, moved, faster or slower, inside the segment."""

    lead: float = 0.0
    loose: float = 0.0
    pace: float = 1.0
    seed: int = field(default=0)

    def timestamps(self, start: float, end: float) -> NDArray[np.float64]:
        """(1, F) ascending seconds in [start, end)."""
        usual = super().timestamps(start, end)  # (W, F)
        rng = np.random.default_rng(self.seed)
        window = usual[rng.integers(len(usual))]
        if self.lead == 0 and self.loose == 0 and self.pace == 1:
            return np.array([window])
        length = self._length(end - start)
        slack = max(0.0, end - start - length)
        lead = slack * (0.5 + self.lead / 2) if self.loose else (window[0] + window[-1] - length) / 2 - start
        jitter = self.loose * (rng.random(self.frames) - 0.5) if self.fps is None else 0.0
        moments = start + min(max(lead, 0.0), slack) + length * (np.arange(self.frames) + 0.5 + jitter) / self.frames
        return within(moments, start, end).reshape(1, -1)

    def _length(self, whole: float) -> float:
        """Return how many seconds of the segment the window takes."""
        if self.fps is not None:
            return self.frames / self.fps * self.pace
        return whole / (self.windows or 1) * min(self.pace, 1 / self.pace)  # slower than all of it there is nothing
