"""Check the tables of an mp4 before FFmpeg builds its index from them: a few bytes may claim millions of samples.

Only the counts of a table are read, so that the check takes a few reads whatever the file's size. What it does not understand is left to
FFmpeg.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from quickstep.types.errors import MediaError

# The boxes that hold other boxes.
_CONTAINERS = frozenset({"moov", "cmov", "trak", "mdia", "minf", "stbl", "edts", "moof", "traf", "mvex", "dinf", "udta", "wave"})
_ENTRY_BYTES = {"stts": 8, "ctts": 8, "stsc": 12, "stco": 4, "co64": 8, "stss": 4}
_FIRST_BOXES = frozenset({"ftyp", "moov", "mdat", "free", "skip", "wide", "pnot", "moof", "styp", "sidx", "uuid"})
_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".m4a", ".3gp", ".3g2", ".mj2", ".psp", ".f4v", ".ismv", ".isma", ".avif", ".heic"})
_MAX_DEPTH = 8
_MAX_BOXES = 1_000_000
_MAX_HEADER = 2**27  # bytes of a compressed header when it is unpacked
_FEW_EDITS = 64
_MAX_EDITED = 2**22  # samples times edits: FFmpeg's index has an entry for each


@dataclass(frozen=True)
class _Box:
    kind: str
    start: int  # of its content
    end: int


def check_sample_tables(path: Path, size: int, file: BinaryIO) -> None:
    """Refuse an mp4 whose tables claim more samples than the file has bytes."""
    first = file.read(8)[4:].decode("latin-1")
    if first not in _FIRST_BOXES and path.suffix.lower() not in _SUFFIXES:
        return
    samples = edits = 0
    for box in _boxes(file, 0, size):
        samples += _count(file, box, path)
        if box.kind == "elst":
            edits = max(edits, _integer(file, box.start + 4))
        if samples > size or (edits > _FEW_EDITS and edits * samples > _MAX_EDITED):
            raise MediaError(path, f"its index claims {samples} samples and {edits} edits in {size} bytes: it is damaged, or made to harm")


def _boxes(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[_Box]:
    """Yield the boxes of a stretch of the file, and those inside them."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(16)
        length, kind, skip = int.from_bytes(head[:4], "big"), head[4:8].decode("latin-1"), 8
        if length == 1 and len(head) == 16:
            length, skip = int.from_bytes(head[8:], "big"), 16
        stop = end if length == 0 else min(end, start + length)
        if stop < start + skip:
            return
        box = _Box(kind, start + skip, stop)
        yield box
        if kind in _CONTAINERS and depth < _MAX_DEPTH:
            yield from _boxes(file, box.start, box.end, depth + 1)
        start = stop


def _count(file: BinaryIO, box: _Box, path: Path) -> int:
    """Return how many samples a table claims; refuse one with more entries than its own bytes hold."""
    content = box.end - box.start
    if box.kind in _ENTRY_BYTES:
        entries = _integer(file, box.start + 4)
        if entries * _ENTRY_BYTES[box.kind] > content:
            raise MediaError(path, f"its table {box.kind} claims {entries} entries in {content} bytes: the file is damaged")
    elif box.kind in ("stsz", "stz2"):
        return _integer(file, box.start + 8)
    elif box.kind == "trun":
        return _integer(file, box.start + 4)
    elif box.kind == "cmvd" and _integer(file, box.start) > _MAX_HEADER:
        raise MediaError(path, "its compressed header claims more than 128 MB: the file is damaged")
    return 0


def _integer(file: BinaryIO, place: int) -> int:
    file.seek(place, os.SEEK_SET)
    return int.from_bytes(file.read(4), "big")
