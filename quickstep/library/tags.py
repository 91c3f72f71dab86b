"""export_tags: what a model named in each video, as tags for other programs: csv, json, or an XMP sidecar a video.

A tag's share is the score-weighted share of the video's time: at each moment the mean over the windows that show it. Somebody else's
sidecar is added to, never replaced.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quickstep.library import xmp
from quickstep.library.schema import NO_NAMES
from quickstep.library.table import Library
from quickstep.types.config_fields import between, one_of
from quickstep.types.errors import ConfigError, LibraryError, MediaError

Format = Literal["csv", "json", "sidecar"]
FORMATS = ("csv", "json", "sidecar")


@dataclass(frozen=True)
class Tag:
    """A name that fits a video."""

    name: str
    share: float  # of the video's time, weighted by score
    score: float  # the highest of any window
    spans: tuple[tuple[float, float], ...]  # seconds in which it is the likeliest name


@dataclass(frozen=True)
class Tagged:
    """A video and its tags, the largest share first."""

    path: str
    duration: float
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Exported:
    """What was written."""

    videos: int
    tags: int
    text: str | None = None  # what is to be printed, where no file was asked for
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def export_tags(
    library: Library | str | Path, *, format: Format = "csv", out: str | Path | None = None, min_share: float = 0.05
) -> Exported:
    """Write the tags of every video whose share is at least `min_share`."""
    one_of("format", format, FORMATS)
    between("min_share", min_share, 0.0, 1.0)
    library = library if isinstance(library, Library) else Library.open(library)
    tagged = list(tags_of(library, least=min_share))
    if not tagged:
        raise LibraryError(library.uri, NO_NAMES)
    count = sum(len(video.tags) for video in tagged)
    if format == "sidecar":
        files, notes = _sidecars(tagged, None if out is None else Path(out))
        return Exported(len(tagged), count, None, tuple(files), tuple(notes))
    text = _csv(tagged) if format == "csv" else json.dumps([_plain(video) for video in tagged], ensure_ascii=False, indent=1) + "\n"
    if out is None:
        return Exported(len(tagged), count, text)
    if Path(out).is_dir():
        raise ConfigError("out", f"{out} is a folder; name the file to write")
    write_aside(Path(out), text.encode())
    return Exported(len(tagged), count, None, (Path(out),))


def tags_of(library: Library, *, least: float = 0.0) -> Iterator[Tagged]:
    """The tags of each video that a model has named, by path."""
    videos: dict[str, list[dict[str, Any]]] = {}
    for batch in library.batches(["path", "start", "end", "duration", "names", "scores"], "NOT gone AND named_by IS NOT NULL"):
        for row in batch.to_pylist():
            videos.setdefault(row["path"], []).append(row)
    for path in sorted(videos):
        rows = sorted(videos[path], key=lambda row: row["start"])
        tags = [tag for tag in _tags(rows) if tag.share >= least]
        yield Tagged(path, rows[0]["duration"], tuple(sorted(tags, key=lambda tag: (-tag.share, tag.name))))


def _tags(rows: Sequence[Mapping[str, Any]]) -> Iterator[Tag]:
    edges = np.unique([row[end] for row in rows for end in ("start", "end")])
    place = {edge: number for number, edge in enumerate(edges.tolist())}
    lengths = np.diff(edges)
    shown = _heights(len(edges), [(place[row["start"]], place[row["end"]], 1.0) for row in rows])  # windows that show each moment
    named: dict[str, list[tuple[int, int, float]]] = {}
    for row in rows:
        for name, score in zip(row["names"] or (), row["scores"] or (), strict=True):
            named.setdefault(name, []).append((place[row["start"]], place[row["end"]], float(score)))
    for name, parts in named.items():
        height = _heights(len(edges), parts)
        share = float((height / np.maximum(shown, 1.0) * lengths).sum() / max(float(lengths[shown > 0].sum()), 1e-9))
        spans = _joined([(row["start"], row["end"]) for row in rows if row["names"] and row["names"][0] == name])
        yield Tag(name, round(min(1.0, share), 4), round(max(score for _, _, score in parts), 4), spans)


def _heights(count: int, parts: Sequence[tuple[int, int, float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What overlapping parts (from edge, to edge, height) add up to between each two edges."""
    steps = np.zeros(count)
    for first, last, height in parts:
        steps[first] += height
        steps[last] -= height
    return np.cumsum(steps)[:-1]


def _joined(spans: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Spans that touch or overlap, as one."""
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1] + 1e-6:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def _csv(tagged: Sequence[Tagged]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "tag", "share", "score", "spans"))
    for video in tagged:
        for tag in video.tags:
            spans = " ".join(f"{start:.2f}-{end:.2f}" for start, end in tag.spans)
            writer.writerow((video.path, tag.name, f"{tag.share:.4f}", f"{tag.score:.4f}", spans))
    return text.getvalue()


def _plain(video: Tagged) -> dict[str, Any]:
    tags = [{"name": tag.name, "share": tag.share, "score": tag.score, "spans": [list(span) for span in tag.spans]} for tag in video.tags]
    return {"path": video.path, "duration": video.duration, "tags": tags}


def _sidecars(tagged: Sequence[Tagged], folder: Path | None) -> tuple[list[Path], list[str]]:
    """A file a video: VIDEO.mp4.xmp beside it, or at the same place below a folder."""
    root = os.path.commonpath([os.path.dirname(video.path) for video in tagged])  # noqa: PTH120 - of texts
    files, notes = [], []
    for video in tagged:
        beside = Path(f"{video.path}.xmp")
        path = beside if folder is None else folder / os.path.relpath(beside, root)
        try:
            old = path.read_bytes() if path.exists() else None
        except OSError as error:
            raise MediaError(path, f"the sidecar cannot be read: {error.strerror or error}") from error
        made = xmp.with_tags(old, [tag.name for tag in video.tags])
        if made is None:
            notes.append(f"{path}: is no XMP that can be added to, so it was left as it is")
            continue
        if made.kept:
            notes.append(f"{path}: was there already; its own content was kept, {made.added} tags added")
        if old is None or made.content != old:
            write_aside(path, made.content)
        files.append(path)
    return files, notes


def write_aside(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error
