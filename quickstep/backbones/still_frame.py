"""One frame for a backbone of windows: the frame is repeated for the whole window, so that nothing moves.

For the baseline that asks how far one frame goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from quickstep.backbones.interface import Backbone, Capabilities, check_view
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View


class RepeatedFrame:
    """Repeats each frame as often as the backbone needs frames; otherwise the same as that backbone."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    @property
    def identity(self) -> dict[str, Any]:
        """The backbone's, and that the frame is repeated; files of version 0.1 call it standing."""
        return {**self._backbone.identity, "standing": True}

    @property
    def capabilities(self) -> Capabilities:
        """The backbone's, for views of one frame."""
        return replace(self._backbone.capabilities, restricts_views=True)

    def check_view(self, view: View) -> None:
        """Refuse windows of more than one frame."""
        if view.frames != 1:
            raise ConfigError("frames", f"one frame is repeated for a whole window here, not {view.frames}")

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Compute the features of windows in which nothing moves."""
        count = self._backbone.view.frames
        return self._backbone.embed([Frames(np.repeat(frame.pixels, count, axis=0), np.repeat(frame.times, count)) for frame in batch])


def for_one_frame(backbone: Backbone, view: View) -> Backbone:
    """Return the backbone, or one that repeats the frame where its views need more than one."""
    try:
        check_view(backbone, view)
    except ConfigError:
        return cast(Backbone, RepeatedFrame(backbone))
    return backbone
