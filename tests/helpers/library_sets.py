"""Tiny videos of plain colours, libraries of them, and backbones for tests: one that must not be used, and one that records its input."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from toys import COLOURS, Words

from quickstep.library import IndexResult, Library, index
from quickstep.signals.video import write_video
from quickstep.types.signals import Features, Frames

FPS = 10


def draw(path: Path, *parts: tuple[str, float], seed: int = 0) -> Path:
    """Draw a video that shows each colour for so many seconds; another seed gives other noise, so other bytes."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = [colour for colour, seconds in parts for _ in range(round(seconds * FPS))]
    noise = rng.integers(-8, 9, (len(colours), 24, 32, 3))
    frames = np.clip(np.array([COLOURS[colour] for colour in colours])[:, None, None] + noise, 0, 255).astype(np.uint8)
    write_video(path, list(frames), fps=FPS)
    return path


def draw_some(folder: Path) -> dict[str, Path]:
    """Draw five videos: a long one of all colours, a short one of each, and a second red one."""
    return {
        "long": draw(folder / "long.mp4", ("red", 6), ("blue", 6), ("green", 6)),
        "red": draw(folder / "red.mp4", ("red", 1), seed=1),
        "red2": draw(folder / "red2.mp4", ("red", 5), seed=2),
        "blue": draw(folder / "blue.mp4", ("blue", 3), seed=3),
        "green": draw(folder / "green.mp4", ("green", 4.5), seed=4),
    }


def index_videos(uri: Path, videos: Sequence[str | Path], **options: Any) -> tuple[Library, IndexResult]:
    """Index some videos with the toy backbone; return the library and the result."""
    result = index(uri, videos, backbone=options.pop("backbone", Words()), **options)
    return Library.open(uri), result


def rows_of(library: Library) -> list[tuple[Any, ...]]:
    """Return all rows of a library as texts, sorted."""
    columns = [name for name in library.schema.names if name != "vector"]
    table = library.rows([*columns, "vector"])
    rows = [tuple(str(value) for value in row.values()) for row in table.to_pylist()]
    return sorted(rows)


class RefusingBackbone(Words):
    """Fails when it is given frames."""

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        raise AssertionError("a video was embedded")


class TracingBackbone(Words):
    """Is slow, and writes the mean colour of each frame to the file $TRACE, one line each."""

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        time.sleep(0.01)
        features = super().embed(batch)
        trace = os.environ.get("TRACE")
        if trace:
            with Path(trace).open("a") as file:
                file.write("".join(f"{value.round(3).tolist()}\n" for item in features for value in item.values))
        return features
