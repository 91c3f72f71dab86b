"""FrameStatistics: colours, their layout and edges of single frames; sees no motion and needs no weights.

The baseline of one frame uses it where the model's own backbone reads motion alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones.interface import Backbone, Capabilities, check_view
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

Array = NDArray[np.float32]

SIZE = 64
COLOURS = 4  # steps of each of red, green and blue
COLOUR_GRID = 8  # cells a side, for colours
EDGE_GRIDS = (2, 4, 8)  # cells a side, for edges
DIRECTIONS = 8  # of half a turn: an edge has no sign


class FrameStatistics:
    """The backbone of single frames that needs no download; frames do not influence each other."""

    capabilities = Capabilities(parallel=True)
    name = "still"
    revision = "1"
    license = "Apache-2.0"
    view = View(frames=1, size=SIZE, fit="stretch", resample="area")
    batch = 64
    width = COLOURS**3 + 3 * COLOUR_GRID**2 + DIRECTIONS * sum(side**2 for side in EDGE_GRIDS)

    @property
    def identity(self) -> dict[str, str]:
        """Everything that decides the values."""
        return {"name": self.name, "revision": self.revision}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Compute a vector for each frame of each window."""
        return [Features(np.stack([describe(frame) for frame in frames.pixels]), frames.times) for frames in batch]


def describe(frame: NDArray[np.uint8]) -> Array:
    """Describe one frame (H, W, 3)."""
    steps = frame.reshape(-1, 3).astype(np.int64) * COLOURS // 256
    counts = np.bincount(steps @ (COLOURS**2, COLOURS, 1), minlength=COLOURS**3) / len(steps)
    colours: Array = (frame / 255).astype(np.float32)
    layout = _cell_means(colours, COLOUR_GRID)
    down, across = np.gradient(colours.mean(axis=2))
    strength = np.hypot(down, across)
    angle = np.arctan2(down, across) % np.pi / np.pi * DIRECTIONS
    edges = strength[..., None] * (np.floor(angle)[..., None] % DIRECTIONS == np.arange(DIRECTIONS))  # (H, W, 8)
    grids = [np.sqrt(_cell_means(edges.astype(np.float32), side)) for side in EDGE_GRIDS]
    return np.concatenate([np.sqrt(counts), layout, *grids]).astype(np.float32)


def _cell_means(values: Array, cells: int) -> Array:
    """Average (H, W, C) over each of cells x cells equal parts, as one row."""
    rows, columns = (np.linspace(0, size, cells + 1).astype(int)[:-1] for size in values.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    means: Array = (sums * (cells * cells / (values.shape[0] * values.shape[1]))).ravel().astype(np.float32)
    return means


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
