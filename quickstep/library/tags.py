"""export_tags: write the labels of each video as tags for other programs: csv, json, or an XMP sidecar for each video.

A tag's share is the share of the video's time that has the label, weighted by its probability: at each second the mean over the windows
that contain it. Existing sidecars of other programs are extended, never replaced: tags are in `dc:subject`, and `quickstep:tags` lists
those that are ours, so that a later export can remove them and leave the others.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as Xml

import numpy as np
from numpy.typing import NDArray

from quickstep.library.table import NO_LABELS, Library, open_library
from quickstep.storage import files
from quickstep.types.config_fields import between, one_of
from quickstep.types.errors import ConfigError, LibraryError, MediaError
from quickstep.types.escaping import csv_cells

Format = Literal["csv", "json", "sidecar"]
FORMATS = ("csv", "json", "sidecar")

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
META = "adobe:ns:meta/"
OURS = "https://quickstep.invalid/xmp/1.0/"
_PREFIXES = {"x": META, "rdf": RDF, "dc": DC, "quickstep": OURS}
_XMP_START = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_XMP_END = '\n<?xpacket end="w"?>\n'


@dataclass(frozen=True)
class Tag:
    """A label of a video."""

    name: str
    share: float  # of the video's time, weighted by score
    score: float  # the highest of any window
    spans: tuple[tuple[float, float], ...]  # seconds in which it is the most probable label


@dataclass(frozen=True)
class TaggedVideo:
    """A video and its tags, the largest share first."""

    path: str
    duration: float
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class TagExport:
    """What was written."""

    videos: int
    tags: int
    text: str | None = None  # the export, where no file was named
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def export_tags(
    library: Library | str | Path, *, format: Format = "csv", out: str | Path | None = None, min_share: float = 0.05
) -> TagExport:
    """Write the tags of every video whose share is at least `min_share`."""
    one_of("format", format, FORMATS)
    between("min_share", min_share, 0.0, 1.0)
    library = open_library(library)
    videos = list(tags_of(library, min_share=min_share))
    if not videos:
        raise LibraryError(library.uri, NO_LABELS)
    count = sum(len(video.tags) for video in videos)
    if format == "sidecar":
        written, notes = _write_sidecars(videos, None if out is None else Path(out))
        return TagExport(len(videos), count, None, tuple(written), tuple(notes))
    text = _to_csv(videos) if format == "csv" else json.dumps([_to_json(video) for video in videos], ensure_ascii=False, indent=1) + "\n"
    if out is None:
        return TagExport(len(videos), count, text)
    if Path(out).is_dir():
        raise ConfigError("out", f"{out} is a folder; name the file to write")
    _write(Path(out), text.encode())
    return TagExport(len(videos), count, None, (Path(out),))


def tags_of(library: Library, *, min_share: float = 0.0) -> Iterator[TaggedVideo]:
    """Yield the tags of each labelled video, in the order of paths."""
    videos: dict[str, list[dict[str, Any]]] = {}
    for batch in library.batches(["path", "start", "end", "duration", "names", "scores"], "NOT gone AND named_by IS NOT NULL"):
        for row in batch.to_pylist():
            videos.setdefault(row["path"], []).append(row)
    for path in sorted(videos):
        rows = sorted(videos[path], key=lambda row: row["start"])
        tags = [tag for tag in _tags(rows) if tag.share >= min_share]
        yield TaggedVideo(path, rows[0]["duration"], tuple(sorted(tags, key=lambda tag: (-tag.share, tag.name))))


def _tags(rows: Sequence[Mapping[str, Any]]) -> Iterator[Tag]:
    """Yield the tags of one video from its windows, in the order of time."""
    edges = np.unique([row[end] for row in rows for end in ("start", "end")])
    place = {edge: number for number, edge in enumerate(edges.tolist())}
    lengths = np.diff(edges)
    windows = _sum_between_edges(len(edges), [(place[row["start"]], place[row["end"]], 1.0) for row in rows])
    labelled: dict[str, list[tuple[int, int, float]]] = {}
    for row in rows:
        for name, score in zip(row["names"] or (), row["scores"] or (), strict=True):
            labelled.setdefault(name, []).append((place[row["start"]], place[row["end"]], float(score)))
    for name, parts in labelled.items():
        scores = _sum_between_edges(len(edges), parts)
        share = float((scores / np.maximum(windows, 1.0) * lengths).sum() / max(float(lengths[windows > 0].sum()), 1e-9))
        spans = _join_spans([(row["start"], row["end"]) for row in rows if row["names"] and row["names"][0] == name])
        yield Tag(name, round(min(1.0, share), 4), round(max(score for _, _, score in parts), 4), spans)


def _sum_between_edges(count: int, parts: Sequence[tuple[int, int, float]]) -> NDArray[np.float64]:
    """Sum overlapping parts (from edge, to edge, value) between each two neighbouring edges."""
    steps = np.zeros(count)
    for first, last, value in parts:
        steps[first] += value
        steps[last] -= value
    return np.cumsum(steps)[:-1]


def _join_spans(spans: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Join spans that touch or overlap."""
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1] + 1e-6:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def _to_csv(videos: Sequence[TaggedVideo]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "tag", "share", "score", "spans"))
    for video in videos:
        for tag in video.tags:
            spans = " ".join(f"{start:.2f}-{end:.2f}" for start, end in tag.spans)
            writer.writerow(csv_cells((str(video.path), tag.name, f"{tag.share:.4f}", f"{tag.score:.4f}", spans)))
    return text.getvalue()


