"""VideoInfo and VideoReader: what a video is, and its frames at given seconds; knows moments and views, not how decoding is planned.

Every time is in seconds of presentation, as a player shows the video: edit lists are respected and 0 is the first
picture that is shown. The picture shown at t is the last whose time is <= t; before the first, the first; after the last, the last.
Reading sound will stand beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.video.scaling import Painter, Pixels, Upright, upright_of
from quickstep.signals.video.seek_sampler import Stepper
from quickstep.signals.video.sequential_sampler import Step
from quickstep.signals.video.source import Source, translated
from quickstep.types.errors import MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Frames
from quickstep.types.view import View

OVERHANG = 1.0  # seconds by which a segment may outlast its video: labels are often rounded up; more is a mistake


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, as it is shown: upright, with square pixels, counted from its first picture."""

    path: Path
    width: int
    height: int
    duration: float  # seconds, from the first picture to the end of the last
    fps: float | None  # average
    frames: int | None  # as the container counts them, those cut off by an edit list left out
    codec: str
    pixel_format: str
    rotation: int  # degrees counter-clockwise that bring it upright: 0, 90, 180 or 270
    mirrored: bool
    aspect: float  # width of a coded pixel over its height
    container: str
    bytes: int
    bit_rate: int | None
    has_audio: bool
    variable_rate: bool | None  # None: only decoding would tell
    start: float = 0.0  # every time counts from the first picture
    coded_size: tuple[int, int] = (0, 0)


