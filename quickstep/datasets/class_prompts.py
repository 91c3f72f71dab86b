"""ClassPrompts: the sentences that describe each label to a backbone that reads text.

Labels come as a list (`a,b,c`), as a file with one on each line, or by the name of a label set that ships with quickstep. A line is
`label` or `label: a sentence; another sentence`, and may begin with the number of the class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from quickstep.datasets.label_matching import as_words, label_key
from quickstep.datasets.readers.list_files import class_lines, read_text
from quickstep.types.errors import ConfigError, ManifestError

LABEL_SETS = ("dance19", "hmdb51", "kinetics400", "ucf101")
DEFAULT_TEMPLATES = ("a video of {}",)
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
PLACEHOLDER = "{}"  # where the label goes in a template
MAX_LENGTH = 2000  # characters of a label or sentence; a longer line means that the file is not a list of labels
_SENTENCE_END = re.compile(r"\s*;\s*|(?<=[.!?])\s+")
_LIST_SUFFIXES = {".txt", ".csv", ".tsv"}


@dataclass(frozen=True)
class ClassPrompts:
    """The sentences that a text encoder reads for each label."""

    labels: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]
    described: frozenset[str] = frozenset()  # labels with sentences of their own, which go into no template

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.sentences) or not all(self.sentences):
            raise ValueError("every label has at least one sentence")

    @property
    def by_label(self) -> dict[str, tuple[str, ...]]:
        """Label -> its sentences."""
        return dict(zip(self.labels, self.sentences))

    def with_templates(self, templates: Sequence[str]) -> ClassPrompts:
        """Put the labels into other templates; sentences that were written for a label stay."""
        checked = check_templates(templates)
        own = self.by_label
        sentences = (own[label] if label in self.described else _fill(checked, label) for label in self.labels)
        return replace(self, sentences=tuple(sentences))


def read_class_prompts(
    labels: str | Path | Sequence[str], *, templates: Sequence[str] = (), prompts: str | Path | None = None
) -> ClassPrompts:
    """Read labels and their sentences; `labels` is `a,b,c`, a file, the name of a shipped label set, or a sequence.

    Each label goes into each of the `templates` ("ensemble" stands for several common ones). Sentences that a file gives for a label are
    used as they are, without a template. `prompts` is a file of such sentences for labels that came without.
    """
    described = dict(_read_labels(labels))
    _check_count(described, labels)
    if prompts is not None:
        described |= _read_descriptions(Path(prompts), described)
    own = frozenset(label for label, sentences in described.items() if sentences)
    class_prompts = ClassPrompts(tuple(described), tuple(sentences or (label,) for label, sentences in described.items()), own)
    return class_prompts.with_templates(templates or DEFAULT_TEMPLATES)


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Return the templates with "ensemble" replaced by its members; refuse one without a place for the label."""
    checked: list[str] = []
    for template in templates:
        if template == "ensemble":
            checked += ENSEMBLE
        elif template.count(PLACEHOLDER) != 1:
            hint = f"as in {DEFAULT_TEMPLATES[0]!r}, or be 'ensemble'"
            raise ConfigError("template", f"{template!r} must have one {PLACEHOLDER} where the label goes, {hint}")
        else:
            checked.append(template)
    return tuple(dict.fromkeys(checked))


def _fill(templates: Sequence[str], label: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(template.replace(PLACEHOLDER, as_words(label)) for template in templates))


def _read_labels(labels: str | Path | Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """List (label, its own sentences), in order."""
    if isinstance(labels, Path):
        return _parse(read_text(labels), labels)
    if not isinstance(labels, str):
        return _without_repeats([(str(label), ()) for label in labels], "the list")
    if labels in LABEL_SETS:
        shipped = (files("quickstep.datasets") / "labels" / f"{labels}.txt").read_text(encoding="utf-8")
        return [(line, ()) for line in shipped.splitlines()]
    file = Path(labels).expanduser()
    if "," not in labels or file.suffix.lower() in _LIST_SUFFIXES:
        if file.is_file() or file.suffix.lower() in _LIST_SUFFIXES or "/" in labels:
            return _parse(read_text(file), file)
        if labels.strip():
            sets = ", ".join(LABEL_SETS)
            raise ConfigError("labels", f"{labels!r} is neither a file nor a label set ({sets}); to list labels, name at least two: a,b")
    return _without_repeats([(label, ()) for label in labels.split(",") if label.strip()], "the list")


def _parse(text: str, file: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Read one label from each line, with or without a class number before it and sentences after a colon."""
    entries = []
    for line, _, content in class_lines(text, file) if text.strip() else ():
        label, colon, rest = content.partition(":")
        sentences = tuple(part.strip() for part in _SENTENCE_END.split(rest) if part.strip())
        if not label.strip() or (colon and not sentences) or max(map(len, (label, *sentences))) > MAX_LENGTH:
            raise ManifestError(file, "expected `label` or `label: a sentence; another`", line=line)
        entries.append((label, tuple(sentence.replace(PLACEHOLDER, as_words(label)) for sentence in sentences)))
    return _without_repeats(entries, str(file))


def _without_repeats(entries: Sequence[tuple[str, tuple[str, ...]]], source: str) -> list[tuple[str, tuple[str, ...]]]:
    """Tidy the labels; refuse an empty one, and two spellings of one label."""
    name_by_key: dict[str, str] = {}
    tidied: list[tuple[str, tuple[str, ...]]] = []
    for label, sentences in entries:
        name = " ".join(label.split())
        if not name:
            raise ConfigError("labels", f"{source} has a label without a name")
        first = name_by_key.setdefault(label_key(name), name)
        if len(name_by_key) == len(tidied):
            what = f"the label {name!r} is twice" if first == name else f"{first!r} and {name!r} are two spellings of one label"
            raise ConfigError("labels", f"{what} in {source}; remove one")
        tidied.append((name, sentences))
    return tidied


def _check_count(described: Mapping[str, object], labels: object) -> None:
    if not described:
        source = f" in {labels}" if isinstance(labels, str | Path) and str(labels).strip() else ""
        sets = ", ".join(LABEL_SETS)
        raise ConfigError("labels", f"no labels{source}; name at least two, such as windmill,halo, or a label set: {sets}")
    if len(described) < 2:
        only = next(iter(described))
        raise ConfigError("labels", f"{only!r} is the only label; name at least one more, such as 'something else'")


def _read_descriptions(file: Path, labels: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Read a file of sentences for these labels, whatever their spelling in it."""
    label_by_key = {label_key(label): label for label in labels}
    descriptions = {}
    for label, sentences in _parse(read_text(file), file):
        if label_key(label) not in label_by_key:
            raise ConfigError("prompts", f"{file} describes {label!r}, which is not one of the labels: {', '.join(list(labels)[:8])}")
        if sentences:
            descriptions[label_by_key[label_key(label)]] = sentences
    return descriptions