def _to_json(video: TaggedVideo) -> dict[str, Any]:
    tags = [{"name": tag.name, "share": tag.share, "score": tag.score, "spans": [list(span) for span in tag.spans]} for tag in video.tags]
    return {"path": video.path, "duration": video.duration, "tags": tags}


def _write(path: Path, content: bytes) -> None:
    try:
        files.write_bytes(path, content)
    except OSError as error:
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error


# -- XMP sidecars -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sidecar:
    """The new bytes of a sidecar, and how they differ from the old ones."""

    content: bytes
    added: int  # tags that were not in it
    has_foreign: bool  # whether it contains anything of other programs


def _write_sidecars(videos: Sequence[TaggedVideo], folder: Path | None) -> tuple[list[Path], list[str]]:
    """Write VIDEO.mp4.xmp beside each video, or at the same relative place below a folder."""
    root = os.path.commonpath([os.path.dirname(video.path) for video in videos])  # noqa: PTH120 - of texts
    written, notes = [], []
    for video in videos:
        beside = Path(f"{video.path}.xmp")
        path = beside if folder is None else folder / os.path.relpath(beside, root)
        try:
            old = path.read_bytes() if path.exists() else None
        except OSError as error:
            raise MediaError(path, f"the sidecar cannot be read: {error.strerror or error}") from error
        sidecar = add_tags(old, [tag.name for tag in video.tags])
        if sidecar is None:
            notes.append(f"{path}: is not an XMP file, so it was left unchanged")
            continue
        if sidecar.has_foreign:
            notes.append(f"{path}: existed already; its own content was kept, {sidecar.added} tags added")
        if sidecar.content != old:
            _write(path, sidecar.content)
        written.append(path)
    return written, notes


def add_tags(old: bytes | None, tags: Sequence[str]) -> Sidecar | None:
    """Make a sidecar with these tags and everything that other programs wrote into the old one; None if that is not XMP."""
    prefixes = dict(_PREFIXES)
    if old is None:
        root = Xml.Element(f"{{{META}}}xmpmeta")
        Xml.SubElement(Xml.SubElement(root, f"{{{RDF}}}RDF"), f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})
    else:
        try:
            namespaces = [namespace for _, namespace in Xml.iterparse(io.BytesIO(old), events=["start-ns"])]
            root = Xml.fromstring(old)
        except (Xml.ParseError, ValueError):
            return None
        prefixes |= {prefix: uri for prefix, uri in namespaces if prefix and not prefix.startswith("ns")}
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if rdf is None:
        return None
    ours = _bag(rdf, f"{{{OURS}}}tags")
    subjects = _bag(rdf, f"{{{DC}}}subject")
    before = _items(subjects)
    own = set(_items(ours))
    foreign = [tag for tag in before if tag not in own]
    _set_items(subjects, [*foreign, *(tag for tag in tags if tag not in foreign)])
    _set_items(ours, [tag for tag in tags if tag not in foreign])
    for prefix, uri in prefixes.items():
        Xml.register_namespace(prefix, uri)
    Xml.indent(root, " ")
    text = _XMP_START + Xml.tostring(root, encoding="unicode") + _XMP_END
    has_foreign = old is not None and (bool(foreign) or not _is_ours_alone(rdf))
    return Sidecar(text.encode(), len([tag for tag in tags if tag not in before]), has_foreign)


def _bag(rdf: Xml.Element, name: str) -> Xml.Element:
    """Return the unordered list of that name, and create it where it does not exist."""
    element = rdf.find(f"{{{RDF}}}Description/{name}")
    if element is None:
        description = rdf.find(f"{{{RDF}}}Description")
        if description is None:
            description = Xml.SubElement(rdf, f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})
        element = Xml.SubElement(description, name)
    for kind in ("Bag", "Seq"):
        bag = element.find(f"{{{RDF}}}{kind}")
        if bag is not None:
            return bag
    return Xml.SubElement(element, f"{{{RDF}}}Bag")


def _items(bag: Xml.Element) -> list[str]:
    return [(item.text or "").strip() for item in bag.findall(f"{{{RDF}}}li")]


def _set_items(bag: Xml.Element, tags: Sequence[str]) -> None:
    for item in list(bag):
        bag.remove(item)
    for tag in tags:
        Xml.SubElement(bag, f"{{{RDF}}}li").text = tag


def _is_ours_alone(rdf: Xml.Element) -> bool:
    """Tell whether a sidecar contains nothing but our own tags."""
    own_tags = {f"{{{DC}}}subject", f"{{{OURS}}}tags"}
    descriptions = rdf.findall(f"{{{RDF}}}Description")
    attributes = {name for description in descriptions for name in description.attrib} - {f"{{{RDF}}}about"}
    return not attributes and all(child.tag in own_tags for description in descriptions for child in description)
