"""MMAction2's annotation lists, read (also those of frame folders, which become videos) and written (videos or rawframes)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quickstep.datasets.importers.frame_folders import FramesConfig, Pictures, listed_gaps, sequences_in, to_video
from quickstep.datasets.importers.import_result import ClassCount, ImportResult
from quickstep.datasets.manifest import PARTS, Manifest, path_from, read_manifest
from quickstep.datasets.readers import mmaction
from quickstep.datasets.readers.class_lists import read_class_list, write_class_list
from quickstep.datasets.readers.folders import VIDEO_SUFFIXES
from quickstep.datasets.readers.text_files import read_text
from quickstep.signals.video import probe
from quickstep.types.config_fields import one_of, setting
from quickstep.types.errors import ManifestError, MediaError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

USUAL_FPS = 30.0  # of frame folders whose pace nobody says
_NO_PICTURES = ("flow", "x", "y", "u", "v")  # what files of flow beside the pictures begin with
_LIST_COLUMNS = ("path", "label")


@dataclass(frozen=True)
class MmactionConfig:
    """What a list's numbers and paths mean, and which part it is."""

    classes: Path | None = setting(None, "a file that names the class numbers")
    root: Path | None = setting(None, "the folder that the list's paths count from, MMAction2's data_prefix (default: the list's own)")
    split: Literal["train", "val", "test"] | None = setting(None, "the part that this list is: train, val or test (default: not said)")


@dataclass(frozen=True)
class ExportConfig:
    """How lists are written."""

    format: Literal["videos", "rawframes"] = setting(
        "videos", "videos: `path number`; rawframes: `folder frames number` (or with the first)"
    )
    root: Path | None = setting(None, "the folder that paths count from, MMAction2's data_prefix (default: the folder of the lists)")

    def __post_init__(self) -> None:
        one_of("format", self.format, ("videos", "rawframes"))


@dataclass(frozen=True)
class Exported:
    """What was written."""

    lists: tuple[Path, ...]
    classes: Path
    counts: dict[str, int]  # list -> lines
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


def import_mmaction(
    listing: str | Path,
    config: MmactionConfig | None = None,
    *,
    frames: FramesConfig | None = None,
    videos: str | Path = "mmaction-videos",
    progress: Progress = silent,
) -> ImportResult:
    """The segments of a list whose videos are here; folders of frames are written as videos once, into `videos`."""
    listing, config, frames = Path(listing), config or MmactionConfig(), frames or FramesConfig()
    text, root = read_text(listing), config.root or listing.parent
    if not mmaction.lists_frames(text):
        manifest = read_manifest(listing, classes=config.classes, root=root)
        gone = set(manifest.missing)
        segments = [segment for segment in manifest.segments if segment not in gone]
        lost = [(str(segment.path), segment.label or "") for segment in manifest.segments if segment in gone]
        return _collected(segments, lost, listing, config, (), [])
    rows = mmaction.read_frame_rows(text, listing, classes=read_class_list(config.classes) if config.classes else None)
    sources = {name: _source(root / name) for name in dict.fromkeys(row.folder for row in rows)}
    if not any(sources.values()):
        raise ManifestError(listing, f"none of its {len(sources)} folders of frames is there, such as {root / rows[0].folder}")
    made, failures = _as_videos(sources, root, frames, Path(frames.to_videos or videos), progress)
    segments = [_span(row, sources[row.folder], *made[row.folder]) for row in rows if row.folder in made]
    if not segments:
        raise failures[0].error
    lost = [(row.folder, row.label) for row in rows if sources[row.folder] is None]
    notes = listed_gaps([source for source in sources.values() if isinstance(source, Pictures)])
    return _collected(segments, lost, listing, config, tuple(failures), notes)


def _as_videos(
    sources: Mapping[str, Pictures | Path | None], root: Path, frames: FramesConfig, target: Path, progress: Progress
) -> tuple[dict[str, tuple[Path, float]], list[Failure]]:
    """The video of each frame folder and its pace; those of pictures are written first."""

    def video_of(name: str) -> tuple[Path, float]:
        source = sources[name]
        if isinstance(source, Path):
            return source, probe(source).fps or USUAL_FPS
        assert source is not None
        fps = frames.fps or USUAL_FPS
        return to_video(source, target / f"{name}.mp4", fps=fps, edge=frames.edge), fps

    made, failures = {}, []
    here = [name for name, source in sources.items() if source is not None]
    for name, result in run_parallel(video_of, here, "writing videos", workers=None, progress=progress):
        if isinstance(result, QuickstepError):
            failures.append(Failure(Segment(root / name), result))
        else:
            made[name] = result
    return made, failures


def _collected(
    segments: Sequence[Segment],
    lost: Sequence[tuple[str, str]],
    listing: Path,
    config: MmactionConfig,
    failures: tuple[Failure, ...],
    notes: Sequence[str],
) -> ImportResult:
    manifest = Manifest(tuple(segments), listing)
    here, gone = Counter(segment.label or "" for segment in segments), Counter(label for _, label in lost)
    return ImportResult(
        manifest.with_splits([config.split or segment.split for segment in segments]),
        tuple(ClassCount(label, here[label], gone[label]) for label in sorted({*here, *gone})),
        tuple(lost),
        _LIST_COLUMNS,
        notes=tuple(notes),
        failures=failures,
    )