class VideoReader:
    """One open video: `with VideoReader(path) as video: video.frames([0.5, 1.0], view=view)`."""

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        self._source = Source(self.path, threads=threads)
        self._stepper: Stepper | None = None
        try:
            with translated(self.path):
                self._stepper = Stepper(self._source)
                self._upright = upright_of(self._stepper.first.frame, _aspect(self._source))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the reader cannot be used any more."""
        if self._stepper is not None:
            self._stepper.close()
        self._source.close()

    @property
    def info(self) -> VideoInfo:
        """What the video is."""
        with translated(self.path):
            stepper = self._stepper_()
            return _describe(self._source, self._upright, stepper.origin or 0, stepper.first.frame.format.name)

    def frames(self, times: Sequence[float] | NDArray[np.float64], *, view: View | None = None) -> Frames:
        """The frames shown at the given seconds, in any order, scaled and cropped as the view says."""
        return next(self.windows([times], view=view))

    def windows(
        self, moments: Sequence[Sequence[float] | NDArray[np.float64]] | NDArray[np.float64], *, view: View | None = None
    ) -> Iterator[Frames]:
        """One Frames for each row of seconds, in the order given; a picture that several rows show is decoded once."""
        rows = [np.asarray(row, dtype=np.float64).reshape(-1) for row in moments]
        times = np.concatenate(rows) if rows else np.zeros(0)
        if not np.isfinite(times).all():
            raise ValueError("moments are finite numbers of seconds")
        with translated(self.path):
            yield from self._scatter(rows, times, view)

    def _scatter(self, rows: list[NDArray[np.float64]], times: NDArray[np.float64], view: View | None) -> Iterator[Frames]:
        stepper = self._stepper_()
        order = np.argsort(times, kind="stable")
        owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        first = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(int)
        painter = Painter(self._upright, view)
        limits = [self._limit(times[place]) for place in order]
        open_rows: dict[int, _Row] = {}
        due = 0
        for step in stepper.steps(limits):
            place = int(order[step.place])
            row = int(owner[place])
            filling = open_rows.setdefault(row, _Row(len(rows[row])))
            filling.put(
                place - int(first[row]), painter.paint_once(step.pts, step.frame), (step.pts - stepper.zero) * self._source.tick, step
            )
            while due < len(rows) and (len(rows[due]) == 0 or (due in open_rows and open_rows[due].full)):
                yield open_rows.pop(due, _Row(0)).frames(painter)
                due += 1
        while due < len(rows):
            yield open_rows.pop(due, _Row(0)).frames(painter)
            due += 1

    def _limit(self, seconds: float) -> int:
        """The time stamp of a moment; a hair is added so that a time that came from a time stamp finds it again."""
        ticks = min(max(seconds, 0.0) / self._source.tick, 2.0**60)
        return self._stepper_().zero + int(ticks * (1 + 1e-12) + 1e-9)

    def _stepper_(self) -> Stepper:
        if self._stepper is None:
            raise MediaError(self.path, "is closed")
        return self._stepper


class _Row:
    """The frames of one window while they come in."""

    def __init__(self, length: int) -> None:
        self._pixels: list[Pixels | None] = [None] * length
        self._times = np.zeros(length)
        self._missing = length
        self._lost = 0

    def put(self, at: int, pixels: Pixels, time: float, step: Step) -> None:
        self._pixels[at] = pixels
        self._times[at] = time
        self._missing -= 1
        self._lost += not step.whole

    @property
    def full(self) -> bool:
        return self._missing == 0

    def frames(self, painter: Painter) -> Frames:
        pictures = [picture for picture in self._pixels if picture is not None]
        width, height = painter.box[2:]
        pixels = np.stack(pictures) if pictures else np.zeros((0, height, width, 3), np.uint8)
        return Frames(pixels, self._times, self._lost)


def probe(path: str | Path) -> VideoInfo:
    """What a video is, from its header and its first picture."""
    with VideoReader(path) as video:
        return video.info


def read_frames(path: str | Path, times: Sequence[float] | NDArray[np.float64], *, view: View | None = None, threads: int = 1) -> Frames:
    """The frames shown at the given seconds, upright, scaled and cropped as the view says."""
    with VideoReader(path, threads=threads) as video:
        return video.frames(times, view=view)


def read_windows(segment: Segment, view: View, *, threads: int = 1) -> Iterator[Frames]:
    """One Frames for each window that the view lays over a segment, in their order; for a view of several crops, one for each of them."""
    with VideoReader(segment.path, threads=threads) as video:
        duration = video.info.duration
        if segment.start >= duration:
            raise MediaError(segment.path, f"the segment starts at {segment.start:g} s, but the video ends at {duration:.3f} s")
        if segment.end is not None and segment.end > duration + OVERHANG:
            raise MediaError(segment.path, f"the segment ends at {segment.end:g} s, but the video already at {duration:.3f} s")
        end = duration if segment.end is None else min(segment.end, duration)
        moments = view.timestamps(segment.start, end)
        if view.crops == 1:
            yield from video.windows(moments, view=view)
            return
        for window in video.windows(moments, view=view.uncut()):
            height, width = window.pixels.shape[1:3]
            yield from (replace(window, pixels=cut.out_of(window.pixels)) for cut in view.cuts(width, height))


def _aspect(source: Source) -> float:
    """Width over height of a coded pixel; an absurd one is a damaged header."""
    ratio = source.stream.sample_aspect_ratio
    aspect = float(ratio) if ratio else 1.0
    return aspect if 1 / 8 <= aspect <= 8 else 1.0


def _describe(source: Source, upright: Upright, origin: int, pixel_format: str) -> VideoInfo:
    stream, container = source.stream, source.container
    duration = max(0.0, source.end_time() - origin * source.tick)
    frames, variable = _count(source)
    rate = float(stream.average_rate) if stream.average_rate else None
    if frames and frames > 1 and duration > 0:
        rate = frames / duration
    return VideoInfo(
        path=source.path,
        width=upright.size[0],
        height=upright.size[1],
        duration=duration,
        fps=rate,
        frames=frames,
        codec=source.codec.name,
        pixel_format=pixel_format,
        rotation=upright.turn,
        mirrored=upright.mirrored,
        aspect=upright.aspect,
        container=source.format,
        bytes=source.bytes,
        bit_rate=container.bit_rate or None,
        has_audio=bool(container.streams.audio),
        variable_rate=variable,
        coded_size=(upright.width, upright.height),
    )


def _count(source: Source) -> tuple[int | None, bool | None]:
    """How many pictures the container lists, and whether their distances vary."""
    if not source.format.startswith("mov"):
        return source.stream.frames or None, None
    entries = source.stream.index_entries
    kept = sum(not entry.is_discard for entry in entries)
    near = sorted(entry.timestamp for entry in entries[:2000] if not entry.is_discard)
    gaps = [later - earlier for earlier, later in pairwise(near)]
    return kept or source.stream.frames or None, (max(gaps) - min(gaps) > max(1, min(gaps) // 10) if gaps else None)
