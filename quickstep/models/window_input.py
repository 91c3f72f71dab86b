"""What a backbone is shown of a segment, window by window: pictures, or the flow of them.

Knows backbones by their contract: `reads`, and `flow_config` where that is "flow". People are shown by `people`.
"""

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

Watch = Callable[[Segment, Frames], None]


@dataclass(frozen=True)
class Shown:
    """The windows of segments, as one backbone reads them; flow is kept for whoever reads it next."""

    backbone: Backbone
    view: View
    cache: Cache
    watch: Watch | None = None

    def windows(self, segment: Segment, *, threads: int = 1) -> Iterator[Frames | Flow]:
        """The windows of a segment; as many `threads` may look for flow at once."""
        watch = None if self.watch is None else partial(self.watch, segment)
        config = flow_of(self.backbone)
        if config is not None:
            from quickstep.signals.flow.reader import read_flow  # who reads pictures needs no OpenCV

            yield from read_flow(segment, self.view, config, self.cache, threads=threads, watch=watch)
            return
        for frames in read_windows(segment, self.view):
            if watch is not None:
                watch(frames)
            yield frames

    @property
    def key(self) -> dict[str, Json]:
        """What decides these windows beside the video, the view and the decoder."""
        config = flow_of(self.backbone)
        if config is None:
            return {}
        from quickstep.signals.flow.reader import identity_of

        return {"flow": identity_of(config)}


def flow_of(backbone: Backbone) -> FlowConfig | None:
    """How the flow is found that a backbone reads; None for one that reads something else."""
    return backbone.flow_config if reads_flow(backbone) else None
