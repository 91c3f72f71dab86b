"""Timelines as files: csv and json for programs, srt and vtt for players, eaf for ELAN, txt for Audacity. Knows no picture and no model."""

from __future__ import annotations

import csv
import io
import json
import mimetypes
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from quickstep.inference.timelines.spans import Span, Timeline
from quickstep.types.errors import ConfigError, MediaError

XSI = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


def write_timeline(found: Timeline | Sequence[Timeline], path: str | Path) -> Path:
    """Write a timeline in the form that the file's name asks for; csv and json take several."""
    path, several = Path(path), [found] if isinstance(found, Timeline) else list(found)
    form = check_form(path)
    if len(several) != 1 and form not in TOGETHER:
        raise ConfigError("out", f"a {form} file has one video's timeline, and there are {len(several)}: name a folder, or {{name}}{form}")
    text = FORMATS[form](several if form in TOGETHER else several[0])
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8", newline="")
        aside.replace(path)
    except OSError as error:
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return path


def check_form(path: Path) -> str:
    """The form that a file's name asks for."""
    form = path.suffix.lower()
    if form not in FORMATS:
        raise ConfigError("out", f"a timeline is written as {', '.join(FORMATS)}, not as {path.name!r}")
    return form


def spoken(span: Span) -> str:
    """A span in people's words: its label, and for one of several people whose it is."""
    text = " ".join(span.name.split())
    return text if span.person is None else f"{span.person}: {text}"


def _csv(timelines: Sequence[Timeline]) -> str:
    """One row a span; the label of an unsure one is empty, and what it would have been stands under `likeliest`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    people = any(span.person is not None for found in timelines for span in found.spans)
    writer.writerow(["video", *["person"] * people, "start", "end", "label", "score", "likeliest", "reading"])
    for found in timelines:
        for span in found.spans:
            whose = ["" if span.person is None else str(span.person)] * people
            times = (f"{span.start:.3f}", f"{span.end:.3f}")
            writer.writerow([found.video, *whose, *times, span.label or "", f"{span.score:.4f}", span.likeliest, span.confidence])
    return out.getvalue()


def _json(timelines: Sequence[Timeline]) -> str:
    """One timeline as an object, several as a list."""
    plain = [found.to_json() for found in timelines]
    return json.dumps(plain[0] if len(plain) == 1 else plain, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _srt(found: Timeline) -> str:
    cues = sorted(found.spans, key=lambda span: (span.start, span.person or 0))
    blocks = [f"{n}\n{_clock(s.start, ',')} --> {_clock(s.end, ',')}\n{spoken(s)}\n" for n, s in enumerate(cues, start=1)]
    return "\n".join(blocks)


def _vtt(found: Timeline) -> str:
    cues = sorted(found.spans, key=lambda span: (span.start, span.person or 0))
    blocks = [f"{_clock(s.start, '.')} --> {_clock(s.end, '.')}\n{_escaped(spoken(s))}\n" for s in cues]
    return "\n".join(["WEBVTT\n", *blocks])


def _escaped(text: str) -> str:
    """Words as WebVTT wants them: no markup, and no arrow that would be read as a time."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _audacity(found: Timeline) -> str:
    return "".join(f"{span.start:.6f}\t{span.end:.6f}\t{spoken(span)}\n" for span in found.spans)


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds: 01:02:03,500."""
    thousandths = _milliseconds(seconds)
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{thousandths // 1000:02d}{point}{thousandths % 1000:03d}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _eaf(found: Timeline) -> str:
    """ELAN's annotation format 3.0: one tier, or one a person; a span's score is not told there."""
    ElementTree.register_namespace("xsi", XSI)
    today = datetime.now(UTC).isoformat(timespec="seconds")
    root = ElementTree.Element("ANNOTATION_DOCUMENT", {"AUTHOR": "quickstep", "DATE": today, "FORMAT": "3.0", "VERSION": "3.0"})
    root.set(f"{{{XSI}}}noNamespaceSchemaLocation", SCHEMA)
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    media = {"MEDIA_URL": found.video.absolute().as_uri(), "MIME_TYPE": mimetypes.guess_type(found.video.name)[0] or "video/mp4"}
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", media | {"RELATIVE_MEDIA_URL": f"./{quote(found.video.name)}"})
    count = sum(len(found.of(person)) for person in found.people)
    ElementTree.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(count)
    order = ElementTree.SubElement(root, "TIME_ORDER")
    instants = sorted({_milliseconds(second) for span in found.spans for second in (span.start, span.end)})
    slots = {instant: f"ts{number}" for number, instant in enumerate(instants, start=1)}
    for instant, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(instant)})
    number = 0
    for person in found.people:
        named = {"LINGUISTIC_TYPE_REF": "moves", "TIER_ID": "moves" if person is None else f"person {person}"}
        tier = ElementTree.SubElement(root, "TIER", named)
        for span in found.of(person):
            begin, end = _milliseconds(span.start), _milliseconds(span.end)
            if begin == end:
                continue
            number += 1
            place = {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": slots[begin], "TIME_SLOT_REF2": slots[end]}
            annotation = ElementTree.SubElement(ElementTree.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", place)
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = _allowed(span.name)
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "moves", "TIME_ALIGNABLE": "true"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(root, space="    ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _allowed(text: str) -> str:
    """Without the control characters that XML has no way to write."""
    return "".join(letter for letter in text if letter >= " " or letter in "\t\n\r")


FORMATS: dict[str, Callable[..., str]] = {
    ".csv": _csv,
    ".json": _json,
    ".srt": _srt,
    ".vtt": _vtt,
    ".eaf": _eaf,
    ".txt": _audacity,
}
TOGETHER = (".csv", ".json")  # the forms in which several timelines are one file