def _source(folder: Path) -> Pictures | Path | None:
    """The pictures of a frame folder; where there is none, the video of the same name that they would be taken from."""
    if folder.is_dir():
        found = [each for each in sequences_in(folder) if each.name.casefold().split("_")[0] not in _NO_PICTURES]
        return max(found, key=lambda each: len(each.pictures), default=None)
    return next((path for suffix in sorted(VIDEO_SUFFIXES) if (path := folder.with_name(folder.name + suffix)).is_file()), None)


def _span(row: mmaction.FrameRow, source: Pictures | Path | None, video: Path, fps: float) -> Segment:
    """What a line means of a video: all of it, or the frames that it names."""
    there = len(source.pictures) if isinstance(source, Pictures) else probe(video).frames or 0
    whole = row.first == 0 and (row.frames >= there > 0)
    last = row.first + row.frames
    return Segment(video, row.label, start=row.first / fps, end=None if whole or last == there else last / fps)


def export_list(manifest: Manifest, folder: str | Path, config: ExportConfig | None = None, *, progress: Progress = silent) -> Exported:
    """Write `train.txt`, `val.txt`, `test.txt` (or `all.txt` where there are no parts) and `classes.txt` for MMAction2.

    A list of videos means whole videos; the format rawframes has the number of frames, and where each segment begins if any is a span.
    """
    folder, config = Path(folder), config or ExportConfig()
    _check(manifest, config, folder)
    number = {label: index for index, label in enumerate(manifest.labels)}
    root = config.root or folder
    lengths, failures = _lengths(manifest, progress) if config.format == "rawframes" else ({}, [])
    lost = {failure.segment.path for failure in failures}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_class_list(manifest.labels, folder / "classes.txt")
        counts: dict[str, int] = {}
        spaced = 0
        for name in (*PARTS, None):
            part = [segment for segment in manifest.segments if segment.split == name and segment.path not in lost]
            if part:
                file = folder / f"{name or 'all'}.txt"
                lines = _lines(part, number, root, lengths)
                file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
                counts[str(file)] = len(lines)
                spaced += sum(" " in path_from(segment.path, root) for segment in part)
    except OSError as error:
        raise ManifestError(folder, f"cannot be written: {error.strerror or error}") from error
    notes = (f"{spaced} paths hold spaces: quickstep reads them, MMAction2 itself does not; rename their folders",) if spaced else ()
    return Exported(tuple(map(Path, counts)), folder / "classes.txt", counts, tuple(failures), notes)


def _check(manifest: Manifest, config: ExportConfig, folder: Path) -> None:
    source = manifest.source or folder
    bare = next((segment for segment in manifest.segments if segment.label is None), None)
    if bare is not None or not manifest.segments:
        raise ManifestError(source, f"{bare} has no label, and each line needs one" if bare else "lists no video")
    odd = next((segment for segment in manifest.segments if "\n" in f"{segment.path}{segment.label}"), None)
    if odd is not None:
        raise ManifestError(source, f"{str(odd)!r} has a line break in its name, which such a list cannot say; rename it")
    spans = [segment for segment in manifest.segments if segment.start or segment.end is not None]
    if spans and config.format == "videos":
        raise ManifestError(
            source,
            f"{len(spans)} segments are spans of longer videos, such as {spans[0]}, and a list of videos means whole ones: "
            "take --format rawframes, which says the first frame and how many, or cut the videos",
        )


def _lengths(manifest: Manifest, progress: Progress) -> tuple[dict[Path, tuple[int, float]], list[Failure]]:
    """Video -> how many frames it has, and how many a second."""
    lengths, failures = {}, []

    def look(path: Path) -> tuple[int, float]:
        info = probe(path)
        frames = info.frames or round(info.duration * (info.fps or 0))
        if not frames or not info.fps:
            raise MediaError(path, "does not tell how many frames it has")
        return frames, info.fps

    for path, result in run_parallel(look, manifest.paths, "counting frames", workers=None, progress=progress):
        if isinstance(result, QuickstepError):
            failures.append(Failure(Segment(path), result))
        else:
            lengths[path] = result
    return lengths, failures


def _lines(segments: Sequence[Segment], number: Mapping[str, int], root: Path, lengths: Mapping[Path, tuple[int, float]]) -> list[str]:
    paths = [path_from(segment.path, root) for segment in segments]
    labels = [number[segment.label or ""] for segment in segments]
    if not lengths:
        return [f"{path} {label}" for path, label in zip(paths, labels, strict=True)]
    spans = [_frames(segment, *lengths[segment.path]) for segment in segments]
    folders = [path[: -len(segment.path.suffix)] if segment.path.suffix else path for path, segment in zip(paths, segments, strict=True)]
    offset = any(segment.start or segment.end is not None for segment in segments)  # a list has it in every line or in none
    return [
        f"{folder} {first} {frames} {label}" if offset else f"{folder} {frames} {label}"
        for folder, (first, frames), label in zip(folders, spans, labels, strict=True)
    ]


def _frames(segment: Segment, frames: int, fps: float) -> tuple[int, int]:
    """The first frame of a segment, counted from 0, and how many it has."""
    first = min(round(segment.start * fps), frames - 1)
    last = frames if segment.end is None else min(round(segment.end * fps), frames)
    return first, max(1, last - first)
