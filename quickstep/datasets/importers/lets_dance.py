"""Import Let's Dance: its folders of videos, or of frames as published, become a Manifest.

The published frames of a class are in one folder: `rgb/ballet/SmRrfm1ihGg_008_0001.jpg` is the first frame of the clip that begins at
0:08 of a web video. The csv `labels/lets-dance.csv` maps folders to labels; another file can replace it.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from quickstep.datasets.importers.frame_folders import FramesConfig, FrameSequence, gap_notes, sequences_in, write_videos
from quickstep.datasets.importers.import_result import ClassCount, ImportResult
from quickstep.datasets.label_matching import loose_label_key
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.readers.folders import list_videos
from quickstep.datasets.readers.list_files import read_text
from quickstep.types.config_fields import setting
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

SECONDS = 10.0  # of each clip, as published
STANDARD_FPS = (15.0, 24.0, 25.0, 30.0, 50.0, 60.0)
DEFAULT_FPS = 30.0
_FRAME_TOLERANCE = 3  # frames by which a clip may be longer or shorter than SECONDS
_IMAGE_FOLDERS = ("rgb", "frames", "images", "videos")  # names of the folder beside flow and poses
_OTHER_SIGNALS = ("flow", "densepose", "skeleton", "pose", "audio")
_NAME = re.compile(r"^(?P<video>[A-Za-z0-9_-]{11})(?:_(?P<start>\d{1,6}))?$")


@dataclass(frozen=True)
class LetsDanceConfig:
    """How the folders of the dataset map to labels."""

    mapping: str | None = setting(None, "a csv `folder,label` instead of the one that ships (labels of dance19)")
    keep_unmapped: bool = setting(False, "import folders that are not in the csv under their own names, instead of leaving them out")


@dataclass(frozen=True)
class _Clip:
    """A video, or the frames of one, and the class folder that contains it."""

    name: str
    folder: str
    label: str
    video: Path | None = None
    frames: FrameSequence | None = None


def import_lets_dance(
    folder: str | Path,
    config: LetsDanceConfig | None = None,
    *,
    frames: FramesConfig | None = None,
    videos: str | Path = "lets-dance-videos",
    progress: Progress = silent,
) -> ImportResult:
    """List the segments of the dataset; frames are written once as videos, into `videos` (or `frames.to_videos`).

    The group is the web video that a clip was taken from.
    """
    config, frames = config or LetsDanceConfig(), frames or FramesConfig()
    root = _class_folders_in(Path(folder))
    mapping = read_mapping(config.mapping)
    classes = [
        inner
        for inner in sorted(root.iterdir())
        if inner.is_dir() and not inner.name.startswith(".") and not loose_label_key(inner.name).startswith(_OTHER_SIGNALS)
    ]
    label_of = {inner: mapping.get(loose_label_key(inner.name)) or (inner.name if config.keep_unmapped else None) for inner in classes}
    clips = [clip for inner, label in label_of.items() if label for clip in _clips_in(inner, label)]
    if not clips:
        names = ", ".join(inner.name for inner in classes)[:120]
        raise ManifestError(root, f"none of its folders ({names}) contains videos or frames of {', '.join(sorted(mapping))}")
    target = Path(frames.to_videos or videos)
    video_of = {clip: clip.video or target / clip.folder / f"{clip.name}.mp4" for clip in clips}
    to_write = {
        clip: (clip.frames, video_of[clip], frames.fps or fps_of(len(clip.frames.images))) for clip in clips if clip.frames is not None
    }
    errors = write_videos(to_write, edge=frames.edge, progress=progress)
    failures = [Failure(Segment(to_write[clip][0].folder), error) for clip, error in errors.items()]
    segments = [_segment(clip, video_of[clip]) for clip in clips if clip not in errors]
    if not segments:
        raise failures[0].error
    counts = Counter(segment.label or "" for segment in segments)
    return ImportResult(
        Manifest(tuple(segments), root),
        tuple(ClassCount(label, count) for label, count in sorted(counts.items())),
        unmatched=tuple(_unmapped(inner) for inner, label in label_of.items() if not label),
        notes=tuple(gap_notes([clip.frames for clip in clips if clip.frames])),
        failures=tuple(failures),
    )


def read_mapping(mapping: str | Path | None = None) -> dict[str, str]:
    """Read loose_label_key of a folder -> label from a csv `folder,label`, or from the one that ships; '' means: leave it out."""
    shipped = files("quickstep.datasets") / "labels" / "lets-dance.csv"
    text = shipped.read_text(encoding="utf-8") if mapping is None else read_text(Path(mapping))
    source = Path(mapping or "lets-dance.csv")
    label_by_key: dict[str, str] = {}
    reader = csv.reader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for number, values in enumerate(reader, start=1):
        if number == 1 and [value.strip().casefold() for value in values[:2]] == ["folder", "label"]:
            continue
        if len(values) < 2:
            raise ManifestError(source, f"expected `folder,label`, got {','.join(values)[:60]!r}", line=number)
        key, label = loose_label_key(values[0]), " ".join(values[1].split())
        if label_by_key.setdefault(key, label) != label:
            raise ManifestError(source, f"the folder {values[0]!r} has two labels", line=number)
    if not any(label_by_key.values()):
        raise ConfigError("mapping", f"{source} gives no folder a label")
    return label_by_key


def _class_folders_in(folder: Path) -> Path:
    """Return the folder with the class folders, where flow and poses may be beside it."""
    if not folder.is_dir():
        raise ManifestError(folder, "is not a folder" if folder.exists() else "does not exist")
    while True:
        inner = {entry.name.casefold(): entry for entry in folder.iterdir() if entry.is_dir()}
        deeper = next((inner[name] for name in _IMAGE_FOLDERS if name in inner), None)
        if deeper is None:
            return folder
        folder = deeper


def _clips_in(folder: Path, label: str) -> list[_Clip]:
    """List the videos below a class folder, and the frame sequences in it and in the folders below."""
    clips = [_Clip(path.stem, folder.name, label, video=path) for path in list_videos(folder)]
    clips += [_Clip(sequence.name or folder.name, folder.name, label, frames=sequence) for sequence in sequences_in(folder)]
    for inner in sorted(entry for entry in folder.rglob("*") if entry.is_dir()):
        sequences = list(sequences_in(inner))
        prefix = inner.relative_to(folder).as_posix().replace("/", "-")
        for sequence in sequences:
            name = prefix if len(sequences) == 1 else f"{prefix}-{sequence.name}"
            clips.append(_Clip(name, folder.name, label, frames=sequence))
    return clips


def fps_of(count: int) -> float:
    """Return the standard frame rate at which this number of frames lasts ten seconds, or 30."""
    nearest = min(STANDARD_FPS, key=lambda fps: abs(count - fps * SECONDS))
    return nearest if abs(count - nearest * SECONDS) <= _FRAME_TOLERANCE else DEFAULT_FPS


def parse_name(name: str) -> tuple[str, float | None]:
    """Return the id of the web video of a clip, and its start there in seconds: `SmRrfm1ihGg_008` starts at 0:08."""
    match = _NAME.match(name)
    if match is None:
        return re.sub(r"[_-]\d+$", "", name) or name, None
    start = match["start"]
    return match["video"], None if start is None else 60.0 * int(start[:-2] or 0) + int(start[-2:])


def _segment(clip: _Clip, path: Path) -> Segment:
    video, start = parse_name(clip.name)
    extra = {"source": "lets dance", "youtube_id": video, "source_label": clip.folder}
    if start is not None:
        extra |= {"time_start": f"{start:g}", "time_end": f"{start + SECONDS:g}"}
    return Segment(path, label=clip.label, group=video, extra=extra)


def _unmapped(folder: Path) -> str:
    return f"the folder {folder.name!r} ({len(_clips_in(folder, ''))} videos) has no label in the mapping and is left out"
