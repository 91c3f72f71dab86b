"""Numbered pictures on disk -> one video a sequence, so that everything else meets nothing but videos; knows no label.

A sequence is a folder of its own (`ID_036/0001.jpg`), or the files of one beginning in a folder of many (`ID_036_0001.jpg`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quickstep.signals.video import probe, write_video
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import MediaError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_NUMBERED = re.compile(r"^(?P<beginning>.*?)[_.-]?(?P<number>\d{1,9})$")


@dataclass(frozen=True)
class FramesConfig:
    """How numbered pictures become videos."""

    to_videos: Path | None = setting(None, "folder for the videos made of frames (default: NAME-videos beside the manifest)")
    fps: float | None = setting(None, "pictures a second of the frames (default: what suits the set)")
    edge: int | None = setting(None, "scale the videos' short edge down to so many pixels (default: as they are)")

    def __post_init__(self) -> None:
        if self.fps is not None:
            between("fps", self.fps, 0.1, 1000)
        if self.edge is not None:
            between("edge", self.edge, 16, 4096)


@dataclass(frozen=True)
class Pictures:
    """One video's pictures, in order."""

    name: str
    folder: Path
    pictures: tuple[str, ...] = field(repr=False)
    numbers: tuple[int, ...] = field(repr=False)

    @property
    def gaps(self) -> int:
        """How many numbers between the first and the last have no picture."""
        return self.numbers[-1] - self.numbers[0] + 1 - len(self.numbers)


def sequences_in(folder: Path) -> Iterator[Pictures]:
    """The sequences whose pictures lie in a folder itself."""
    found: dict[str, list[tuple[int, str]]] = {}
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise MediaError(folder, f"cannot be read: {error.strerror or error}") from error
    for name in names:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - hundreds of thousands of them
        match = _NUMBERED.match(stem) if suffix.lower() in PICTURE_SUFFIXES else None
        if match:
            found.setdefault(match["beginning"], []).append((int(match["number"]), name))
    for beginning, numbered in sorted(found.items()):
        numbered.sort()
        yield Pictures(beginning, folder, tuple(name for _, name in numbered), tuple(number for number, _ in numbered))


def to_video(sequence: Pictures, path: Path, *, fps: float, edge: int | None = None) -> Path:
    """Write a sequence as a video, whole or not at all; one that is there already, and newer than its pictures, is kept."""
    if _is_made(sequence, path, fps):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, _pictures(sequence, edge), fps=fps, crf=18, preset="veryfast")
    return path


def _is_made(sequence: Pictures, path: Path, fps: float) -> bool:
    if not path.is_file():
        return False
    newest = max((sequence.folder / name).stat().st_mtime for name in sequence.pictures)
    try:
        made = probe(path)
    except MediaError:
        return False
    same_pace = made.fps is not None and abs(made.fps - fps) < 0.01 * fps
    return newest <= path.stat().st_mtime and made.frames == len(sequence.pictures) and same_pace


def _pictures(sequence: Pictures, edge: int | None) -> Iterator[NDArray[np.uint8]]:
    """The pictures, all of the first one's size, which is brought to even numbers as videos want them."""
    first: tuple[int, int] | None = None
    for name in sequence.pictures:
        path = sequence.folder / name
        shown, size = _open(path, edge)
        if first is not None and size != first:
            raise MediaError(path, f"is {size[0]}x{size[1]} where the first is {first[0]}x{first[1]}")
        first = size
        width, height = _even(size, edge)
        yield shown[:height, :width]  # an odd row or column is left out


def _open(path: Path, edge: int | None) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A picture, scaled down where it is to be, and the size it has on disk."""
    try:
        with Image.open(path) as picture:
            size = picture.size
            scaled = _even(size, edge)
            if edge is None or min(size) <= edge:
                return np.asarray(picture.convert("RGB")), size
            picture.draft("RGB", scaled)  # a JPEG is decoded small at once
            return np.asarray(picture.convert("RGB").resize(scaled, Image.Resampling.BICUBIC)), size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(path, "is no picture that can be read, or is cut off") from error


def _even(size: tuple[int, int], edge: int | None) -> tuple[int, int]:
    scale = min(1.0, edge / min(size)) if edge else 1.0
    width, height = (max(2, int(side * scale + 1e-6) // 2 * 2) for side in size)
    return width, height


def listed_gaps(sequences: Sequence[Pictures]) -> list[str]:
    """A word about numbers that are missing."""
    holed = [sequence for sequence in sequences if sequence.gaps]
    if not holed:
        return []
    worst = max(holed, key=lambda sequence: sequence.gaps)
    return [
        f"{len(holed)} sequences lack pictures in between ({worst.name}: {worst.gaps}); those there are follow each other without a pause"
    ]
