"""Escapes for the texts of strangers: a terminal shows every character, and a spreadsheet takes no cell of a csv for a formula."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

_JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji
_FORMULA = ("=", "+", "-", "@", "\t")


def is_plain(text: str) -> bool:
    """Whether a text has no control characters, line ends or marks that turn the direction of writing."""
    return text.isprintable() or all(map(_is_plain, text))


def escaped(text: str, *, keep: str = "") -> str:
    """Return the text with such characters written as escapes; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(letter if letter in keep or _is_plain(letter) else _escape(letter) for letter in text)


def csv_cells(values: Iterable[object]) -> list[object]:
    """Return the cells of a row; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    cells = [str(value) if isinstance(value, PurePath) else value for value in values]
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith((*_FORMULA, "'")) and not _is_number(cell) else cell for cell in cells]


def from_csv(cell: str) -> str:
    """Return the text that `csv_cells` wrote."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_plain(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS or letter == "\u00a0"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii") if not "\ud800" <= letter <= "\udfff" else "\ufffd"
