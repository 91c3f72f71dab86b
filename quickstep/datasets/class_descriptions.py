"""Wording: the labels one looks for and the sentences that say what each means, for backbones that read words; knows no network.

Labels come as a list (`a,b,c`), as a file with one on each line (`label`, or `label: a sentence; another sentence`), or by the name of
a set that ships with quickstep.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from quickstep.datasets.readers.text_files import read_text
from quickstep.types.errors import ConfigError, ManifestError

LABEL_SETS = ("dance19", "hmdb51", "kinetics400", "ucf101")
USUAL_TEMPLATES = ("a video of {}",)
ENSEMBLE = (
    "a video of {}",
    "a video of a person {}",
    "a video of people {}",
    "a photo of {}",
    "someone is {}",
    "an example of {}",
    "{}, filmed with a phone",
    "{} on a stage",
)
PLACE = "{}"  # where the label goes in a template
LONGEST = 2000  # characters of a label or sentence; more is a file that is no list of labels
_SENTENCE_END = re.compile(r"\s*;\s*|(?<=[.!?])\s+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Wording:
    """For each label, the sentences that a network reads in its place."""

    labels: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]
    described: frozenset[str] = frozenset()  # labels whose sentences somebody wrote, in no template

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.sentences) or not all(self.sentences):
            raise ValueError("every label has at least one sentence")

    @property
    def by_label(self) -> dict[str, tuple[str, ...]]:
        """Label -> its sentences."""
        return dict(zip(self.labels, self.sentences))

    def put_into(self, templates: Sequence[str]) -> Wording:
        """The same labels in other templates; what somebody wrote for a label stays."""
        filled = check_templates(templates)
        told = self.by_label
        sentences = (told[label] if label in self.described else _filled(label, filled) for label in self.labels)
        return replace(self, sentences=tuple(sentences))


def read_wording(labels: str | Path | Sequence[str], *, templates: Sequence[str] = (), words: str | Path | None = None) -> Wording:
    """Labels and what they mean: `labels` is `a,b,c`, a file, the name of a shipped set, or a sequence.

    A label is put into each of the `templates` (or all of a usual ensemble, by the name "ensemble"); sentences that a file gives for a
    label stand as they are and take the templates' place. `words` is a file of such sentences for labels that came without.
    """
    described = dict(_entries(labels))
    _check_count(described, labels)
    if words is not None:
        described |= _descriptions(Path(words), described)
    written = frozenset(label for label, sentences in described.items() if sentences)
    wording = Wording(tuple(described), tuple(sentences or (label,) for label, sentences in described.items()), written)
    return wording.put_into(templates or USUAL_TEMPLATES)


def _filled(label: str, templates: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(template.replace(PLACE, spoken(label)) for template in templates))


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """The templates, "ensemble" written out; each needs a place for the label."""
    filled: list[str] = []
    for template in templates:
        if template == "ensemble":
            filled += ENSEMBLE
        elif template.count(PLACE) != 1:
            hint = f"as in {USUAL_TEMPLATES[0]!r}, or be 'ensemble'"
            raise ConfigError("template", f"{template!r} must have one {PLACE} where the label goes, {hint}")
        else:
            filled.append(template)
    return tuple(dict.fromkeys(filled))


def spoken(label: str) -> str:
    """A label as one would say it: `brush_hair` and `BrushHair` are brush hair."""
    words = label.replace("_", " ")
    if " " not in words.strip():
        parts = _HUMP.split(words)
        words = " ".join(part if part.isupper() and len(part) > 1 else part.lower() for part in parts) if len(parts) > 1 else words
    return " ".join(words.split())


def same(label: str) -> str:
    """What two spellings of one label have in common: case, spaces, hyphens and underscores make no other label."""
    return " ".join(re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", spoken(label)).casefold()).split())


def _entries(labels: str | Path | Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """(label, its own sentences) each, in order."""
    if isinstance(labels, Path):
        return _from_text(read_text(labels), labels)
    if not isinstance(labels, str):
        return _distinct([(str(label), ()) for label in labels], "the list")
    if labels in LABEL_SETS:
        shipped = (files("quickstep.datasets") / "labels" / f"{labels}.txt").read_text(encoding="utf-8")
        return [(line, ()) for line in shipped.splitlines()]
    file = Path(labels).expanduser()
    if "," not in labels or file.suffix.lower() in {".txt", ".csv", ".tsv"}:
        if file.is_file() or file.suffix.lower() in {".txt", ".csv", ".tsv"} or "/" in labels:
            return _from_text(read_text(file), file)
        if labels.strip():
            raise ConfigError("labels", f"{labels!r} is neither a file nor a set ({', '.join(LABEL_SETS)}); labels are at least two: a,b")
    return _distinct([(label, ()) for label in labels.split(",") if label.strip()], "the list")


def _from_text(text: str, file: Path) -> list[tuple[str, tuple[str, ...]]]:
    """One label a line, with or without sentences after a colon."""
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("# "):
            continue
        label, colon, rest = line.partition(":")
        sentences = tuple(part.strip() for part in _SENTENCE_END.split(rest) if part.strip())
        if not label.strip() or (colon and not sentences) or max(map(len, (label, *sentences))) > LONGEST:
            raise ManifestError(file, "is no `label` and no `label: a sentence; another`", line=number)
        entries.append((label, tuple(sentence.replace(PLACE, spoken(label)) for sentence in sentences)))
    return _distinct(entries, str(file))


def _distinct(entries: Sequence[tuple[str, tuple[str, ...]]], where: str) -> list[tuple[str, tuple[str, ...]]]:
    seen: dict[str, str] = {}
    cleaned = []
    for label, sentences in entries:
        name = " ".join(label.split())
        if not name:
            raise ConfigError("labels", f"{where} has a label without a name")
        if same(name) in seen:
            raise ConfigError("labels", f"{seen[same(name)]!r} and {name!r} are one label written twice in {where}; leave one out")
        seen[same(name)] = name
        cleaned.append((name, sentences))
    return cleaned


def _check_count(described: Mapping[str, object], labels: object) -> None:
    if not described:
        where = f" in {labels}" if isinstance(labels, (str, Path)) and str(labels).strip() else ""
        raise ConfigError("labels", f"there are none{where}; name at least two, as in windmill,halo, or a set: {', '.join(LABEL_SETS)}")
    if len(described) < 2:
        raise ConfigError(
            "labels",
            f"{next(iter(described))!r} is the only one, and there is nothing to tell it from; name another, if only 'something else'",
        )


def _descriptions(file: Path, described: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The sentences of a file for labels that we have, whatever their spelling there."""
    spelt = {same(label): label for label in described}
    found = {}
    for label, sentences in _from_text(read_text(file), file):
        if same(label) not in spelt:
            raise ConfigError("words", f"{file} describes {label!r}, which is none of the labels: {', '.join(list(described)[:8])}")
        if sentences:
            found[spelt[same(label)]] = sentences
    return found
