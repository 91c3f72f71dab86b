"""import_kinetics: lists of Kinetics + a folder of downloaded files -> a manifest, and what is missing. Downloads nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quickstep.datasets.class_prompts import LABEL_SETS, read_class_prompts
from quickstep.datasets.importers.import_result import ClassCount, ImportResult
from quickstep.datasets.label_matching import loose_label_key, match_labels
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.readers import kinetics
from quickstep.datasets.readers.rows import SPLITS
from quickstep.types.config_fields import setting
from quickstep.types.errors import ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment

_LIST = re.compile(r"[,/.\\]")  # characters of a list of labels or the name of a file, but of no single label
_PARTS = {**SPLITS, "validate": "val", "holdout": "test"}


@dataclass(frozen=True)
class KineticsConfig:
    """Which rows are wanted, and what is kept of them."""

    labels: str | None = setting(None, "only these classes: a,b,c, a file of them, or a set: dance19, kinetics400 (default: all)")
    official_splits: bool = setting(False, "keep the lists' own train, val and test, instead of leaving them to `quickstep split`")


def import_kinetics(
    lists: Sequence[str | Path], videos: str | Path, config: KineticsConfig | None = None, *, progress: Progress = silent
) -> ImportResult:
    """The segments of some lists whose files are in a folder, under their usual names, in class folders or flat.

    A file of a row's own span is the segment; of the whole video (`ID.mp4`) the row's start and end are. The group is the video's id.
    """
    config = config or KineticsConfig()
    folder, paths = Path(videos), [Path(each) for each in lists]
    if not paths:
        raise ManifestError(folder, "name the lists whose files lie there: --list train.csv --list val.csv")
    rows, label_of, notes, unmatched = _wanted(paths, config, progress)
    progress("finding files", 0, 1)
    files, strangers = kinetics.find_files(rows, folder, spelt=loose_label_key)
    progress("finding files", 1, 1)
    if not files:
        raise ManifestError(
            folder, f"none of the {len(rows)} videos that the lists name is there, such as {rows[0].file}.mp4 or {rows[0].youtube_id}.mp4"
        )
    if strangers:
        notes.append(f"{strangers} videos in {folder} belong to none of these rows")
    segments = [_segment(rows[number], label_of[rows[number].label], file, config) for number, file in files.items()]
    missing = [row for number, row in enumerate(rows) if number not in files]
    here, gone = Counter(segment.label for segment in segments), Counter(label_of[row.label] for row in missing)
    return ImportResult(
        Manifest(tuple(segments), paths[0]),
        tuple(ClassCount(label, here[label], gone[label]) for label in sorted({*label_of.values()})),
        tuple((row.label, row.youtube_id, f"{row.start:g}", f"{row.end:g}", row.split) for row in missing),
        kinetics.COLUMNS,
        unmatched,
        tuple(notes),
    )


def _wanted(
    paths: Sequence[Path], config: KineticsConfig, progress: Progress
) -> tuple[list[kinetics.Row], dict[str, str], list[str], tuple[str, ...]]:
    """The wanted rows, each span once; class -> label; what there is to know; and which labels are no class."""
    wanted = _requested_labels(config.labels)
    by_words = {loose_label_key(label): label for label in wanted}
    label_of: dict[str, str] = {}
    classes: dict[str, None] = {}
    kept: dict[tuple[str, float, float], kinetics.Row] = {}
    bare_rows = doubled = other = 0
    for number, path in enumerate(paths):
        progress("reading lists", number, len(paths))
        for row in kinetics.read_rows(path):
            if not row.label:
                bare_rows += 1
                continue
            if row.label not in classes:
                classes[row.label] = None
                label = by_words.get(loose_label_key(row.label)) if wanted else row.label
                if label is not None:
                    label_of[row.label] = label
            if row.label not in label_of:
                continue
            before = kept.setdefault(row[1:4], row)
            doubled += before is not row
            other += before is not row and label_of[before.label] != label_of[row.label]
    progress("reading lists", len(paths), len(paths))
    unmatched = tuple(str(each) for each in match_labels(wanted, classes)[1])
    if not kept:
        listed = ", ".join(map(str, paths))
        why = "no row has a label" if not classes else f"none of its {len(classes)} classes is wanted ({'; '.join(unmatched[:3])})"
        raise ManifestError(listed, f"{why}: nothing to collect")
    notes = [f"{bare_rows} rows have no label (a test list) and are left out"] if bare_rows else []
    notes += [f"{doubled} rows stand in the lists twice and are taken once"] if doubled else []
    notes += [f"{other} of those say another label the second time; the first counts"] if other else []
    return list(kept.values()), label_of, notes, unmatched


def _requested_labels(labels: str | None) -> tuple[str, ...]:
    """Read the labels of a list, a file, a shipped label set, or a single label; () where none are requested."""
    if labels is None:
        return ()
    if labels.strip() and labels not in LABEL_SETS and not _LIST.search(labels) and not Path(labels).exists():
        return (" ".join(labels.split()),)
    return read_class_prompts(labels).labels


def _segment(row: kinetics.Row, label: str, file: kinetics.File, config: KineticsConfig) -> Segment:
    extra = {"source": "kinetics", "youtube_id": row.youtube_id, "time_start": f"{row.start:g}", "time_end": f"{row.end:g}"}
    if label != row.label:
        extra["source_label"] = row.label
    part = _PARTS.get(row.split.casefold())
    if row.split and not config.official_splits:
        extra["source_split"] = row.split
    return Segment(
        file.path,
        label=label,
        start=0.0 if file.trimmed else row.start,
        end=None if file.trimmed else row.end,
        group=row.youtube_id,
        split=part if config.official_splits else None,
        extra=extra,
    )
