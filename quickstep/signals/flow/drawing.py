"""draw_flow: the flow of a video as colours, as a new video or one sheet of moments; and what it says in numbers.

The colour is the direction, the brightness the speed (its square root, so that slow motion is seen too); a wheel in the corner shows
which is which, its rim the bound. Streams: some pictures at a time are in memory, whatever the video's length.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow.config import FlowConfig, FlowLook
from quickstep.signals.flow.flow_fields import REST, Fields
from quickstep.signals.video import OVERHANG, VideoReader, write_video
from quickstep.signals.video.prefetch import prefetch
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

Pixels = NDArray[np.uint8]
Times = NDArray[np.float64]

_VIDEOS, _SHEETS = (".mp4", ".m4v", ".mov"), (".png",)
_AT_ONCE = 8  # fields
_COLUMNS, _ROWS = 4, 3  # of a sheet
_GAP = 4  # pixels between its moments


@dataclass(frozen=True)
class DrawnFlow:
    """What was drawn, and how much moves in it."""

    path: Path
    fields: int  # moments whose motion was found
    seconds: float
    speed: float  # pixels from one picture to the next, the mean over all points
    fast: float  # the same of the hundredth of all points that are fastest
    over: float  # share of the points that move as far as the bound or farther
    still: float  # share that rest
    bound: float
    short: int  # pixels of the short edge of the picture that these are pixels of
    lost: int

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.fields} moments of {self.seconds:.1f} s; the mean speed is {self.speed:.2f} pixels a picture "
            f"({self.speed / self.short:.2%} of the short edge, {self.short}), the fastest hundredth {self.fast:.1f} or more; "
            f"{self.still:.0%} rests, {self.over:.2%} reaches the bound of {self.bound:g}"
            + (f"; {self.lost} pictures were damaged" if self.lost else "")
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
    """Draw how a video's points move, as a video (.mp4) of its pace, or as one sheet of twelve moments (.png)."""
    config, look, out = config or FlowConfig(), look or FlowLook(), Path(out)
    sheet = _checked(Path(video), out)
    with VideoReader(video, threads=2) as reader, Fields(config, threads=threads or os.cpu_count() or 1) as fields:
        start, end, fps = _span(reader, look)
        wide, high = reader.info.width, reader.info.height
        view = View(frames=1, size=min(look.size, max(8, min(wide, high))), fit="uncut", resample="area")
        count = max(1, int((end - start) * fps + 1e-6))
        times = start + (np.arange(count, dtype=np.float64) + 0.5) / fps  # the middle of each picture's time
        rows = _sheet_rows(times) if sheet else _film_rows(times)
        counted = _Counted(config.bound)
        decoded = prefetch(reader.windows(rows, view=view), size=2, name="decode")
        painted = prefetch(_painted(decoded, fields, counted, look, (sum(len(row) - 1 for row in rows), progress)), size=4, name="paint")
        with closing(decoded), closing(painted):  # whatever went wrong: their threads end before the reader is closed under them
            if sheet:
                _write_sheet(out, _sheet(list(painted)))
            else:
                write_video(out, painted, fps=fps, threads=2, preset="veryfast")
    return counted.drawn(out, end - start, view.size)


# -- moments -----------------------------------------------------------------------------------------------------------------


def _checked(video: Path, out: Path) -> bool:
    """Whether a sheet is asked for and not a video."""
    if out.suffix.lower() not in (*_VIDEOS, *_SHEETS):
        raise ConfigError("out", f"a video's name ends in .mp4, a sheet's in .png, unlike {out.name or out}")
    if video.resolve() == out.resolve():
        raise ConfigError("out", f"{out} is the video itself; give another name")
    if not out.parent.is_dir():
        raise ConfigError("out", f"there is no folder {out.parent} to write {out.name} into")
    return out.suffix.lower() in _SHEETS


def _span(reader: VideoReader, look: FlowLook) -> tuple[float, float, float]:
    """The seconds that are drawn and how many pictures of each."""
    info = reader.info
    if look.start >= info.duration:
        raise MediaError(reader.path, f"ends at {info.duration:.3f} s, before --start {look.start:g}")
    if look.end is not None and look.end > info.duration + OVERHANG:
        raise MediaError(reader.path, f"ends at {info.duration:.3f} s, before --end {look.end:g}")
    end = info.duration if look.end is None else min(look.end, info.duration)
    return look.start, end, look.fps or min(max(info.fps or 25.0, 1.0), 120.0)


def _film_rows(times: Times) -> list[Times]:
    """Some pictures at a time, and the one after them; the last of all has none after it and rests."""
    whole = np.append(times, times[-1])
    return [whole[at : at + _AT_ONCE + 1] for at in range(0, len(times), _AT_ONCE)]


def _sheet_rows(times: Times) -> list[Times]:
    """Pairs of pictures, spread evenly."""
    starts = len(times) - 1
    chosen = np.unique(((np.arange(_COLUMNS * _ROWS) + 0.5) / (_COLUMNS * _ROWS) * starts).astype(int))
    return [times[[at, min(at + 1, starts)]] for at in chosen]


