"""import_lets_dance: the folders of Let's Dance (videos, or frames as they are published) -> a manifest in one's own labels.

Published are frames, all of a class in one folder: `rgb/ballet/SmRrfm1ihGg_008_0001.jpg` is the first of those that begin at 0:08 of a
web video. The table from folders to labels is a csv of two columns, `labels/lets-dance.csv`; a file of one's own takes its place.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from quickstep.datasets.importers.frame_folders import FramesConfig, Pictures, listed_gaps, sequences_in, to_video
from quickstep.datasets.importers.import_result import ClassCount, ImportResult
from quickstep.datasets.label_matching import loose_label_key
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.readers.kinetics import videos_below
from quickstep.datasets.readers.text_files import read_text
from quickstep.types.config_fields import setting
from quickstep.types.errors import ConfigError, ManifestError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

SECONDS = 10.0  # of each piece, as published
USUAL_FPS = (15.0, 24.0, 25.0, 30.0, 50.0, 60.0)
_PICTURES = ("rgb", "frames", "images", "videos")  # what the folder beside flow and poses is called
_OTHER_SIGNALS = ("flow", "densepose", "skeleton", "pose", "audio")
_NAME = re.compile(r"^(?P<video>[A-Za-z0-9_-]{11})(?:_(?P<start>\d{1,6}))?$")


@dataclass(frozen=True)
class LetsDanceConfig:
    """How the set's folders are called here."""

    mapping: str | None = setting(None, "a csv `folder,label` in place of the table that ships (labels of dance19)")
    keep_unmapped: bool = setting(False, "take folders that are not in the table under their own names, instead of leaving them out")


@dataclass(frozen=True)
class _Piece:
    """A video, or the pictures of one, and the class folder it lies in."""

    name: str
    folder: str
    label: str
    video: Path | None = None
    pictures: Pictures | None = None


