"""draw_flow: draw the flow of a video as colours, as a new video or one sheet of moments, and summarize it.

The hue is the direction, the brightness the square root of the speed, so that slow motion is visible, too. A wheel in the corner is the
legend; its rim is the bound. A few frames at a time are in memory, for any length of the video.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow.config import FlowConfig, FlowLook
from quickstep.signals.flow.reader import REST, FlowEstimator
from quickstep.signals.opencv import cv2
from quickstep.signals.video import OVERHANG, VideoReader, write_video
from quickstep.signals.video.prefetch import prefetch
from quickstep.storage.files import write_bytes
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.registry import trust_typed
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

Pixels = NDArray[np.uint8]
Times = NDArray[np.float64]

_VIDEOS, _SHEETS = (".mp4", ".m4v", ".mov"), (".png",)
_BATCH = 8  # fields
_COLUMNS, _ROWS = 4, 3  # of a sheet
_GAP = 4  # pixels between its moments


@dataclass(frozen=True)
class DrawnFlow:
    """The drawn file, and a summary of the motion."""

    path: Path
    fields: int
    seconds: float
    speed: float  # pixels a frame, mean over all points
    fast: float  # the 99th percentile
    over: float  # share of the points that reach the bound
    still: float  # share of the points without motion
    bound: float
    short: int  # pixels of the short edge of the frames
    lost: int  # frames that could not be decoded

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.fields} fields of {self.seconds:.1f} s; the mean speed is {self.speed:.2f} pixels a frame "
            f"({self.speed / self.short:.2%} of the short edge, {self.short}), the fastest 1 % have {self.fast:.1f} or more; "
            f"{self.still:.0%} do not move, {self.over:.2%} reach the bound of {self.bound:g}"
            + (f"; {self.lost} frames were damaged" if self.lost else "")
        )


def draw_flow(
    video: str | Path,
    out: str | Path,
    *,
    config: FlowConfig | None = None,
    look: FlowLook | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> DrawnFlow:
    """Draw how the points of a video move, as a video (.mp4) of the same frame rate, or as one sheet of twelve moments (.png)."""
    config, look, out = config or FlowConfig(), look or FlowLook(), Path(out)
    trust_typed(config.method)
    sheet = _is_sheet(Path(video), out)
    with VideoReader(video, threads=2) as reader, FlowEstimator(config, threads=threads or os.cpu_count() or 1) as estimator:
        start, end, fps = _span(reader, look)
        width, height = reader.info.width, reader.info.height
        view = View(frames=1, size=min(look.size, max(8, min(width, height))), fit="uncut", resample="area")
        count = max(1, int((end - start) * fps + 1e-6))
        times = start + (np.arange(count, dtype=np.float64) + 0.5) / fps  # the middle of each frame's time
        rows = _sheet_rows(times) if sheet else _video_rows(times)
        statistics = _Statistics(config.bound)
        decoded = prefetch(reader.windows(rows, view=view), size=2, name="decode")
        steps = sum(len(row) - 1 for row in rows)
        painted = prefetch(_painted(decoded, estimator, statistics, look, (steps, progress)), size=4, name="paint")
        with closing(decoded), closing(painted):  # the threads must end before the reader is closed
            if sheet:
                _write_sheet(out, _sheet(list(painted)))
            else:
                write_video(out, painted, fps=fps, threads=2, preset="veryfast")
    return statistics.summarize(out, end - start, view.size)


# -- moments -----------------------------------------------------------------------------------------------------------------


def _is_sheet(video: Path, out: Path) -> bool:
    """Whether the output is a sheet, not a video; check its name."""
    if out.suffix.lower() not in (*_VIDEOS, *_SHEETS):
        raise ConfigError("out", f"must end in .mp4 (a video) or .png (a picture), not {str(out.name or out)!r}")
    if video.resolve() == out.resolve():
        raise ConfigError("out", f"{out} is the video itself; give another name")
    if not out.parent.is_dir():
        raise ConfigError("out", f"the folder {out.parent} for {out.name} does not exist")
    return out.suffix.lower() in _SHEETS


def _span(reader: VideoReader, look: FlowLook) -> tuple[float, float, float]:
    """Return the first and last second to draw, and the frame rate."""
    info = reader.info
    if look.start >= info.duration:
        raise MediaError(reader.path, f"ends at {info.duration:.3f} s, before the start, {look.start:g} s")
    if look.end is not None and look.end > info.duration + OVERHANG:
        raise MediaError(reader.path, f"ends at {info.duration:.3f} s, before the end, {look.end:g} s")
    end = info.duration if look.end is None else min(look.end, info.duration)
    return look.start, end, look.fps or min(max(info.fps or 25.0, 1.0), 120.0)


def _video_rows(times: Times) -> list[Times]:
    """Return batches of times, each with the one after it; the last frame is repeated, so its flow is zero."""
    extended = np.append(times, times[-1])
    return [extended[at : at + _BATCH + 1] for at in range(0, len(times), _BATCH)]


def _sheet_rows(times: Times) -> list[Times]:
    """Return pairs of times, spread evenly."""
    starts = len(times) - 1
    chosen = np.unique(((np.arange(_COLUMNS * _ROWS) + 0.5) / (_COLUMNS * _ROWS) * starts).astype(int))
    return [times[[at, min(at + 1, starts)]] for at in chosen]


# -- frames -----------------------------------------------------------------------------------------------------------------


def _painted(
    decoded: Iterator[Frames], estimator: FlowEstimator, statistics: _Statistics, look: FlowLook, steps: tuple[int, Progress]
) -> Iterator[Pixels]:
    """Yield each field in colours, beside its frame if wanted, of an even width and height."""
    total, progress = steps
    for frames in decoded:
        flow = estimator.estimate(frames)
        statistics.add(flow)
        for levels, picture in zip(flow.levels, frames.pixels):
            drawn = to_colours(levels)
            height, width = (max(2, edge // 2 * 2) for edge in drawn.shape[:2])
            drawn = _even(drawn, height, width)
            _put_wheel(drawn, _wheel_for(min(height, width) // 4, flow.bound))
            yield np.hstack([_even(picture, height, width), drawn]) if look.beside else drawn
        progress("drawing", statistics.fields, total)


def _even(picture: Pixels, height: int, width: int) -> Pixels:
    """Cut a picture to an even number of rows and columns; a single one is doubled."""
    rows, columns = max(0, height - picture.shape[0]), max(0, width - picture.shape[1])
    padded: Pixels = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")
    cut: Pixels = np.ascontiguousarray(padded[:height, :width])
    return cut


def to_colours(levels: NDArray[np.uint8]) -> Pixels:
    """Convert levels (H, W, 2) to colours (H, W, 3): hue for the direction, brightness for the speed."""
    colours: Pixels = _colour_table()[levels[..., 1], levels[..., 0]]
    return colours


@lru_cache(maxsize=1)
def _colour_table() -> Pixels:
    """Return the colour of every pair of levels, (256 down, 256 right, 3)."""
    down, right = np.mgrid[:256, :256].astype(np.float32)
    down, right = (down - REST) / 127, (right - REST) / 127
    speed = np.clip(np.hypot(right, down), 0, 1)
    hue = np.degrees(np.arctan2(down, right)) % 360
    colours = cv2.cvtColor(np.stack([hue, np.ones_like(hue), np.sqrt(speed)], axis=-1).astype(np.float32), cv2.COLOR_HSV2RGB)
    table: Pixels = np.rint(colours * 255).astype(np.uint8)
    return table


@lru_cache(maxsize=8)
def _wheel_for(size: int, bound: float) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return the legend, a wheel with each colour in the direction of its motion and the bound below, and the mask of its shape."""
    size = max(8, size)
    wheel = cv2.resize(_colour_table()[1:, 1:], (size, size), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = np.hypot(x, y) <= size / 2
    wheel[np.hypot(x, y) > size / 2 - max(1, size // 48)] = 255  # the rim
    text, scale = f"{bound:g} px", size / 150
    if size < 40:  # too small for text
        return wheel, inside
    (text_width, text_height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    strip = np.zeros((text_height + baseline + 4, size, 3), np.uint8)
    position = ((size - text_width) // 2, text_height + 2)
    cv2.putText(strip, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([wheel, strip]), np.vstack([inside, np.ones(strip.shape[:2], bool)])


def _put_wheel(picture: Pixels, wheel: tuple[Pixels, NDArray[np.bool_]]) -> None:
    """Draw the legend into the lower right corner, if it fits."""
    colours, inside = wheel
    height, width = inside.shape
    if height <= picture.shape[0] and width <= picture.shape[1]:
        picture[picture.shape[0] - height :, picture.shape[1] - width :][inside] = colours[inside]


def _sheet(tiles: list[Pixels]) -> Pixels:
    """Arrange the moments in rows; free places are white."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // _COLUMNS)
    columns = min(_COLUMNS, len(tiles))
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // _COLUMNS * (height + _GAP), number % _COLUMNS * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _write_sheet(out: Path, sheet: Pixels) -> None:
    """Write a PNG atomically."""
    blob = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
    try:
        write_bytes(out, blob)
    except OSError as error:
        raise MediaError(out, f"cannot be written: {error.strerror or error}") from error


# -- statistics -------------------------------------------------------------------------------------------------------------


class _Statistics:
    """Counts how many points have which levels, so that drawn fields need not be kept."""

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._pairs = np.zeros(1 << 16, np.int64)  # of level down * 256 + level right
        self._lost = 0
        self.fields = 0

    def add(self, flow: Flow) -> None:
        """Count the levels of some fields."""
        pairs = flow.levels[..., 1].astype(np.uint16) * np.uint16(256) + flow.levels[..., 0]
        self._pairs += np.bincount(pairs.ravel(), minlength=1 << 16)
        self.fields += len(flow)
        self._lost += flow.lost

    def summarize(self, out: Path, seconds: float, short: int) -> DrawnFlow:
        """Summarize all fields."""
        down, right = np.divmod(np.arange(1 << 16), 256)
        speeds = np.hypot(down - REST, right - REST) * (self._bound / 127)
        over = np.maximum(np.abs(down - REST), np.abs(right - REST)) >= 127
        total = max(1, int(self._pairs.sum()))
        order = np.argsort(speeds, kind="stable")
        fast = speeds[order][np.searchsorted(np.cumsum(self._pairs[order]), 0.99 * total)]
        return DrawnFlow(
            path=out,
            fields=self.fields,
            seconds=float(seconds),
            speed=float((speeds * self._pairs).sum() / total),
            fast=float(fast),
            over=float(self._pairs[over].sum() / total),
            still=float(self._pairs[REST * 256 + REST] / total),
            bound=self._bound,
            short=short,
            lost=self._lost,
        )
