"""Write timelines to files: csv and json for programs, srt and vtt for players, eaf for ELAN, txt for Audacity."""

from __future__ import annotations

import csv
import io
import json
import mimetypes
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from quickstep.inference.timelines.spans import Span, Timeline
from quickstep.storage.files import write_text
from quickstep.types.confidence_intervals import percent
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.escaping import csv_cells

XSI = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


def write_timeline(timeline: Timeline | Sequence[Timeline], path: str | Path) -> Path:
    """Write a timeline in the format of the file's ending; csv and json take several timelines."""
    path, several = Path(path), [timeline] if isinstance(timeline, Timeline) else list(timeline)
    suffix = check_format(path)
    if len(several) != 1 and suffix not in SEVERAL:
        raise ConfigError("out", f"a {suffix} file has one timeline, not {len(several)}: name a folder, or {{name}}{suffix}")
    text = FORMATS[suffix](several if suffix in SEVERAL else several[0])
    try:
        write_text(path, text)
    except OSError as error:
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error
    return path


def check_format(path: Path) -> str:
    """Return the ending of a file name; refuse one that is not a format of timelines."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError("out", f"a timeline is written as {', '.join(FORMATS)}, not as {path.name!r}")
    return suffix


def caption(span: Span) -> str:
    """Return the label of a span, after the number of its person where there are several people."""
    text = " ".join(span.name.split())
    return text if span.person is None else f"{span.person}: {text}"


def _csv(timelines: Sequence[Timeline]) -> str:
    """Return one row for each span; an unsure one has no label, and its most likely label is in `most_probable`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    people = any(span.person is not None for timeline in timelines for span in timeline.spans)
    writer.writerow(["video", *["person"] * people, "start", "end", "label", "score", "most_probable", "confidence"])
    for timeline in timelines:
        for span in timeline.spans:
            whose = ["" if span.person is None else str(span.person)] * people
            times = (f"{span.start:.3f}", f"{span.end:.3f}")
            row = [str(timeline.video), *whose, *times, span.label or "", f"{span.score:.4f}", span.most_probable, span.confidence]
            writer.writerow(csv_cells(row))
    return out.getvalue()


def _json(timelines: Sequence[Timeline]) -> str:
    """Return one timeline as an object, several as a list."""
    plain = [timeline.to_json() for timeline in timelines]
    return json.dumps(plain[0] if len(plain) == 1 else plain, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _srt(timeline: Timeline) -> str:
    cues = sorted(timeline.spans, key=lambda span: (span.start, span.person or 0))
    blocks = [f"{n}\n{_clock(s.start, ',')} --> {_clock(s.end, ',')}\n{_scored(s)}\n" for n, s in enumerate(cues, start=1)]
    return "\n".join(blocks)


def _scored(span: Span) -> str:
    """Return the caption with the score of the most probable label: "halo 87 %", or "unsure (halo 41 %)"."""
    score = percent(span.score)
    return f"{caption(span)} {score}" if span.label is not None else f"{caption(span)} ({span.most_probable} {score})"


def _vtt(timeline: Timeline) -> str:
    cues = sorted(timeline.spans, key=lambda span: (span.start, span.person or 0))
    blocks = [f"{_clock(s.start, '.')} --> {_clock(s.end, '.')}\n{_escaped(caption(s))}\n" for s in cues]
    return "\n".join(["WEBVTT\n", *blocks])


def _escaped(text: str) -> str:
    """Escape text for WebVTT: no markup, and no arrow that would be parsed as a time."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _audacity(timeline: Timeline) -> str:
    return "".join(f"{span.start:.6f}\t{span.end:.6f}\t{caption(span)}\n" for span in timeline.spans)


def _clock(seconds: float, point: str) -> str:
    """Format hours, minutes, seconds and milliseconds: 01:02:03,500."""
    thousandths = _milliseconds(seconds)
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{thousandths // 1000:02d}{point}{thousandths % 1000:03d}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _eaf(timeline: Timeline) -> str:
    """Return ELAN's annotation format 3.0 with one tier, or one for each person; it has no scores."""
    ElementTree.register_namespace("xsi", XSI)
    today = datetime.now(UTC).isoformat(timespec="seconds")
    root = ElementTree.Element("ANNOTATION_DOCUMENT", {"AUTHOR": "quickstep", "DATE": today, "FORMAT": "3.0", "VERSION": "3.0"})
    root.set(f"{{{XSI}}}noNamespaceSchemaLocation", SCHEMA)
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    media = {"MEDIA_URL": timeline.video.absolute().as_uri(), "MIME_TYPE": mimetypes.guess_type(timeline.video.name)[0] or "video/mp4"}
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", media | {"RELATIVE_MEDIA_URL": f"./{quote(timeline.video.name)}"})
    count = sum(len(timeline.of(person)) for person in timeline.people)
    ElementTree.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(count)
    order = ElementTree.SubElement(root, "TIME_ORDER")
    instants = sorted({_milliseconds(second) for span in timeline.spans for second in (span.start, span.end)})
    slots = {instant: f"ts{number}" for number, instant in enumerate(instants, start=1)}
    for instant, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(instant)})
    number = 0
    for person in timeline.people:
        named = {"LINGUISTIC_TYPE_REF": "moves", "TIER_ID": "moves" if person is None else f"person {person}"}
        tier = ElementTree.SubElement(root, "TIER", named)
        for span in timeline.of(person):
            begin, end = _milliseconds(span.start), _milliseconds(span.end)
            if begin == end:
                continue
            number += 1
            attributes = {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": slots[begin], "TIME_SLOT_REF2": slots[end]}
            annotation = ElementTree.SubElement(ElementTree.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", attributes)
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = _allowed(span.name)
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "moves", "TIME_ALIGNABLE": "true"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(root, space="    ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _allowed(text: str) -> str:
    """Remove the control characters that XML cannot contain."""
    return "".join(letter for letter in text if letter >= " " or letter in "\t\n\r")


FORMATS: dict[str, Callable[..., str]] = {
    ".csv": _csv,
    ".json": _json,
    ".srt": _srt,
    ".vtt": _vtt,
    ".eaf": _eaf,
    ".txt": _audacity,
}
SEVERAL = (".csv", ".json")  # formats that hold several timelines in one file