def import_lets_dance(
    folder: str | Path,
    config: LetsDanceConfig | None = None,
    *,
    frames: FramesConfig | None = None,
    videos: str | Path = "lets-dance-videos",
    progress: Progress = silent,
) -> ImportResult:
    """The set's segments under one's own labels; frames are written as videos once, into `videos` (or `frames.to_videos`).

    The group is the web video that a piece comes from.
    """
    config, frames = config or LetsDanceConfig(), frames or FramesConfig()
    root = _root(Path(folder))
    table = read_mapping(config.mapping)
    inner = [each for each in sorted(root.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    classes = [each for each in inner if not loose_label_key(each.name).startswith(_OTHER_SIGNALS)]
    label_of = {each: table.get(loose_label_key(each.name)) or (each.name if config.keep_unmapped else None) for each in classes}
    pieces = [piece for each, label in label_of.items() if label for piece in _pieces(each, label)]
    unmapped = [_sentence(each, _count(each)) for each, label in label_of.items() if not label]
    if not pieces:
        known = ", ".join(sorted({*table}))
        raise ManifestError(
            root, f"none of its folders ({', '.join(each.name for each in classes)[:120]}) holds videos or frames of {known}"
        )
    made, failures = _as_videos(pieces, frames, Path(frames.to_videos or videos), progress)
    segments = [_segment(piece, path) for piece, path in made]
    if not segments:
        raise failures[0].error
    counts = Counter(segment.label or "" for segment in segments)
    return ImportResult(
        Manifest(tuple(segments), root),
        tuple(ClassCount(label, count) for label, count in sorted(counts.items())),
        unmatched=tuple(unmapped),
        notes=tuple(listed_gaps([piece.pictures for piece in pieces if piece.pictures])),
        failures=tuple(failures),
    )


def read_mapping(mapping: str | Path | None = None) -> dict[str, str]:
    """loose_label_key of a folder -> label, from a csv `folder,label` or the table that ships; a line without label is left out."""
    shipped = files("quickstep.datasets") / "labels" / "lets-dance.csv"
    text = shipped.read_text(encoding="utf-8") if mapping is None else read_text(Path(mapping))
    source = Path(mapping or "lets-dance.csv")
    table: dict[str, str] = {}
    reader = csv.reader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for number, cells in enumerate(reader, start=1):
        if number == 1 and [cell.strip().casefold() for cell in cells[:2]] == ["folder", "label"]:
            continue
        if len(cells) < 2:
            raise ManifestError(source, f"expected `folder,label`, found {','.join(cells)[:60]!r}", line=number)
        if loose_label_key(cells[0]) in table and table[loose_label_key(cells[0])] != cells[1].strip():
            raise ManifestError(source, f"the folder {cells[0]!r} is given two labels", line=number)
        table[loose_label_key(cells[0])] = " ".join(cells[1].split())
    if not any(table.values()):
        raise ConfigError("mapping", f"{source} gives no folder a label")
    return table


def _root(folder: Path) -> Path:
    """The folder that holds the class folders, also where flow and poses lie beside it."""
    if not folder.is_dir():
        raise ManifestError(folder, "is no folder" if folder.exists() else "does not exist")
    while True:
        inner = {each.name.casefold(): each for each in folder.iterdir() if each.is_dir()}
        deeper = next((inner[name] for name in _PICTURES if name in inner), None)
        if deeper is None:
            return folder
        folder = deeper


def _pieces(folder: Path, label: str) -> list[_Piece]:
    """The videos below a class folder, and the sequences of pictures in it and in folders of their own."""
    found = [_Piece(Path(path).stem, folder.name, label, video=Path(path)) for path in videos_below(folder)]
    found += [_Piece(each.name or folder.name, folder.name, label, pictures=each) for each in sequences_in(folder)]
    for inner in sorted(each for each in folder.rglob("*") if each.is_dir()):
        several = list(sequences_in(inner))
        own = inner.relative_to(folder).as_posix().replace("/", "-")
        for each in several:
            name = own if len(several) == 1 else f"{own}-{each.name}"
            found.append(_Piece(name, folder.name, label, pictures=each))
    return found


def _as_videos(
    pieces: Sequence[_Piece], frames: FramesConfig, target: Path, progress: Progress
) -> tuple[list[tuple[_Piece, Path]], list[Failure]]:
    """Each piece with its video, in order; those of frames are written first."""
    drawn = {piece: target / piece.folder / f"{piece.name}.mp4" for piece in pieces if piece.pictures}

    def write(piece: _Piece) -> Path:
        assert piece.pictures is not None
        return to_video(piece.pictures, drawn[piece], fps=frames.fps or pace_of(len(piece.pictures.pictures)), edge=frames.edge)

    results = run_parallel(write, list(drawn), "writing videos", workers=None, progress=progress)
    failed = {piece: result for piece, result in results if isinstance(result, QuickstepError)}
    made = [(piece, piece.video or drawn[piece]) for piece in pieces if piece not in failed]
    return made, [Failure(Segment(piece.pictures.folder if piece.pictures else drawn[piece]), error) for piece, error in failed.items()]


def pace_of(count: int) -> float:
    """Pictures a second of a sequence: the usual rate at which it lasts ten seconds as published; 30 where there is none."""
    near = min(USUAL_FPS, key=lambda fps: abs(count - fps * SECONDS))
    return near if abs(count - near * SECONDS) <= 3 else 30.0


def source_of(name: str) -> tuple[str, float | None]:
    """The web video that a piece comes from, and the second at which it begins there: `SmRrfm1ihGg_008` begins at 0:08."""
    match = _NAME.match(name)
    if match is None:
        return re.sub(r"[_-]\d+$", "", name) or name, None
    start = match["start"]
    return match["video"], None if start is None else 60.0 * int(start[:-2] or 0) + int(start[-2:])


def _segment(piece: _Piece, path: Path) -> Segment:
    video, start = source_of(piece.name)
    extra = {"source": "lets dance", "youtube_id": video, "source_label": piece.folder}
    if start is not None:
        extra |= {"time_start": f"{start:g}", "time_end": f"{start + SECONDS:g}"}
    return Segment(path, label=piece.label, group=video, extra=extra)


def _count(folder: Path) -> int:
    return len(_pieces(folder, ""))


def _sentence(folder: Path, count: int) -> str:
    return f"the folder {folder.name!r} ({count} videos) is none of the table's and is left out"
