"""Raw: what stands in a file of poses, before anything is concluded from it; and how single sightings become such a grid.

Knows no file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_PEOPLE = 100  # that one file is read for; of more, those seen most often
MOST_FRAMES = 2_000_000


@dataclass(frozen=True, eq=False)
class Raw:
    """Numbers as the file has them, and what it says about them; None where it says nothing."""

    values: NDArray[np.float32]  # (T, P, K, C)
    scored: bool | None = None  # whether the last channel is a score; None: it may be one, or depth
    times: NDArray[np.float64] | None = None
    fps: float | None = None
    people: tuple[int, ...] | None = None  # None: 0, 1, 2 ...
    tracked: bool = True  # whether a person keeps his place over time
    skeleton: str | None = None  # a name, or JSON text
    named: bool = False  # whether the file itself names its joints (else the format and their number do)
    size: tuple[int, int] | None = None
    zero: bool = False  # whether the format writes 0, 0 for what was not seen
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sighting:
    """One person in one frame."""

    frame: int
    values: NDArray[np.float32]  # (K, C), the last a score
    person: int | None = None


def grid(sightings: Sequence[Sighting], *, frames: int | None = None) -> tuple[NDArray[np.float32], tuple[int, ...], bool]:
    """Values (T, P, K, C) of single sightings, the people's numbers, and whether those were said; NaN where nobody was seen."""
    count = max([*(sighting.frame + 1 for sighting in sightings), frames or 0, 0])
    if count > MOST_FRAMES:
        raise ValueError(f"its frames are numbered up to {count - 1}, which no video has")
    shapes = Counter(sighting.values.shape for sighting in sightings)
    if len(shapes) > 1:
        told = " and ".join(str(shape[0]) for shape in sorted(shapes))
        raise ValueError(f"its people have different numbers of joints: {told}")
    tracked = bool(sightings) and all(sighting.person is not None for sighting in sightings)
    if tracked:
        often = Counter(sighting.person for sighting in sightings if sighting.person is not None)
        people = tuple(sorted(person for person, _ in often.most_common(MOST_PEOPLE)))
        slots = {person: slot for slot, person in enumerate(people)}
        placed = [(sighting, slots.get(sighting.person or 0)) for sighting in sightings]
    else:
        placed, most = _by_order(sightings)
        people = tuple(range(min(most, MOST_PEOPLE)))
    joints, channels = next(iter(shapes), (0, 3))
    values = np.full((count, len(people), joints, channels), np.nan, dtype=np.float32)
    for sighting, slot in placed:
        if slot is not None and slot < len(people):
            there, new = values[sighting.frame, slot], sighting.values
            if not _sure(there) > _sure(new):  # where one person stands twice in a frame, the surer sighting
                values[sighting.frame, slot] = new
    return values, people, tracked


def _by_order(sightings: Sequence[Sighting]) -> tuple[list[tuple[Sighting, int | None]], int]:
    """Each with its place among those of its frame, the surest first; and the most people in a frame."""
    frames: dict[int, list[Sighting]] = {}
    for sighting in sightings:
        frames.setdefault(sighting.frame, []).append(sighting)
    placed: list[tuple[Sighting, int | None]] = []
    for inside in frames.values():
        placed += [(sighting, slot) for slot, sighting in enumerate(sorted(inside, key=lambda one: -_sure(one.values)))]
    return placed, max((len(inside) for inside in frames.values()), default=0)


def _sure(values: NDArray[np.float32]) -> float:
    scores = values[:, -1]
    return float(np.nansum(scores)) if np.isfinite(scores).any() else 0.0


def numbered(names: Sequence[str]) -> dict[str, int]:
    """The frame that each picture's name means: its last number, from 0 on; their order where the numbers are none of frames."""
    digits = {name: _last_number(name) for name in dict.fromkeys(names)}
    known = [number for number in digits.values() if number is not None]
    if len(known) < len(digits) or len(set(known)) < len(known) or not known or max(known) - min(known) > 100 * len(known) + 1000:
        return {name: place for place, name in enumerate(digits)}
    first = min(known) if min(known) == 1 or min(known) > 100 * len(known) + 1000 else 0
    return {name: number - first for name, number in digits.items() if number is not None}


def _last_number(name: str) -> int | None:
    stem = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem = stem.rsplit(".", 1)[0] if "." in stem else stem
    stem = stem.removesuffix("_keypoints").removesuffix("_pose")
    digits = ""
    for letter in reversed(stem):
        if letter.isascii() and letter.isdigit():
            digits = letter + digits
        elif digits:
            break
    return int(digits) if digits and len(digits) < 19 else None


def triples(numbers: object, *, width: int = 3) -> NDArray[np.float32]:
    """A flat list of x, y, score as (K, 3); ValueError where it is none."""
    try:
        flat = np.asarray(numbers, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its keypoints are not numbers: {str(numbers)[:40]}") from error
    if flat.size == 0 or flat.size % width:
        raise ValueError(f"{flat.size} numbers for a person are not x, y and score of some joints")
    return flat.reshape(-1, width)
