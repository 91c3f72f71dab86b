"""Whether any other picture leans on a packet's, read from the first bytes of H.264 and HEVC; knows no decoder.

A packet that others lean on must come out of the decoder as a picture. Where it does not, it was damaged, even if nothing
complained: this is how that is noticed.
"""

from __future__ import annotations

START = b"\x00\x00\x01"
NEAR = 65_536  # bytes in which a picture's first slice begins, after whatever notes stand before it


def leans_nothing(codec: str, packet: bytes | memoryview, header: bytes | None) -> bool | None:
    """True where the picture may be left out without harm to others, False where not, None where the codec does not say."""
    if codec not in ("h264", "hevc"):
        return None
    view = memoryview(packet)
    framed = bool(header) and header is not None and header[0] == 1  # lengths before each unit instead of start codes
    place = 0 if framed else _after_start(view, 0)
    prefix = (((header[4] if codec == "h264" else header[21]) & 3) + 1) if framed and header is not None and len(header) > 21 else 4
    while 0 <= place < len(view) - prefix - 1:
        unit = place + prefix if framed else place
        answer = _unit_says(codec, view[unit])
        if answer is not None:
            return answer
        place = unit + int.from_bytes(view[place : place + prefix], "big") if framed else _after_start(view, unit)
    return None


def _after_start(view: memoryview, place: int) -> int:
    found = bytes(view[place : place + NEAR]).find(START)
    return place + found + 3 if found >= 0 else -1


def _unit_says(codec: str, first: int) -> bool | None:
    """None for a unit that is no slice of a picture."""
    if codec == "h264":
        return (first >> 5) & 3 == 0 if first & 31 in (1, 2, 5) else None
    kind = (first >> 1) & 63
    return kind < 16 and kind % 2 == 0 if kind < 32 else None
