"""Apply a view to frames that are decoded already, with the scaler that reads video files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from av.video.frame import VideoFrame

from quickstep.signals.video.scaling import FrameScaler, Orientation, Pixels
from quickstep.types.signals import Frames
from quickstep.types.view import View


def apply_view(frames: Frames, view: View) -> Iterator[Frames]:
    """Yield the windows of a view as `read_windows` yields those of a file: at each timestamp the last frame that is not later.

    The frames are of any size and rate; the last one is shown as long as the others are on average.
    """
    if not len(frames):
        raise ValueError("a view needs at least one frame")
    height, width = frames.pixels.shape[1:3]
    scaler = FrameScaler(Orientation(width, height), view.uncut() if view.crops > 1 else view)
    scaled: dict[int, Pixels] = {}
    for timestamps in view.timestamps(float(frames.times[0]), _end_of(frames)):
        places = np.maximum(np.searchsorted(frames.times, timestamps + 1e-9, side="right") - 1, 0)
        for place in set(places.tolist()) - set(scaled):
            scaled[place] = scaler.scale(VideoFrame.from_ndarray(np.ascontiguousarray(frames.pixels[place]), format="rgb24"))
        pixels = np.stack([scaled[place] for place in places.tolist()])
        if view.crops == 1:
            yield Frames(pixels, frames.times[places])
        else:
            for cut in view.cuts(pixels.shape[2], pixels.shape[1]):
                yield Frames(cut.out_of(pixels), frames.times[places])


def _end_of(frames: Frames) -> float:
    """Return the second at which the last frame ends."""
    duration = float(np.median(np.diff(frames.times))) if len(frames) > 1 else 1 / 25
    return float(frames.times[-1]) + duration
