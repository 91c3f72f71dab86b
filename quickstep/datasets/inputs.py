"""Turn what people name (a path, a glob, a list, an object) into segments or into a Manifest."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from quickstep.datasets.manifest import Manifest, read_manifest
from quickstep.datasets.readers.folders import VIDEO_SUFFIXES, is_set
from quickstep.signals.poses.formats import is_pose_file
from quickstep.storage.model_folder import RECORD
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.segment import Failure, Segment

LIST_SUFFIXES = {".csv", ".tsv", ".txt"}

Input = Segment | str | Path
Inputs = Manifest | Input | Iterable[Input]
ManifestSource = Manifest | Input | Iterable[Manifest | Input]


def as_manifest(source: ManifestSource, *, labelled: bool = True) -> Manifest:
    """Return a Manifest unchanged, and read one from a path (folder, csv or other list), from segments, or from several of these."""
    if isinstance(source, Manifest):
        return source
    if isinstance(source, str | os.PathLike):
        return read_manifest(Path(source).expanduser(), labelled=labelled)
    expected = "a Manifest, the path of a folder or csv of labelled videos, or a list of these"
    manifests = [_part_of_manifest(item, expected, labelled=labelled) for item in _items(source, expected)]
    if len(manifests) == 1:
        return manifests[0]
    segments = tuple(segment for manifest in manifests for segment in manifest.segments)
    empty = frozenset().union(*(manifest.empty for manifest in manifests)) - {segment.label for segment in segments}
    return Manifest(segments, empty=empty)


def gather(inputs: Inputs, *, stdin: IO[str] | None = None) -> tuple[list[Segment], list[Failure]]:
    """List the segments that inputs name, each once, and a failure for each input that names none.

    An input is a video, a folder, a glob, a csv or other list, a Segment, or "-" for paths on standard input.
    """
    segments: dict[Segment, None] = {}
    failures: list[Failure] = []
    for item in _items(inputs, "a path, a Segment, a Manifest, or a list of these"):
        try:
            segments.update(dict.fromkeys(_segments_of(item, stdin)))
        except (ManifestError, MediaError) as error:
            failures.append(Failure(item if isinstance(item, Segment) else Segment(Path(item)), error))
    if not segments and not failures:
        raise ConfigError("inputs", "name at least one video, folder, glob or list of videos")
    return list(segments), failures


def _items(source: object, expected: str) -> Iterable[Any]:
    """Iterate over the inputs; a single path is one input, not a sequence of letters."""
    if isinstance(source, Manifest):
        return source.segments
    if isinstance(source, Segment | str | os.PathLike):
        return (source,)
    if isinstance(source, bytes | Mapping) or not isinstance(source, Iterable):
        raise _wrong_type(source, expected)
    return source


def _wrong_type(value: object, expected: str) -> TypeError:
    return TypeError(f"expected {expected}; got {type(value).__name__} {value!r:.60}")


def _part_of_manifest(item: Manifest | Input, expected: str, *, labelled: bool) -> Manifest:
    if isinstance(item, Segment):
        return Manifest((item,))
    if not isinstance(item, Manifest | str | os.PathLike):
        raise _wrong_type(item, expected)
    return as_manifest(item, labelled=labelled)


def _segments_of(item: Input, stdin: IO[str] | None) -> list[Segment]:
    if isinstance(item, Segment):
        return [item]
    if not isinstance(item, str | os.PathLike):
        raise _wrong_type(item, "a path or a Segment")
    if str(item) == "-":
        return [Segment(Path(line.rstrip("\r\n"))) for line in stdin or sys.stdin if line.strip()]
    path = Path(item).expanduser()
    if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
        return [Segment(path)]
    if (path.is_dir() and not is_pose_file(path)) or (path.is_file() and (path.suffix.lower() in LIST_SUFFIXES or is_set(path))):
        return _listed_in(path)
    if not os.path.lexists(path) and glob.has_magic(str(path)):
        return _matching(path)
    return [Segment(path)]


def _listed_in(path: Path) -> list[Segment]:
    if (path / RECORD).is_file():
        raise ManifestError(path, "is a model folder, not a folder of videos")
    segments = list(read_manifest(path, labelled=False).segments)
    if not segments:
        raise ManifestError(path, "contains no videos")
    return segments


def _matching(pattern: Path) -> list[Segment]:
    paths = sorted(Path(name) for name in glob.glob(str(pattern), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not paths:
        raise MediaError(pattern, "no file matches")
    return [segment for path in paths for segment in (_listed_in(path) if path.is_dir() else [Segment(path)])]
