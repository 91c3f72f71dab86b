"""Import MMAction2 annotation files (lists of videos, or of frame folders, which become videos), and export a manifest as such files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quickstep.datasets.importers.frame_folders import FramesConfig, FrameSequence, gap_notes, sequences_in, write_videos
from quickstep.datasets.importers.import_result import ClassCount, ImportResult
from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import PARTS, Manifest, read_manifest, relative_path
from quickstep.datasets.readers import mmaction
from quickstep.datasets.readers.folders import VIDEO_SUFFIXES
from quickstep.datasets.readers.list_files import read_class_list, read_text, write_class_list
from quickstep.signals.video import probe
from quickstep.storage.files import write_text
from quickstep.types.config_fields import one_of, setting
from quickstep.types.errors import ConfigError, ManifestError, MediaError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

DEFAULT_FPS = 30.0  # of frame folders
_FLOW_PREFIXES = ("flow", "x", "y", "u", "v")  # of flow images beside the frames


@dataclass(frozen=True)
class MmactionConfig:
    """What the numbers and paths of a list mean, and which split it is."""

    classes: Path | None = setting(None, "a file with the names of the class numbers")
    root: Path | None = setting(None, "the folder that the paths are relative to, MMAction2's data_prefix (default: that of the list)")
    split: Literal["train", "val", "test"] | None = setting(None, "the split of this list: train, val or test (default: none)")


@dataclass(frozen=True)
class ExportConfig:
    """The format of the exported lists."""

    format: Literal["videos", "rawframes"] = setting(
        "videos", "videos: `path number`; rawframes: `folder frames number` (or with the first)"
    )
    root: Path | None = setting(None, "the folder that paths are relative to, MMAction2's data_prefix (default: the folder of the lists)")

    def __post_init__(self) -> None:
        one_of("format", self.format, ("videos", "rawframes"))


@dataclass(frozen=True)
class Exported:
    """The files that were written."""

    lists: tuple[Path, ...]
    classes: Path
    counts: dict[str, int]  # list -> number of lines
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


_Source = FrameSequence | Path | None  # the images of a frame folder, its video, or neither


def import_mmaction(
    listing: str | Path,
    config: MmactionConfig | None = None,
    *,
    frames: FramesConfig | None = None,
    videos: str | Path = "mmaction-videos",
    progress: Progress = silent,
) -> ImportResult:
    """List the segments whose videos are on this disk; frame folders are written once as videos, into `videos`."""
    listing, config, frames = Path(listing), config or MmactionConfig(), frames or FramesConfig()
    text, root = read_text(listing), config.root or listing.parent
    if not mmaction.lists_frames(text):
        manifest = read_manifest(listing, classes=config.classes, root=root)
        absent = set(manifest.missing)
        segments = [segment for segment in manifest.segments if segment not in absent]
        missing = [(str(segment.path), segment.label or "") for segment in manifest.segments if segment in absent]
        return _result(segments, missing, listing, config)
    rows = mmaction.read_frame_rows(text, listing, classes=read_class_list(config.classes) if config.classes else None)
    sources = {name: _source(root / name) for name in dict.fromkeys(row.folder for row in rows)}
    if not any(sources.values()):
        raise ManifestError(listing, f"none of its {len(sources)} frame folders exists, such as {root / rows[0].folder}")
    video_of, errors = _as_videos(sources, frames, Path(frames.to_videos or videos), progress)
    failures = tuple(Failure(Segment(root / name), error) for name, error in errors.items())
    segments = [_segment(row, sources[row.folder], *video_of[row.folder]) for row in rows if row.folder in video_of]
    if not segments:
        raise failures[0].error
    missing = [(row.folder, row.label) for row in rows if sources[row.folder] is None]
    notes = gap_notes([source for source in sources.values() if isinstance(source, FrameSequence)])
    return _result(segments, missing, listing, config, failures, notes)


def _as_videos(
    sources: Mapping[str, _Source], frames: FramesConfig, target: Path, progress: Progress
) -> tuple[dict[str, tuple[Path, float]], dict[str, QuickstepError]]:
    """Return the video of each frame folder with its frame rate, and the errors; frames are written as videos first."""
    fps = frames.fps or DEFAULT_FPS
    to_write = {name: (source, target / f"{name}.mp4", fps) for name, source in sources.items() if isinstance(source, FrameSequence)}
    errors = write_videos(to_write, edge=frames.edge, progress=progress)
    video_of = {name: (path, fps) for name, (_, path, fps) in to_write.items() if name not in errors}
    for name, source in sources.items():
        if isinstance(source, Path):
            try:
                video_of[name] = (source, probe(source).fps or DEFAULT_FPS)
            except MediaError as error:
                errors[name] = error
    return video_of, errors


def _result(
    segments: Sequence[Segment],
    missing: Sequence[tuple[str, str]],
    listing: Path,
    config: MmactionConfig,
    failures: tuple[Failure, ...] = (),
    notes: Sequence[str] = (),
) -> ImportResult:
    manifest = Manifest(tuple(segments), listing)
    here, absent = Counter(segment.label or "" for segment in segments), Counter(label for _, label in missing)
    return ImportResult(
        manifest.with_splits([config.split or segment.split for segment in segments]),
        tuple(ClassCount(label, here[label], absent[label]) for label in sorted({*here, *absent})),
        tuple(missing),
        ("path", "label"),
        notes=tuple(notes),
        failures=failures,
    )


def _source(folder: Path) -> _Source:
    """Return the images of a frame folder, or without such a folder the video of the same name."""
    if folder.is_dir():
        sequences = [sequence for sequence in sequences_in(folder) if sequence.name.casefold().split("_")[0] not in _FLOW_PREFIXES]
        return max(sequences, key=lambda sequence: len(sequence.images), default=None)
    return next((path for suffix in sorted(VIDEO_SUFFIXES) if (path := folder.with_name(folder.name + suffix)).is_file()), None)


def _segment(row: mmaction.FrameRow, source: _Source, video: Path, fps: float) -> Segment:
    """Return the segment of a line: all of a video, or the frames that the line names."""
    count = len(source.images) if isinstance(source, FrameSequence) else probe(video).frames or 0
    whole = row.first == 0 and (row.frames >= count > 0)
    last = row.first + row.frames
    return Segment(video, row.label, start=row.first / fps, end=None if whole or last == count else last / fps)


# -- export ------------------------------------------------------------------------------------------------------------------


def export_list(
    manifest: ManifestSource, folder: str | Path, config: ExportConfig | None = None, *, progress: Progress = silent
) -> Exported:
    """Write `train.txt`, `val.txt`, `test.txt` (or `all.txt` without splits) and `classes.txt` for MMAction2.

    The format videos lists whole videos; rawframes lists the number of frames, and where a segment begins if any is a part of a video.
    """
    manifest, folder, config = as_manifest(manifest), Path(folder), config or ExportConfig()
    _check_exportable(manifest, config, folder)
    number = {label: index for index, label in enumerate(manifest.labels)}
    root = config.root or folder
    lengths, failures = _video_lengths(manifest, progress) if config.format == "rawframes" else ({}, [])
    unreadable = {failure.segment.path for failure in failures}
    counts: dict[str, int] = {}
    spaced = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_class_list(manifest.labels, folder / "classes.txt")
        for split in (*PARTS, None):
            segments = [segment for segment in manifest.segments if segment.split == split and segment.path not in unreadable]
            if segments:
                file = folder / f"{split or 'all'}.txt"
                lines = _lines(segments, number, root, lengths)
                write_text(file, "".join(f"{line}\n" for line in lines))
                counts[str(file)] = len(lines)
                spaced += sum(" " in relative_path(segment.path, root) for segment in segments)
    except OSError as error:
        raise ManifestError(folder, f"cannot be written: {error.strerror or error}") from error
    note = f"{spaced} paths contain spaces, which quickstep reads but MMAction2 does not: rename those files or folders"
    return Exported(tuple(map(Path, counts)), folder / "classes.txt", counts, tuple(failures), (note,) if spaced else ())


def _check_exportable(manifest: Manifest, config: ExportConfig, folder: Path) -> None:
    source = manifest.source or folder
    if not manifest.segments:
        raise ManifestError(source, "lists no video")
    unlabelled = next((segment for segment in manifest.segments if segment.label is None), None)
    if unlabelled is not None:
        raise ManifestError(source, f"{unlabelled} has no label; every exported line needs one")
    broken = next((segment for segment in manifest.segments if "\n" in f"{segment.path}{segment.label}"), None)
    if broken is not None:
        raise ManifestError(source, f"the path or label of {str(broken)!r} has a line break, which these lists cannot contain; rename it")
    spans = [segment for segment in manifest.segments if segment.start or segment.end is not None]
    if spans and config.format == "videos":
        why = f"the format videos lists whole videos, but {len(spans)} segments are parts of one, such as {spans[0]}"
        raise ConfigError("format", f"{why}: choose rawframes, or cut the videos")


def _video_lengths(manifest: Manifest, progress: Progress) -> tuple[dict[Path, tuple[int, float]], list[Failure]]:
    """Return video -> (number of frames, frames a second), and the videos that cannot be read."""
    lengths, failures = {}, []

    def measure(path: Path) -> tuple[int, float]:
        info = probe(path)
        frames = info.frames or round(info.duration * (info.fps or 0))
        if not frames or not info.fps:
            raise MediaError(path, "its number of frames is unknown")
        return frames, info.fps

    for path, result in run_parallel(measure, manifest.paths, "counting frames", progress=progress):
        if isinstance(result, QuickstepError):
            failures.append(Failure(Segment(path), result))
        else:
            lengths[path] = result
    return lengths, failures


def _lines(segments: Sequence[Segment], number: Mapping[str, int], root: Path, lengths: Mapping[Path, tuple[int, float]]) -> list[str]:
    paths = [relative_path(segment.path, root) for segment in segments]
    classes = [number[segment.label or ""] for segment in segments]
    if not lengths:
        return [f"{path} {index}" for path, index in zip(paths, classes, strict=True)]
    spans = [_frame_span(segment, *lengths[segment.path]) for segment in segments]
    folders = [path.removesuffix(segment.path.suffix) for path, segment in zip(paths, segments, strict=True)]
    with_first = any(segment.start or segment.end is not None for segment in segments)  # then every line has the first frame
    return [
        f"{folder} {first} {frames} {index}" if with_first else f"{folder} {frames} {index}"
        for folder, (first, frames), index in zip(folders, spans, classes, strict=True)
    ]


def _frame_span(segment: Segment, frames: int, fps: float) -> tuple[int, int]:
    """Return the first frame of a segment, counted from 0, and its number of frames."""
    first = min(round(segment.start * fps), frames - 1)
    last = frames if segment.end is None else min(round(segment.end * fps), frames)
    return first, max(1, last - first)