# -- pictures ----------------------------------------------------------------------------------------------------------------


def _painted(decoded: Iterator[Frames], fields: Fields, counted: _Counted, look: FlowLook, steps: tuple[int, Progress]) -> Iterator[Pixels]:
    """Each field in colours, beside its picture where that is wished, of an even width and height."""
    total, progress = steps
    for frames in decoded:
        flow = fields.between(frames)
        counted.add(flow)
        for levels, picture in zip(flow.levels, frames.pixels):
            drawn = colours_of(levels)
            height, width = (max(2, edge // 2 * 2) for edge in drawn.shape[:2])
            drawn = _even(drawn, height, width)
            _put_wheel(drawn, _wheel_for(min(height, width) // 4, flow.bound))
            yield np.hstack([_even(picture, height, width), drawn]) if look.beside else drawn
        progress("drawing", counted.fields, total)


def _even(picture: Pixels, height: int, width: int) -> Pixels:
    """The picture with an even number of rows and columns: one more is cut off, or the only one doubled."""
    rows, columns = max(0, height - picture.shape[0]), max(0, width - picture.shape[1])
    whole: Pixels = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")
    cut: Pixels = np.ascontiguousarray(whole[:height, :width])
    return cut


def colours_of(levels: NDArray[np.uint8]) -> Pixels:
    """Levels (H, W, 2) as colours (H, W, 3): hue for the direction, brightness for the speed."""
    colours: Pixels = _table()[levels[..., 1], levels[..., 0]]
    return colours


@lru_cache(maxsize=1)
def _table() -> Pixels:
    """The colour of every pair of levels, (256 down, 256 right, 3)."""
    down, right = np.mgrid[:256, :256].astype(np.float32)
    down, right = (down - REST) / 127, (right - REST) / 127
    speed = np.clip(np.hypot(right, down), 0, 1)
    hue = np.degrees(np.arctan2(down, right)) % 360
    colours = cv2.cvtColor(np.stack([hue, np.ones_like(hue), np.sqrt(speed)], axis=-1).astype(np.float32), cv2.COLOR_HSV2RGB)
    table: Pixels = np.rint(colours * 255).astype(np.uint8)
    return table


@lru_cache(maxsize=8)
def _wheel_for(size: int, bound: float) -> tuple[Pixels, NDArray[np.bool_]]:
    """Where to read the colours: each stands where its motion would bring the middle; the bound is written under it. And its shape."""
    size = max(8, size)
    wheel = cv2.resize(_table()[1:, 1:], (size, size), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = np.hypot(x, y) <= size / 2
    wheel[np.hypot(x, y) > size / 2 - max(1, size // 48)] = 255  # the rim
    text, letters = f"{bound:g} px", size / 150
    if size < 40:  # too small for letters
        return wheel, inside
    (long, high), low = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, letters, 1)
    strip = np.zeros((high + low + 4, size, 3), np.uint8)
    where = ((size - long) // 2, high + 2)
    cv2.putText(strip, text, where, cv2.FONT_HERSHEY_SIMPLEX, letters, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([wheel, strip]), np.vstack([inside, np.ones(strip.shape[:2], bool)])


def _put_wheel(picture: Pixels, wheel: tuple[Pixels, NDArray[np.bool_]]) -> None:
    """Into the lower right corner, where it fits."""
    colours, inside = wheel
    height, width = inside.shape
    if height <= picture.shape[0] and width <= picture.shape[1]:
        picture[picture.shape[0] - height :, picture.shape[1] - width :][inside] = colours[inside]


def _sheet(tiles: list[Pixels]) -> Pixels:
    """The moments in rows; what is left free is white."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // _COLUMNS)
    columns = min(_COLUMNS, len(tiles))
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // _COLUMNS * (height + _GAP), number % _COLUMNS * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _write_sheet(out: Path, sheet: Pixels) -> None:
    """A picture, whole or not at all."""
    blob = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
    try:
        handle, aside = tempfile.mkstemp(prefix=f".{out.name[:80]}.", suffix=".part", dir=out.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(blob)
        Path(aside).chmod(0o644)
        Path(aside).replace(out)
    except OSError as error:
        raise MediaError(out, f"cannot be written: {error.strerror or error}") from error


# -- numbers -----------------------------------------------------------------------------------------------------------------


class _Counted:
    """How many points have which levels, so that nothing has to be kept of a field that was drawn."""

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._pairs = np.zeros(1 << 16, np.int64)  # of level down * 256 + level right
        self._lost = 0
        self.fields = 0

    def add(self, flow: Flow) -> None:
        """Count some fields."""
        pairs = flow.levels[..., 1].astype(np.uint16) * np.uint16(256) + flow.levels[..., 0]
        self._pairs += np.bincount(pairs.ravel(), minlength=1 << 16)
        self.fields += len(flow)
        self._lost += flow.lost

    def drawn(self, out: Path, seconds: float, short: int) -> DrawnFlow:
        """What they say."""
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
