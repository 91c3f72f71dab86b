"""The label of a mirrored segment: as configured, or from words such as left and right in the labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quickstep.training.augmentation.augment import Augment, Draw
from quickstep.types.errors import ConfigError

# Two labels are mirror images of each other if they differ only in such a pair of words.
_SIDES = (
    ("left", "right"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("clockwise", "anticlockwise"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anti-clockwise"),
    ("clockwise", "counter-clockwise"),
    ("cw", "ccw"),
)


@dataclass(frozen=True)
class Mirror:
    """Which labels are swapped in mirrored segments, and which are never mirrored."""

    swapped: dict[str, str]
    never: frozenset[str]
    notes: tuple[str, ...] = ()

    def name(self, label: str, draw: Draw) -> str:
        """Return the label after a draw."""
        return self.swapped.get(label, label) if draw.flipped else label

    def allows(self, label: str) -> bool:
        """Return whether segments with the label may be mirrored."""
        return label not in self.never


def mirror_of(labels: Sequence[str], augment: Augment) -> Mirror:
    """Find the mirrored label of each label: as configured, else by words for sides such as left and right.

    Segments whose label names a side are never mirrored if the label of the other side does not exist.
    """
    if augment.mirror_labels:
        return _configured(labels, augment.mirror_labels)
    if augment.strength("flip") == 0:
        return Mirror({}, frozenset())
    swapped: dict[str, str] = {}
    never: set[str] = set()
    for label in labels:
        mirrored = _mirrored_labels(label)
        existing = [candidate for candidate in mirrored if candidate in labels]
        if existing:
            swapped[label] = existing[0]
        elif mirrored:
            never.add(label)
    notes = []
    pairs = sorted({tuple(sorted(pair)) for pair in swapped.items()})
    if pairs:
        swaps = ", ".join(f"{one!r} and {other!r}" for one, other in pairs)
        notes.append(f"mirrored segments swap the labels {swaps} (`mirror_labels=none` if that is wrong, `flip=0` to mirror nothing)")
    if never:
        notes.append(f"segments of {', '.join(map(repr, sorted(never)))} are never mirrored, because the other side is not a class")
    return Mirror(swapped, frozenset(never), tuple(notes))


def _configured(labels: Sequence[str], configured: Sequence[str]) -> Mirror:
    if list(configured) == ["none"] and "none" not in labels:
        return Mirror({}, frozenset())
    swapped: dict[str, str] = {}
    never: set[str] = set()
    for entry in configured:
        splits = [(entry[:colon], entry[colon + 1 :]) for colon, letter in enumerate(entry) if letter == ":"]
        pairs = [pair for pair in splits if pair[0] in labels and pair[1] in labels]
        if pairs:
            one, other = pairs[0]
            if {one, other} & swapped.keys():
                raise ConfigError("mirror_labels", f"{entry!r}: a label has one mirror image, and an earlier pair has one of these labels")
            swapped |= {one: other, other: one}
        elif entry in labels:
            never.add(entry)
        else:
            raise ConfigError("mirror_labels", f"{entry!r} is neither a label nor a pair label:label; the labels are {', '.join(labels)}")
    return Mirror(swapped, frozenset(never))


def _mirrored_labels(label: str) -> list[str]:
    """Return the label with each word for a side replaced by the other side; empty if the label does not name a side."""
    mirrored = []
    for pair in _SIDES:
        for one, other in (pair, pair[::-1]):
            candidate, count = re.subn(rf"(?<![^\W_]){re.escape(one)}(?![^\W_])", _replacement(other), label, flags=re.IGNORECASE)
            names_both = re.search(rf"(?<![^\W_]){re.escape(other)}(?![^\W_])", label, flags=re.IGNORECASE)
            if count and not names_both:
                mirrored.append(candidate)
    return mirrored


def _replacement(word: str) -> Callable[[re.Match[str]], str]:
    """Return a function for `re.sub` that inserts the word, capitalized like the word it replaces."""
    return lambda match: word.capitalize() if match.group()[:1].isupper() else word
