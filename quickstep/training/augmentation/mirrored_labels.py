"""The label of a mirrored segment: as configured, or from words such as left and right in the labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quickstep.training.augmentation.augment import Augment, Draw
from quickstep.types.errors import ConfigError

# Words for the two sides of a body or a turn, by which labels that are each other's mirror image are known.
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
    """Find the mirrored label of each label: as configured, else by words for sides.

    A label that names a side is never mirrored if its counterpart is not a label.
    """
    if augment.mirror_labels:
        return _configured(labels, augment.mirror_labels)
    if augment.strength("flip") == 0:
        return Mirror({}, frozenset())
    swapped: dict[str, str] = {}
    never: set[str] = set()
    for label in labels:
        images = _images(label)
        there = [image for image in images if image in labels]
        if there:
            swapped[label] = there[0]
        elif images:
            never.add(label)
    notes = []
    pairs = sorted({tuple(sorted(pair)) for pair in swapped.items()})
    if pairs:
        swaps = ", ".join(f"{one!r} and {other!r}" for one, other in pairs)
        notes.append(
            f"a mirrored segment changes its label between {swaps} (`mirror_labels=none` if that is wrong, `flip=0` for no mirroring)"
        )
    if never:
        notes.append(f"{', '.join(map(repr, sorted(never)))}: never mirrored, because the other side is not a class")
    return Mirror(swapped, frozenset(never), tuple(notes))


def _configured(labels: Sequence[str], configured: Sequence[str]) -> Mirror:
    if list(configured) == ["none"] and "none" not in labels:
        return Mirror({}, frozenset())
    swapped: dict[str, str] = {}
    never: set[str] = set()
    for each in configured:
        pairs = [(each[:at], each[at + 1 :]) for at, letter in enumerate(each) if letter == ":"]
        known = [pair for pair in pairs if pair[0] in labels and pair[1] in labels]
        if known:
            one, other = known[0]
            if {one, other} & swapped.keys():
                raise ConfigError("mirror_labels", f"{each!r}: a label has one mirror image, and another was said before")
            swapped |= {one: other, other: one}
        elif each in labels:
            never.add(each)
        else:
            raise ConfigError("mirror_labels", f"{each!r} is no label:label (or label alone) of {', '.join(labels)}")
    return Mirror(swapped, frozenset(never))


def _images(label: str) -> list[str]:
    """Return the names that a label may have in a mirror; none if it does not name a side."""
    found = []
    for pair in _SIDES:
        for one, other in (pair, pair[::-1]):
            image, count = re.subn(rf"(?<![^\W_]){re.escape(one)}(?![^\W_])", _like(other), label, flags=re.IGNORECASE)
            other_too = re.search(rf"(?<![^\W_]){re.escape(other)}(?![^\W_])", label, flags=re.IGNORECASE)
            if count and not other_too:
                found.append(image)
    return found


def _like(word: str) -> Callable[[re.Match[str]], str]:
    """Return a function that replaces a match by the word, with a capital if the match has one."""
    return lambda found: word.capitalize() if found.group()[:1].isupper() else word
