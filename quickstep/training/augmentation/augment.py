"""Augment training windows: draw random changes for a window of a segment, and apply them.

One draw applies to all frames of a window, so the movement stays the same. A draw first gives the timestamps to read. It is then applied to
the uncropped frames, or the uncropped flow, at these timestamps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.opencv import cv2
from quickstep.types.config_fields import between, setting
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View, within

Matrix = NDArray[np.float64]

# The strength of each part at augment=1. Flips and time jitter change a move least: they have their full strength from augment=0.5 on.
_FULL = {"flip": 0.5, "vertical_flip": 0.0, "crop": 1.0, "rotation": 20.0, "colour": 0.4, "noise": 0.08, "erase": 0.5}
_FULL |= {"time_jitter": 1.0, "speed": 0.25}
_FULL_FROM_HALF = ("flip", "time_jitter")
_MIN_CROP_AREA = 0.35  # at crop=1, as a share of the area of the test crop
_MAX_LOG_ASPECT = math.log(4 / 3)  # at crop=1: the logarithm of width over height
_ERASED_AREA = (0.02, 0.2)  # smallest and largest, as shares of the frame
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])
_ZERO_FLOW = 128  # the flow level of a pixel that does not move


@dataclass(frozen=True)
class Augment:
    """How strongly each part of the augmentation may change a window; a part that is None follows `augment`."""

    augment: float = setting(0.5, "strength of the augmentation, 0 (none) to 1; options for one part override it")
    flip: float | None = setting(None, "probability of a horizontal flip, 0 to 1")
    mirror_labels: tuple[str, ...] = setting(
        (), "labels of flipped segments: left-turn:right-turn swaps two labels, a single label is never flipped, none keeps every label"
    )
    vertical_flip: float | None = setting(None, "probability of a vertical flip, 0 to 1; by default 0")
    crop: float | None = setting(None, "strength of random crops (size, aspect ratio, position), 0 to 1")
    rotation: float | None = setting(None, "largest rotation, in degrees")
    colour: float | None = setting(None, "strength of changes in brightness, contrast, saturation and hue, 0 to 1")
    noise: float | None = setting(None, "largest standard deviation of noise, as a share of white")
    erase: float | None = setting(None, "probability that a rectangle is erased, 0 to 1")
    time_jitter: float | None = setting(None, "strength of random shifts of the timestamps inside the segment, 0 to 1")
    speed: float | None = setting(None, "largest change of speed, as a share: 0.25 is up to 1.25 times as fast or as slow")

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
        """Return the strength of one part: its own value, else the one that follows from `augment`."""
        value: float | None = getattr(self, name)
        if value is not None:
            return value
        overall = min(1.0, 2 * self.augment) if name in _FULL_FROM_HALF else self.augment
        return _FULL[name] * overall

    @property
    def strengths(self) -> dict[str, float]:
        """The strengths of all parts by name."""
        return {part.name: self.strength(part.name) for part in fields(self) if part.name in _FULL}

    @property
    def keeps_timestamps(self) -> bool:
        """Whether no draw changes the timestamps."""
        return self.strength("time_jitter") == 0 and self.strength("speed") == 0

    def draw(self, rng: np.random.Generator, *, mirrors: bool = True) -> Draw:
        """Draw the changes for one window; `mirrors=False` rules out a horizontal flip.

        The number of random values does not depend on the strengths: a part that is switched off leaves the other parts unchanged.
        """
        flip, vertical, area, aspect, erase = rng.random(5)
        shift, rotation, offset, speed = rng.uniform(-1, 1, 2), *rng.uniform(-1, 1, 3)
        colour, noise, rectangle, seed = rng.uniform(-1, 1, 4), rng.random(), rng.random(7), int(rng.integers(2**63))
        strength = self.strengths
        return Draw(
            flipped=bool(mirrors and flip < strength["flip"]),
            upside_down=bool(vertical < strength["vertical_flip"]),
            crop=strength["crop"],
            area=float(area),
            aspect=float(2 * aspect - 1),
            shift=(float(shift[0]), float(shift[1])),
            rotation=float(rotation) * strength["rotation"],
            colour=tuple(float(change) * strength["colour"] for change in colour),
            noise=float(noise) * strength["noise"],
            rectangle=tuple(map(float, rectangle)) if erase < strength["erase"] else (),
            offset=float(offset) * strength["time_jitter"],
            jitter=strength["time_jitter"],
            speed=(1 + strength["speed"]) ** float(speed),
            seed=seed,
        )


NOTHING = Augment(augment=0.0)


@dataclass(frozen=True)
class Draw:
    """Random changes to one window of a segment, the same for all its frames."""

    flipped: bool
    upside_down: bool
    crop: float  # 0..1: the strength of cropping
    area: float  # 0..1: smallest to largest crop
    aspect: float  # -1..1: narrow to wide crop
    shift: tuple[float, float]  # -1..1: position of the crop, horizontal and vertical
    rotation: float  # degrees
    colour: tuple[float, ...]  # brightness, contrast, saturation, hue
    noise: float  # standard deviation, as a share of white
    rectangle: tuple[float, ...]  # of the erased rectangle, each 0..1: area, aspect, x, y, red, green, blue; empty if nothing is erased
    offset: float  # -1..1: from the start to the end of the free time around the window
    jitter: float  # 0..1: how far each timestamp moves, in a view without a fixed frame rate
    speed: float  # as a factor
    seed: int  # for what is drawn per frame

    def view(self, view: View) -> View:
        """Return the uncropped view of one window with the drawn timestamps."""
        if view.windows == 1 and (self.offset, self.jitter, self.speed) == (0, 0, 1):
            return view.uncut()  # a plain view, whose flow may be in the cache
        settings = {part.name: getattr(view, part.name) for part in fields(View)} | {"crops": 1}
        return AugmentedView(**settings, offset=self.offset, jitter=self.jitter, speed=self.speed, seed=self.seed).uncut()

    def frames(self, frames: Frames, view: View) -> Frames:
        """Apply the changes to uncropped frames; the result has the size of the view."""
        pixels = frames.pixels
        matrix = self._matrix(pixels.shape[2], pixels.shape[1], view)
        size = (view.size, view.size)
        if matrix is None:
            changed = self._crop_without_resampling(pixels, view)
        else:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            changed = np.stack([cv2.warpAffine(frame, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101) for frame in pixels])
        changed = self._erase(self._change_colours(changed))
        return replace(frames, pixels=np.ascontiguousarray(self._add_noise(changed)))

    def flow(self, flow: Flow, view: View) -> Flow:
        """Apply the changes to uncropped flow: its vectors are moved, and also rotated, scaled and mirrored."""
        matrix = self._matrix(flow.levels.shape[2], flow.levels.shape[1], view)
        if matrix is None:
            levels = self._crop_without_resampling(flow.levels, view)
            for axis, mirrored in enumerate((self.flipped, self.upside_down)):
                if mirrored:  # level 1 is the opposite of 255, so 256 - level; bytes wrap around
                    levels[..., axis] = np.negative(levels[..., axis].clip(1))
            return replace(flow, levels=np.ascontiguousarray(self._erase(levels, flow=True)))
        flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (view.size, view.size)
        moved = np.stack([cv2.warpAffine(field, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT) for field in flow.pixels])
        vectors = moved @ np.linalg.inv(matrix[:, :2]).T.astype(np.float32)  # from pixels of the uncropped frame to pixels of the view
        changed = Flow.of(vectors, flow.times, bound=flow.bound, lost=flow.lost)
        return replace(changed, levels=self._erase(changed.levels, flow=True))

    def _matrix(self, width: int, height: int, view: View) -> Matrix | None:
        """Return the (2, 3) map from pixels of the view to pixels of the uncropped frame; None if nothing is resampled."""
        if self.crop == 0 and self.rotation == 0:
            return None
        crop_width, crop_height, left, top = self._crop_box(width, height, view)
        angle = math.radians(self.rotation)
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        scale = np.diag([crop_width / view.size * (-1 if self.flipped else 1), crop_height / view.size * (-1 if self.upside_down else 1)])
        linear = rotation @ scale
        centre = np.array([(view.size - 1) / 2] * 2)
        offset = np.array([left + (crop_width - 1) / 2, top + (crop_height - 1) / 2]) - linear @ centre
        return np.hstack([linear, offset[:, None]])

    def _crop_box(self, width: int, height: int, view: View) -> tuple[float, float, float, float]:
        """Return the width, height, left and top of the crop, in pixels of the uncropped frame."""
        test_side = width if view.fit == "stretch" else view.size
        largest = test_side + (min(width, height) - test_side) * self.crop
        smallest = test_side * math.sqrt(1 - (1 - _MIN_CROP_AREA) * self.crop)
        side = math.sqrt(smallest**2 + (largest**2 - smallest**2) * self.area)
        stretch = math.exp(self.aspect * _MAX_LOG_ASPECT * self.crop / 2)
        crop_width, crop_height = min(side * stretch, float(width)), min(side / stretch, float(height))
        left, top = (0.5 + self.crop / 2 * shift for shift in self.shift)
        return crop_width, crop_height, (width - crop_width) * left, (height - crop_height) * top

    def _crop_without_resampling(self, pixels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
        """Return the crop that is used in tests, flipped if drawn; the values of its pixels stay as they are."""
        height, width = pixels.shape[1:3]
        crop = pixels if view.fit == "stretch" else replace(view, crops=1).cuts(width, height)[0].out_of(pixels)
        return crop[:, :: -1 if self.upside_down else 1, :: -1 if self.flipped else 1].copy()

    def _change_colours(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Change brightness, contrast, saturation and hue by one matrix, the same for every frame."""
        if not any(self.colour):
            return pixels
        brightness, contrast, saturation, hue = self.colour
        grey = np.tile(_GREY_WEIGHTS, (3, 1))
        saturated = (1 + saturation) * np.eye(3) - saturation * grey
        angle = hue * math.pi / 4
        around_grey = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)  # rotates colours about the grey axis
        rotated = np.full((3, 3), (1 - math.cos(angle)) / 3) + math.cos(angle) * np.eye(3) + math.sin(angle) * around_grey
        linear = (1 + contrast) * rotated @ saturated
        level = float(pixels.mean(dtype=np.float64))
        offset = (1 + brightness) * level - linear @ np.full(3, level)
        matrix = np.hstack([linear, offset[:, None]])
        changed: NDArray[np.uint8] = cv2.transform(pixels.reshape(1, -1, 3), matrix).reshape(pixels.shape)  # rounds and clips
        return changed

    def _erase(self, pixels: NDArray[np.uint8], *, flow: bool = False) -> NDArray[np.uint8]:
        """Fill the same rectangle of every frame with one colour; in flow, with no movement."""
        if not self.rectangle:
            return pixels
        share, aspect, x, y, *colour = self.rectangle
        area = (_ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * share) * pixels.shape[1] * pixels.shape[2]
        stretch = math.exp((2 * aspect - 1) * math.log(2))
        width = min(pixels.shape[2], max(1, round(math.sqrt(area * stretch))))
        height = min(pixels.shape[1], max(1, round(math.sqrt(area / stretch))))
        left, top = int(x * (pixels.shape[2] - width + 1)), int(y * (pixels.shape[1] - height + 1))
        erased = pixels.copy()
        erased[:, top : top + height, left : left + width] = _ZERO_FLOW if flow else np.array([255 * channel for channel in colour])
        return erased

    def _add_noise(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Add noise, different in every frame: crops of one larger noise image, which is much faster than new noise for each frame."""
        if self.noise * 255 < 0.5:
            return pixels
        rng, (height, width) = np.random.default_rng(self.seed), pixels.shape[1:3]
        image = rng.standard_normal((height + 32, width + 32, 3), dtype=np.float32) * np.float32(self.noise * 255)
        noise = np.rint(image).astype(np.int16)
        noisy = np.empty_like(pixels)
        for frame, (top, left) in enumerate(rng.integers(0, 33, (len(pixels), 2))):
            crop = noise[top : top + height, left : left + width]
            noisy[frame] = cv2.add(pixels[frame], crop, dtype=cv2.CV_8U)
        return noisy


@dataclass(frozen=True)
class AugmentedView(View):
    """A view of one training window, with its position, speed and timestamps changed inside the segment."""

    offset: float = 0.0
    jitter: float = 0.0
    speed: float = 1.0
    seed: int = field(default=0)

    def timestamps(self, start: float, end: float) -> NDArray[np.float64]:
        """Return ascending seconds in [start, end), of shape (1, frames)."""
        unchanged = super().timestamps(start, end)  # (windows, frames)
        rng = np.random.default_rng(self.seed)
        window = unchanged[rng.integers(len(unchanged))]
        if self.offset == 0 and self.jitter == 0 and self.speed == 1:
            return np.array([window])
        duration = self._duration(end - start)
        free = max(0.0, end - start - duration)
        before = free * (0.5 + self.offset / 2) if self.jitter else (window[0] + window[-1] - duration) / 2 - start
        jitter = self.jitter * (rng.random(self.frames) - 0.5) if self.fps is None else 0.0
        timestamps = start + min(max(before, 0.0), free) + duration * (np.arange(self.frames) + 0.5 + jitter) / self.frames
        return within(timestamps, start, end).reshape(1, -1)

    def _duration(self, segment: float) -> float:
        """Return the seconds of the segment that the window covers, for a segment of so many seconds."""
        if self.fps is not None:
            return self.frames / self.fps * self.speed
        # Frames spread over the segment: a window cannot cover more than all of it, so a change of speed always shortens the window.
        return segment / (self.windows or 1) * min(self.speed, 1 / self.speed)
