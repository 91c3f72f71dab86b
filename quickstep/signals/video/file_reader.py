"""VideoInfo and FileReader: the properties of a video, and its frames at given times, decoded in this process.

Times are in seconds of presentation, as in a player: edit lists are respected, and 0 is the first frame. The frame at t is the last one
with a time <= t; before the first frame it is the first, after the last the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.video.scaling import FrameScaler, Orientation, Pixels, orientation_of
from quickstep.signals.video.seek_sampler import SeekSampler
from quickstep.signals.video.sequential_sampler import SampledFrame
from quickstep.signals.video.source import VideoSource, translated
from quickstep.types.errors import MediaError
from quickstep.types.signals import Frames
from quickstep.types.view import View


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video as presented: rotated, with square pixels, timed from its first frame."""

    path: Path
    width: int
    height: int
    duration: float  # seconds, from the first frame to the end of the last
    fps: float | None  # average
    frames: int | None  # by the container, without those that an edit list cuts off
    codec: str
    pixel_format: str
    rotation: int  # degrees counter-clockwise that were applied: 0, 90, 180 or 270
    mirrored: bool
    aspect: float  # width of a coded pixel over its height
    container: str
    bytes: int
    bit_rate: int | None
    has_audio: bool
    variable_rate: bool | None  # None: unknown without decoding
    start: float = 0.0  # times count from the first frame
    coded_size: tuple[int, int] = (0, 0)
    disbelieved: float | None = None  # seconds that the file claims to last, where its frames end long before


class FileReader:
    """One open video, decoded in this process."""

    def __init__(self, path: str | Path, *, threads: int = 1, descriptor: int | None = None) -> None:
        self.path = Path(path)
        self._source = VideoSource(self.path, threads=threads, descriptor=descriptor)
        self._sampler: SeekSampler | None = None
        try:
            with translated(self.path):
                self._sampler = SeekSampler(self._source)
                self._orientation = orientation_of(self._sampler.first.frame, _aspect(self._source))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and the reader."""
        if self._sampler is not None:
            self._sampler.close()
        self._source.close()

    @property
    def info(self) -> VideoInfo:
        """The properties of the video."""
        with translated(self.path):
            sampler = self._open_sampler()
            return _describe(self._source, self._orientation, sampler.origin or 0, sampler.first.frame.format.name)

    def windows(self, rows: list[NDArray[np.float64]], view: View | None) -> Iterator[Frames]:
        """Yield one Frames for each row of seconds, in order; a frame in several rows is decoded once."""
        with translated(self.path):
            yield from self._read_rows(rows, np.concatenate(rows), view)

    def _read_rows(self, rows: list[NDArray[np.float64]], times: NDArray[np.float64], view: View | None) -> Iterator[Frames]:
        sampler = self._open_sampler()
        order = np.argsort(times, kind="stable")
        owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        first = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(int)
        scaler = FrameScaler(self._orientation, view)
        limits = [self._limit(times[place]) for place in order]
        open_rows: dict[int, _Row] = {}
        due = 0
        for sampled in sampler.sample(limits):
            place = int(order[sampled.place])
            row = int(owner[place])
            filling = open_rows.setdefault(row, _Row(len(rows[row])))
            seconds = (sampled.pts - sampler.zero) * self._source.tick
            filling.put(place - int(first[row]), scaler.scale_once(sampled.pts, sampled.frame), seconds, sampled)
            while due < len(rows) and (len(rows[due]) == 0 or (due in open_rows and open_rows[due].full)):
                yield open_rows.pop(due, _Row(0)).frames(scaler)
                due += 1
        while due < len(rows):
            yield open_rows.pop(due, _Row(0)).frames(scaler)
            due += 1

    def _limit(self, seconds: float) -> int:
        """Return the timestamp of a time; rounded up a little, so that a time computed from a timestamp gives it again."""
        ticks = min(max(seconds, 0.0) / self._source.tick, 2.0**60)
        return self._open_sampler().zero + int(ticks * (1 + 1e-12) + 1e-9)

    def _open_sampler(self) -> SeekSampler:
        if self._sampler is None:
            raise MediaError(self.path, "is closed")
        return self._sampler


class _Row:
    """The frames of one row while they are decoded."""

    def __init__(self, length: int) -> None:
        self._pixels: list[Pixels | None] = [None] * length
        self._times = np.zeros(length)
        self._missing = length
        self._lost = 0

    def put(self, at: int, pixels: Pixels, time: float, sampled: SampledFrame) -> None:
        self._pixels[at] = pixels
        self._times[at] = time
        self._missing -= 1
        self._lost += not sampled.intact

    @property
    def full(self) -> bool:
        return self._missing == 0

    def frames(self, scaler: FrameScaler) -> Frames:
        decoded = [pixels for pixels in self._pixels if pixels is not None]
        width, height = scaler.box[2:]
        pixels = np.stack(decoded) if decoded else np.zeros((0, height, width, 3), np.uint8)
        return Frames(pixels, self._times, self._lost)


def _aspect(source: VideoSource) -> float:
    """Return width over height of a coded pixel; an implausible one is a damaged header and ignored."""
    ratio = source.stream.sample_aspect_ratio
    aspect = float(ratio) if ratio else 1.0
    return aspect if 1 / 8 <= aspect <= 8 else 1.0


def _describe(source: VideoSource, orientation: Orientation, origin: int, pixel_format: str) -> VideoInfo:
    stream, container = source.stream, source.container
    duration = max(0.0, source.end_time() - origin * source.tick)
    source.check_duration(duration)
    frames, variable = _count(source)
    rate = float(stream.average_rate) if stream.average_rate else None
    if frames and frames > 1 and duration > 0:
        rate = frames / duration
    return VideoInfo(
        path=source.path,
        width=orientation.size[0],
        height=orientation.size[1],
        duration=duration,
        fps=rate,
        frames=frames,
        codec=source.codec.name,
        pixel_format=pixel_format,
        rotation=orientation.turn,
        mirrored=orientation.mirrored,
        aspect=orientation.aspect,
        container=source.format,
        bytes=source.bytes,
        bit_rate=container.bit_rate or None,
        has_audio=bool(container.streams.audio),
        variable_rate=variable,
        coded_size=(orientation.width, orientation.height),
        disbelieved=source.disbelieved,
    )


def _count(source: VideoSource) -> tuple[int | None, bool | None]:
    """Return how many frames the container lists, and whether the gaps between them vary."""
    if not source.format.startswith("mov"):
        return source.stream.frames or None, None
    entries = source.stream.index_entries
    count = sum(not entry.is_discard for entry in entries)
    first = sorted(entry.timestamp for entry in entries[:2000] if not entry.is_discard)
    gaps = [later - earlier for earlier, later in pairwise(first)]
    return count or source.stream.frames or None, (max(gaps) - min(gaps) > max(1, min(gaps) // 10) if gaps else None)
