"""Turn numbered images on disk into videos, one for each sequence.

A sequence is a folder of its own (`ID_036/0001.jpg`), or the files with one prefix in a folder of many (`ID_036_0001.jpg`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quickstep.signals.video import probe, write_video
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import MediaError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_NUMBERED = re.compile(r"^(?P<prefix>.*?)[_.-]?(?P<number>\d{1,9})$")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class FramesConfig:
    """How numbered images become videos."""

    to_videos: Path | None = setting(None, "folder for the videos made of frames (default: NAME-videos beside the manifest)")
    fps: float | None = setting(None, "frame rate of the images (default: the usual one of the dataset)")
    edge: int | None = setting(None, "scale the short edge of the videos down to this many pixels (default: the size of the images)")

    def __post_init__(self) -> None:
        if self.fps is not None:
            between("fps", self.fps, 0.1, 1000)
        if self.edge is not None:
            between("edge", self.edge, 16, 4096)


@dataclass(frozen=True)
class FrameSequence:
    """The image files of one video, in order."""

    name: str
    folder: Path
    images: tuple[str, ...] = field(repr=False)
    numbers: tuple[int, ...] = field(repr=False)

    @property
    def gaps(self) -> int:
        """How many numbers between the first and the last have no image."""
        return self.numbers[-1] - self.numbers[0] + 1 - len(self.numbers)


def sequences_in(folder: Path) -> Iterator[FrameSequence]:
    """Yield the sequences whose images are directly in a folder."""
    by_prefix: dict[str, list[tuple[int, str]]] = {}
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise MediaError(folder, f"cannot be read: {error.strerror or error}") from error
    for name in names:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a Path for each of hundreds of thousands of names is slow
        match = _NUMBERED.match(stem) if suffix.lower() in IMAGE_SUFFIXES else None
        if match:
            by_prefix.setdefault(match["prefix"], []).append((int(match["number"]), name))
    for prefix, numbered in sorted(by_prefix.items()):
        numbered.sort()
        yield FrameSequence(prefix, folder, tuple(name for _, name in numbered), tuple(number for number, _ in numbered))


def write_videos(
    videos: Mapping[Key, tuple[FrameSequence, Path, float]], *, edge: int | None, progress: Progress
) -> dict[Key, QuickstepError]:
    """Write the video of each (sequence, path, fps) in parallel, and return the errors by key."""

    def write(key: Key) -> None:
        sequence, path, fps = videos[key]
        to_video(sequence, path, fps=fps, edge=edge)

    results = run_parallel(write, list(videos), "writing videos", progress=progress)
    return {key: result for key, result in results if isinstance(result, QuickstepError)}


def to_video(sequence: FrameSequence, path: Path, *, fps: float, edge: int | None = None) -> Path:
    """Write a sequence as a video, atomically; an existing video that is newer than its images is kept."""
    if _is_current(sequence, path, fps):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, _read_images(sequence, edge), fps=fps, crf=18, preset="veryfast")
    return path


def gap_notes(sequences: Sequence[FrameSequence]) -> list[str]:
    """Return a note if image numbers are missing."""
    with_gaps = [sequence for sequence in sequences if sequence.gaps]
    if not with_gaps:
        return []
    worst = max(with_gaps, key=lambda sequence: sequence.gaps)
    return [f"{len(with_gaps)} sequences lack images in between (most: {worst.name}, {worst.gaps}); the others follow without a pause"]


def _is_current(sequence: FrameSequence, path: Path, fps: float) -> bool:
    if not path.is_file():
        return False
    newest = max((sequence.folder / name).stat().st_mtime for name in sequence.images)
    try:
        info = probe(path)
    except MediaError:
        return False
    same_fps = info.fps is not None and abs(info.fps - fps) < 0.01 * fps
    return newest <= path.stat().st_mtime and info.frames == len(sequence.images) and same_fps


def _read_images(sequence: FrameSequence, edge: int | None) -> Iterator[NDArray[np.uint8]]:
    """Yield the images, which must have one size; an odd row or column is cut off, because a video needs even numbers."""
    first_size: tuple[int, int] | None = None
    for name in sequence.images:
        path = sequence.folder / name
        pixels, size = _read_image(path, edge)
        if first_size is not None and size != first_size:
            raise MediaError(path, f"is {size[0]}x{size[1]}, but the first image is {first_size[0]}x{first_size[1]}")
        first_size = size
        width, height = _even_size(size, edge)
        yield pixels[:height, :width]


def _read_image(path: Path, edge: int | None) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return an image, scaled down to `edge`, and its size on disk."""
    try:
        with Image.open(path) as image:
            size = image.size
            target = _even_size(size, edge)
            if edge is None or min(size) <= edge:
                return np.asarray(image.convert("RGB")), size
            image.draft("RGB", target)  # decodes a JPEG at a smaller size
            return np.asarray(image.convert("RGB").resize(target, Image.Resampling.BICUBIC)), size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(path, "cannot be read as an image, or is truncated") from error


def _even_size(size: tuple[int, int], edge: int | None) -> tuple[int, int]:
    scale = min(1.0, edge / min(size)) if edge else 1.0
    width, height = (max(2, int(side * scale + 1e-6) // 2 * 2) for side in size)
    return width, height
