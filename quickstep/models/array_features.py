"""Compute features of signals that are in memory: no file is read and nothing is cached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quickstep.models.feature_extraction import Extraction, flow_config_of
from quickstep.models.pose_input import PoseReader
from quickstep.signals.poses.estimation import to_skeleton
from quickstep.signals.video import apply_view
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features, Flow, Frames, Poses

if TYPE_CHECKING:
    from quickstep.backbones import Backbone
    from quickstep.types.view import View

Windows = Sequence[Frames | Flow]  # of one segment, as the model's view gives them
Signal = Frames | Flow | Poses | Windows
Signals = Frames | Flow | Poses | Sequence[Signal]


def list_signals(signals: Signals) -> list[Signal]:
    """Return the signals as a list; a single one is a list of one."""
    if isinstance(signals, Frames | Flow | Poses):
        return [signals]
    listed = list(signals) if isinstance(signals, Iterable) and not isinstance(signals, str | bytes) else [signals]
    for signal in listed:
        windows = [signal] if isinstance(signal, Frames | Flow | Poses) else signal if isinstance(signal, list | tuple) else ()
        if not windows or not all(isinstance(window, Frames | Flow | Poses) for window in windows):
            raise TypeError(f"expected Frames, Flow, Poses, or a list of windows; got {type(signal).__name__} {signal!r:.60}")
    return listed


def name_signals(signals: Sequence[Signal]) -> list[Segment]:
    """Return a segment for each signal: its number and its time span."""
    return [Segment(Path(f"signal {number}"), start=max(0.0, _start(signal))) for number, signal in enumerate(signals, start=1)]


def extract_from_arrays(signals: Sequence[Signal], backbone: Backbone, view: View, people: PoseReader | None) -> Extraction:
    """Compute the features of each signal as `extract` does for a video file; a signal without a visible person is a failure.

    `people` is for a backbone that reads poses; None for others.
    """
    segments = name_signals(signals)
    parts: Sequence[Features | MediaError]
    if people is not None:
        parts = [_of_person(people, segment, signal) for segment, signal in zip(segments, signals, strict=True)]
    else:
        parts = _of_windows(backbone, [list(_windows(signal, backbone, view)) for signal in signals])
    features = {segment: part for segment, part in zip(segments, parts, strict=True) if isinstance(part, Features)}
    failures = [Failure(segment, part) for segment, part in zip(segments, parts, strict=True) if isinstance(part, MediaError)]
    return Extraction(features, tuple(failures), computed=len(signals))


def _start(signal: Signal) -> float:
    first = signal if isinstance(signal, Frames | Flow | Poses) else signal[0]
    return float(first.times[0]) if len(first) else 0.0


def _windows(signal: Signal, backbone: Backbone, view: View) -> Iterator[Frames | Flow]:
    """Yield the windows of a signal as the backbone reads them."""
    config = flow_config_of(backbone)
    kind = Frames if config is None else Flow
    if isinstance(signal, Frames) and config is not None:
        from quickstep.signals.flow.reader import flow_in_frames  # a backbone that reads frames needs no OpenCV

        yield from flow_in_frames(signal, view, config)
    elif isinstance(signal, Frames):
        yield from apply_view(signal, view)
    else:
        for window in [signal] if isinstance(signal, Flow | Poses) else signal:
            if not isinstance(window, kind):
                raise ConfigError("signals", f"the backbone {backbone.name!r} reads {kind.__name__}, not {type(window).__name__}")
            yield window


def _of_windows(backbone: Backbone, windows: Sequence[Sequence[Frames | Flow]]) -> list[Features]:
    """Embed the windows of all signals together, and join those of each signal."""
    features = backbone.embed([window for signal in windows for window in signal])  # type: ignore[misc]  # what it reads
    ends = np.cumsum([len(signal) for signal in windows])
    parts = [features[end - len(signal) : end] for signal, end in zip(windows, ends.tolist(), strict=True)]
    return [Features(np.concatenate([one.values for one in part]), np.concatenate([one.times for one in part])) for part in parts]


def _of_person(people: PoseReader, segment: Segment, signal: Signal) -> Features | MediaError:
    try:
        if not isinstance(signal, Frames | Poses):
            raise ConfigError("signals", f"the backbone {people.backbone.name!r} reads Poses or Frames, not {type(signal).__name__}")
        finder = people.finder
        poses = finder.find_in_frames(signal) if isinstance(signal, Frames) else to_skeleton(signal, finder.skeleton, segment.path)
        arrays = people.extract_from(poses, segment)
    except MediaError as error:
        return error
    return Features(arrays["values"], arrays["times"])
