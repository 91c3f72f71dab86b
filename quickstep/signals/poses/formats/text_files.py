"""Pose files as text: `X_train.txt` has one line of numbers a frame, `Y_train.txt` one label a sequence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats.raw_poses import RawPoses
from quickstep.storage.files import check_regular
from quickstep.types.errors import MediaError

DEFAULT_LINES = 100  # of a sequence, in a file without labels beside it
_NAME = re.compile(r"^x(?P<part>[_\-.]?(?:train(?:ing)?|val(?:id|idation)?|test(?:ing)?)?)\.txt$", re.IGNORECASE)
_PARTS = {"tr": "train", "va": "val", "te": "test"}


def part_of(path: Path) -> str | None:
    """Return train, val or test by the file's name; "" if the name states none; None if it is not the name of such a file."""
    match = _NAME.match(path.name)
    return None if match is None else _PARTS.get(match["part"].strip("_-.").casefold()[:2], "")


def labels_file(path: Path) -> Path:
    """Return the file of labels that belongs to a file of sequences."""
    return path.with_name(("Y" if path.name[0] == "X" else "y") + path.name[1:])


def read_labels(path: Path) -> list[str]:
    """Read one label a line; a whole number is returned without a decimal point."""
    try:
        check_regular(path)
        words = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(path, f"cannot be read: {error}") from error
    return [str(int(float(word))) if re.fullmatch(r"\d+(\.0*)?(e[+-]?\d+)?", word) else word for word in words]


def read_table(path: Path, text: str) -> NDArray[np.float32]:
    """Parse all numbers, (lines, numbers a line)."""
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


def lines_a_sequence(path: Path, lines: int) -> int:
    """Return how many lines a sequence has: from the number of labels, else DEFAULT_LINES."""
    labels = labels_file(path)
    count = len(read_labels(labels)) if labels.is_file() else lines // DEFAULT_LINES
    if count == 0 or lines % count:
        parts = f"{count} labels" if labels.is_file() else f"sequences of {DEFAULT_LINES}"
        raise MediaError(path, f"its {lines} lines cannot be divided into {parts}")
    return lines // count


def read_sequence(path: Path, table: NDArray[np.float32], name: str | None, *, joints: int | None) -> RawPoses:
    """Read the sequence of a number, counted from 0; None reads the only one."""
    steps = lines_a_sequence(path, len(table))
    count = len(table) // steps
    if name is None and count > 1:
        raise MediaError(path, f"holds {count} sequences: name one of them as FILE#NUMBER, or train on the file")
    number = int(name) if name is not None and name.isdigit() else (0 if name is None else count)
    if number >= count:
        raise MediaError(path, f"holds no sequence {name!r}; they are numbered from 0 to {count - 1}")
    rows = table[number * steps : (number + 1) * steps]
    return RawPoses(to_joints(rows, joints), zero_is_invisible=True)


def to_joints(rows: NDArray[np.float32], joints: int | None) -> NDArray[np.float32]:
    """Reshape lines of numbers to (T, 1, K, C); `joints` is K if it is known."""
    width = rows.shape[1]
    sizes = {51: 17, 34: 17, 54: 18, 36: 18, 75: 25, 50: 25, 99: 33, 132: 33, 66: 33, 78: 26, 52: 26}
    count = joints if joints is not None else sizes.get(width, 0)
    if not count or width % count or width // count not in (2, 3, 4):
        problem = f"not 2, 3 or 4 for each of {count} joints" if count else "and the number of joints is unknown: name the skeleton"
        raise ValueError(f"it has {width} numbers a frame, {problem}")
    return rows.reshape(len(rows), 1, count, width // count)
