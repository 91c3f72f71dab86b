"""VideoReader: the properties of a video, and its frames at given times, decoded in this process or in a restricted one of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.video.file_reader import FileReader, VideoInfo
from quickstep.signals.video.remote_reader import RemoteReader, is_isolated
from quickstep.types.errors import MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Frames
from quickstep.types.view import View

OVERHANG = 1.0  # seconds by which a segment may end after its video: labels are often rounded up; more is an error
STRETCH = 16_384  # timestamps that are planned together


class VideoReader:
    """One open video: `with VideoReader(path) as video: video.frames([0.5, 1.0], view=view)`."""

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        kind = RemoteReader if is_isolated() else FileReader
        self._reader: RemoteReader | FileReader = kind(self.path, threads=threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    @property
    def info(self) -> VideoInfo:
        """The properties of the video."""
        return self._reader.info

    def frames(self, times: Sequence[float] | NDArray[np.float64], *, view: View | None = None) -> Frames:
        """Return the frames at the given seconds, in any order, scaled and cropped by the view."""
        return next(self.windows([times], view=view))

    def windows(
        self, moments: Iterable[Sequence[float] | NDArray[np.float64]] | NDArray[np.float64], *, view: View | None = None
    ) -> Iterator[Frames]:
        """Yield one Frames for each row of seconds, in order; a frame in several rows that follow each other is decoded once.

        The rows are taken as they are needed, so they may come from a generator.
        """
        for rows in _stretches(moments):
            if not all(np.isfinite(row).all() for row in rows):
                raise ValueError("times are finite numbers of seconds")
            yield from self._reader.windows(rows, view)


def probe(path: str | Path) -> VideoInfo:
    """Read the properties of a video from its header and its first frame."""
    with VideoReader(path) as video:
        return video.info


def read_frames(path: str | Path, times: Sequence[float] | NDArray[np.float64], *, view: View | None = None, threads: int = 1) -> Frames:
    """Read the frames at the given seconds, rotated, scaled and cropped by the view."""
    with VideoReader(path, threads=threads) as video:
        return video.frames(times, view=view)


def read_windows(segment: Segment, view: View, *, threads: int = 1) -> Iterator[Frames]:
    """Yield one Frames for each window that the view lays over a segment, in order; with several crops, one for each crop."""
    with VideoReader(segment.path, threads=threads) as video:
        duration = video.info.duration
        if segment.start >= duration:
            raise MediaError(segment.path, f"the segment starts at {segment.start:g} s, but the video ends at {duration:.3f} s")
        if segment.end is not None and segment.end > duration + OVERHANG:
            raise MediaError(segment.path, f"the segment ends at {segment.end:g} s, but the video at {duration:.3f} s")
        end = duration if segment.end is None else min(segment.end, duration)
        moments = view.timestamps(segment.start, end)
        if view.crops == 1:
            yield from video.windows(moments, view=view)
            return
        for window in video.windows(moments, view=view.uncut()):
            height, width = window.pixels.shape[1:3]
            yield from (replace(window, pixels=cut.out_of(window.pixels)) for cut in view.cuts(width, height))


def _stretches(moments: Iterable[Sequence[float] | NDArray[np.float64]] | NDArray[np.float64]) -> Iterator[list[NDArray[np.float64]]]:
    """Yield some rows at a time, so that a video of many hours is never planned as a whole."""
    rows: list[NDArray[np.float64]] = []
    count = 0
    for moment in moments:
        rows.append(np.asarray(moment, dtype=np.float64).reshape(-1))
        count += len(rows[-1]) + 1
        if count >= STRETCH:
            yield rows
            rows, count = [], 0
    if rows:
        yield rows
