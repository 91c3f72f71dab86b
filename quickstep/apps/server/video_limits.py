"""look_into: whether a video may wait for the model at all, told by its header first and by its first picture then. Knows no request."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from quickstep.apps.server.config import Limits
from quickstep.apps.server.error_responses import Problem
from quickstep.signals.video import OVERHANG, VideoInfo, probe
from quickstep.signals.video.source import Source


@dataclass(frozen=True)
class Span:
    """The part of a video that is asked about, in seconds."""

    start: float = 0.0
    end: float | None = None
    whole: bool = False  # the rest of the video has to be looked at too, as where people are followed through it


def look_into(path: Path, span: Span, limits: Limits) -> VideoInfo:
    """What a video is; a Problem where it is too large or too long, or is not there when it is asked about."""
    with contextlib.closing(Source(path)) as source:
        _check_edge(max(source.codec.width, source.codec.height), limits)  # before any picture of that size is made
    info = probe(path)
    _check_edge(max(info.width, info.height, *info.coded_size), limits)
    _check_span(info.duration, span)
    seconds = info.duration if span.whole else min(info.duration, span.end or info.duration) - span.start
    if seconds > limits.max_seconds:
        raise Problem(
            413,
            f"the video is {seconds:.0f} s long, and {limits.max_seconds:g} s are taken at most",
            "send a shorter piece" if span.whole else "send a shorter piece, or name one with start and end",
        )
    return info


def _check_edge(edge: int, limits: Limits) -> None:
    if edge > limits.max_edge:
        raise Problem(413, f"its pictures are {edge} pixels long, and {limits.max_edge} are taken at most", "send the video scaled down")


def _check_span(duration: float, span: Span) -> None:
    if span.start >= duration:
        raise Problem(422, f"start is {span.start:g} s, but the video ends at {duration:.3f} s", "name a start inside the video")
    if span.end is not None and span.end > duration + OVERHANG:
        raise Problem(422, f"end is {span.end:g} s, but the video already ends at {duration:.3f} s", "name an end inside the video")
