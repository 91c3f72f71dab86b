"""The text form: the numbers of one frame a line, so many lines a sequence (`X_train.txt`), and one label a sequence (`Y_train.txt`)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats.raw_poses import Raw
from quickstep.types.errors import MediaError

USUAL_STEPS = 100  # lines a sequence where no labels say how many sequences there are
_NAME = re.compile(r"^x(?P<part>[_\-.]?(?:train(?:ing)?|val(?:id|idation)?|test(?:ing)?)?)\.txt$", re.IGNORECASE)
_PARTS = {"tr": "train", "va": "val", "te": "test"}


def part_of(path: Path) -> str | None:
    """train, val or test by the file's name; "" where it says none; None where it is no such file's name."""
    match = _NAME.match(path.name)
    return None if match is None else _PARTS.get(match["part"].strip("_-.").casefold()[:2], "")


def labels_beside(path: Path) -> Path:
    """Where the labels of a file of sequences stand."""
    return path.with_name(("Y" if path.name[0] == "X" else "y") + path.name[1:])


def read_labels(path: Path) -> list[str]:
    """One label a line; a whole number is written without a point."""
    try:
        words = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(path, f"cannot be read: {error}") from error
    return [str(int(float(word))) if re.fullmatch(r"\d+(\.0*)?(e[+-]?\d+)?", word) else word for word in words]


def read_table(path: Path, text: str) -> NDArray[np.float32]:
    """All numbers, (lines, numbers a line)."""
    rows = [line for line in text.replace(",", " ").replace(";", " ").splitlines() if line.strip()]
    width = len(rows[0].split()) if rows else 0
    try:
        flat = np.array(" ".join(rows).split(), dtype=np.float32)
    except ValueError as error:
        raise MediaError(path, f"is text, but not numbers: {error}") from error
    uneven = next((number for number, row in enumerate(rows, start=1) if len(row.split()) != width), None)
    if uneven is not None:
        raise MediaError(path, f"has {width} numbers in its first line and {len(rows[uneven - 1].split())} in line {uneven}")
    return flat.reshape(len(rows), width)


def steps_of(path: Path, lines: int) -> int:
    """How many lines a sequence has: as the labels beside it say, else a hundred."""
    labels = labels_beside(path)
    count = len(read_labels(labels)) if labels.is_file() else lines // USUAL_STEPS
    if count == 0 or lines % count:
        told = f"{count} labels" if labels.is_file() else f"sequences of {USUAL_STEPS}"
        raise MediaError(path, f"its {lines} lines cannot be shared out over {told}")
    return lines // count


def read_one(path: Path, table: NDArray[np.float32], member: str | None, *, joints: int | None) -> Raw:
    """The sequence of that number, counted from 0; the only one where none is named."""
    steps = steps_of(path, len(table))
    count = len(table) // steps
    if member is None and count > 1:
        raise MediaError(path, f"holds {count} sequences: name one of them as FILE#NUMBER, or train on the file")
    number = int(member) if member is not None and member.isdigit() else (0 if member is None else count)
    if number >= count:
        raise MediaError(path, f"holds no sequence {member!r}; they are numbered from 0 to {count - 1}")
    rows = table[number * steps : (number + 1) * steps]
    return Raw(as_joints(rows, joints), zero=True)


def as_joints(rows: NDArray[np.float32], joints: int | None) -> NDArray[np.float32]:
    """Lines of numbers as (T, 1, K, C); `joints` is K where it is known."""
    width = rows.shape[1]
    sizes = {51: 17, 34: 17, 54: 18, 36: 18, 75: 25, 50: 25, 99: 33, 132: 33, 66: 33, 78: 26, 52: 26}
    count = joints if joints is not None else sizes.get(width, 0)
    if not count or width % count or width // count not in (2, 3, 4):
        told = f"not 2, 3 or 4 for each of {count} joints" if count else "and nothing says of how many joints: name the --skeleton"
        raise ValueError(f"it has {width} numbers a frame, {told}")
    return rows.reshape(len(rows), 1, count, width // count)
