"""Which label another set's class is: the same words in any case, with spaces, underscores or punctuation; knows no video."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from quickstep.datasets.class_descriptions import LABEL_SETS, read_wording

_LIST = re.compile(r"[,/.\\]")  # what stands in a list of labels or the name of a file, and in no label alone
_APART = re.compile(r"[\W_]+")


@lru_cache(maxsize=4096)
def bare(label: str) -> str:
    """What spellings of one label have in common: `Tai_Chi`, `tai chi` and `tai-chi!` are one."""
    return _APART.sub(" ", unicodedata.normalize("NFKC", label).casefold().replace("'", "").replace("’", "")).strip()


def wanted_labels(labels: str | Path | Sequence[str] | None) -> tuple[str, ...]:
    """The labels of a list, a file, or a set that ships, one alone too; () where none were asked for."""
    if labels is None:
        return ()
    if isinstance(labels, str) and labels.strip() and labels not in LABEL_SETS and not _LIST.search(labels) and not Path(labels).exists():
        return (" ".join(labels.split()),)
    return read_wording(labels).labels


@dataclass(frozen=True)
class Unmatched:
    """A wanted label that no class of a set is, and the class that comes nearest."""

    label: str
    nearest: str | None

    def __str__(self) -> str:
        return f"no class is called {self.label!r}" + (f"; the nearest is {self.nearest!r}" if self.nearest else "")


def matched(wanted: Sequence[str], classes: Iterable[str]) -> tuple[dict[str, str], tuple[Unmatched, ...]]:
    """Class -> the wanted label that it is; and the wanted labels that no class is."""
    by_words = {bare(label): label for label in wanted}
    known = {bare(name): name for name in classes}
    found = {name: by_words[words] for words, name in known.items() if words in by_words}
    spare = {words: name for words, name in known.items() if words not in by_words}
    lost = [label for words, label in by_words.items() if words not in known]
    return found, tuple(Unmatched(label, _nearest(bare(label), spare)) for label in lost)


def _nearest(words: str, known: Mapping[str, str]) -> str | None:
    near = get_close_matches(words, known, n=1, cutoff=0.5)
    return known[near[0]] if near else None
