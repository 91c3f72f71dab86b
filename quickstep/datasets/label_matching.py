"""Match labels across spellings: `BrushHair`, `brush_hair` and `brush hair` are one label."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPACING = re.compile(r"[\s_-]+")
_PUNCTUATION = re.compile(r"[\W_]+")


def as_words(label: str) -> str:
    """Write a label as words: `brush_hair` and `BrushHair` become `brush hair`."""
    words = label.replace("_", " ")
    if " " not in words.strip():
        parts = _CAMEL_CASE.split(words)
        words = " ".join(part if part.isupper() and len(part) > 1 else part.lower() for part in parts) if len(parts) > 1 else words
    return " ".join(words.split())


def label_key(label: str) -> str:
    """Return what the spellings of one label share: case, spaces, hyphens and underscores do not count."""
    return " ".join(_SPACING.sub(" ", unicodedata.normalize("NFKC", as_words(label)).casefold()).split())


@lru_cache(maxsize=4096)
def loose_label_key(label: str) -> str:
    """Return what spellings of one label in different datasets share: punctuation and apostrophes do not count either."""
    return _PUNCTUATION.sub(" ", label_key(label).replace("'", "").replace("’", "")).strip()


@dataclass(frozen=True)
class UnmatchedLabel:
    """A requested label that is not a class of the dataset, and the class with the most similar name."""

    label: str
    nearest: str | None

    def __str__(self) -> str:
        hint = f"; the nearest class is {self.nearest!r}" if self.nearest else ""
        return f"no class matches {self.label!r}{hint}"


def match_labels(labels: Sequence[str], classes: Iterable[str]) -> tuple[dict[str, str], tuple[UnmatchedLabel, ...]]:
    """Return class -> requested label, and the requested labels that match no class."""
    label_by_key = {loose_label_key(label): label for label in labels}
    class_by_key = {loose_label_key(name): name for name in classes}
    matches = {name: label_by_key[key] for key, name in class_by_key.items() if key in label_by_key}
    others = {key: name for key, name in class_by_key.items() if key not in label_by_key}
    unmatched = [UnmatchedLabel(label, _nearest(key, others)) for key, label in label_by_key.items() if key not in class_by_key]
    return matches, tuple(unmatched)


def _nearest(key: str, class_by_key: Mapping[str, str]) -> str | None:
    similar = get_close_matches(key, class_by_key, n=1, cutoff=0.5)
    return class_by_key[similar[0]] if similar else None
