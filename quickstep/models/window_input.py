"""Read the windows of a segment as a backbone needs them: frames or optical flow. Poses are read by `pose_input`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from quickstep.backbones import reads_flow
from quickstep.signals.flow import FlowConfig
from quickstep.signals.video import read_windows
from quickstep.storage.cache import Cache, Json
from quickstep.types.segment import Segment
from quickstep.types.signals import Flow, Frames

if TYPE_CHECKING:
    from quickstep.backbones import Backbone
    from quickstep.types.view import View

WindowCallback = Callable[[Segment, Frames], None]


@dataclass(frozen=True)
class WindowReader:
    """Reads the windows of segments for one backbone; optical flow goes through the cache."""

    backbone: Backbone
    view: View
    cache: Cache
    on_window: WindowCallback | None = None  # called with the frames of each window

    def read(self, segment: Segment, *, threads: int = 1) -> Iterator[Frames | Flow]:
        """Yield the windows of a segment; `threads` of them compute optical flow at once."""
        on_window = None if self.on_window is None else partial(self.on_window, segment)
        config = flow_config_of(self.backbone)
        if config is not None:
            from quickstep.signals.flow.reader import read_flow  # a backbone that reads frames needs no OpenCV

            yield from read_flow(segment, self.view, config, self.cache, threads=threads, watch=on_window)
            return
        for frames in read_windows(segment, self.view):
            if on_window is not None:
                on_window(frames)
            yield frames

    @property
    def key(self) -> dict[str, Json]:
        """Return what decides the windows besides the video, the view and the decoder."""
        config = flow_config_of(self.backbone)
        if config is None:
            return {}
        from quickstep.signals.flow.reader import identity_of

        return {"flow": identity_of(config)}


def flow_config_of(backbone: Backbone) -> FlowConfig | None:
    """Return how to compute the optical flow that a backbone reads; None for a backbone that reads something else."""
    return backbone.flow_config if reads_flow(backbone) else None
