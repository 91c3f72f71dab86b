"""Tiny videos of plain colours, a library of them, and backbones that are slow or leave a trace: what the library's tests share."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from toys import COLOURS, Words

from quickstep.library import Indexed, Library, index
from quickstep.signals.video import write_video
from quickstep.types.signals import Features, Frames

FPS = 10


def draw(path: Path, *parts: tuple[str, float], seed: int = 0) -> Path:
    """A video that shows each colour for so many seconds; another seed has another noise, so other bytes."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = [colour for colour, seconds in parts for _ in range(round(seconds * FPS))]
    noise = rng.integers(-8, 9, (len(colours), 24, 32, 3))
    pictures = np.clip(np.array([COLOURS[colour] for colour in colours])[:, None, None] + noise, 0, 255).astype(np.uint8)
    write_video(path, list(pictures), fps=FPS)
    return path


def draw_some(folder: Path) -> dict[str, Path]:
    """Five videos: one long of all colours, one short of each, and a second red one."""
    return {
        "long": draw(folder / "long.mp4", ("red", 6), ("blue", 6), ("green", 6)),
        "red": draw(folder / "red.mp4", ("red", 1), seed=1),
        "red2": draw(folder / "red2.mp4", ("red", 5), seed=2),
        "blue": draw(folder / "blue.mp4", ("blue", 3), seed=3),
        "green": draw(folder / "green.mp4", ("green", 4.5), seed=4),
    }


def made(uri: Path, videos: Sequence[str | Path], **options: Any) -> tuple[Library, Indexed]:
    """A library brought up to date with some videos."""
    done = index(uri, videos, backbone=options.pop("backbone", Words()), **options)
    return Library.open(uri), done


def rows_of(library: Library) -> list[tuple[Any, ...]]:
    """Everything in a library, in the order of paths and times."""
    columns = [name for name in library.schema.names if name != "vector"]
    table = library.rows([*columns, "vector"])
    rows = [tuple(str(value) for value in row.values()) for row in table.to_pylist()]
    return sorted(rows)


class Refusing(Words):
    """Looks at nothing."""

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        raise AssertionError("a video was looked at")


class Traced(Words):
    """Slow, and writes down what it is shown: a frame's mean colour, a line each."""

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        time.sleep(0.01)
        made = super().embed(batch)
        trace = os.environ.get("TRACE")
        if trace:
            with Path(trace).open("a") as file:
                file.write("".join(f"{value.round(3).tolist()}\n" for features in made for value in features.values))
        return made
