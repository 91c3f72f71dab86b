"""Standing: a backbone of whole windows, shown one picture instead, held for the whole window; what stands still is all it can see.

For the baseline that asks how far one frame goes. Knows no network.
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


class Standing:
    """Repeats each picture as often as the backbone wants frames; in all else it is that backbone."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    @property
    def identity(self) -> dict[str, Any]:
        """The backbone's, and that nothing moves."""
        return {**self._backbone.identity, "standing": True}

    @property
    def capabilities(self) -> Capabilities:
        """The backbone's, for views of one frame."""
        return replace(self._backbone.capabilities, restricts_views=True)

    def check_view(self, view: View) -> None:
        """Takes windows of one frame."""
        if view.frames != 1:
            raise ConfigError("frames", f"one frame is held for a whole window here, not {view.frames}")

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """What the backbone sees in windows where nothing moves."""
        frames = self._backbone.view.frames
        return self._backbone.embed([Frames(np.repeat(each.pixels, frames, axis=0), np.repeat(each.times, frames)) for each in batch])


def on_one_frame(backbone: Backbone, view: View) -> Backbone:
    """The backbone, ready for views of one frame."""
    try:
        check_view(backbone, view)
    except ConfigError:
        return cast(Backbone, Standing(backbone))
    return backbone
