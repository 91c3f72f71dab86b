"""Small videos that claim to be long, large or many: each cost minutes or gigabytes when its header was believed."""

from __future__ import annotations

import struct
from pathlib import Path

from videos import RECIPES, Recipe, write_numbered

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
LONG_GOPS = {"g": "250", "bf": "0", "x264-params": "log-level=none:scenecut=0"}


def write_costly(folder: Path) -> dict[str, Path]:
    """Write one video of each kind."""
    return {name: make(folder) for name, make in KINDS.items()}


def _written(folder: Path, name: str, recipe: str, *, count: int = 60) -> tuple[Path, bytearray]:
    path = write_numbered(folder / f"{name}{BY_NAME[recipe].suffix}", BY_NAME[recipe], count=count)
    return path, bytearray(path.read_bytes())


def _find(content: bytes, kind: bytes, *, last: bool = False) -> int:
    """Return where the content of the first or last box of a kind begins."""
    place = content.rfind(kind) if last else content.find(kind)
    assert place > 0
    return place + 4


def fragment_far_away(folder: Path) -> Path:
    """Write an mp4 whose last fragment begins after 1.1e10 seconds."""
    path, content = _written(folder, "fragment", "mp4-h264-fragmented")
    place = _find(content, b"tfdt", last=True)
    assert content[place] == 1  # version 1: the time has 64 bits
    timescale = struct.unpack_from(">I", content, _find(content, b"mdhd") + 12)[0]
    struct.pack_into(">Q", content, place + 4, int(1.1e10) * timescale)
    path.write_bytes(content)
    return path


def flv_with_flipped_bits(folder: Path) -> Path:
    """Write an flv whose last frame begins after 268,437 seconds."""
    path, content = _written(folder, "flipped", "flv-h264")
    end = len(content) - 4  # of the last tag, before its size; that tag only says that the stream ends
    end -= struct.unpack_from(">I", content, end)[0] + 4
    tag = end - struct.unpack_from(">I", content, end)[0]
    assert content[tag] == 9  # a picture
    content[tag + 7] |= 0x10  # the highest byte of its time in milliseconds
    path.write_bytes(content)
    return path


def slow_frames(folder: Path) -> Path:
    """Write an mp4 whose 60 frames are spread over 279 seconds."""
    path, content = _written(folder, "slow", "mp4-h264-no-edit-list")
    times = _find(content, b"stts")
    assert struct.unpack_from(">I", content, times + 4)[0] == 1  # one entry: all frames last equally long
    timescale = struct.unpack_from(">I", content, _find(content, b"mdhd") + 12)[0]
    struct.pack_into(">I", content, times + 12, 279 * timescale // 60)
    struct.pack_into(">I", content, _find(content, b"mdhd") + 16, 279 * timescale)
    path.write_bytes(content)
    return path


def cut_off(folder: Path) -> Path:
    """Cut off a Matroska file of 120 seconds after a fifth."""
    recipe = Recipe("cut", ".mkv", "libx264", options=LONG_GOPS)
    path = write_numbered(folder / "cut.mkv", recipe, count=1200, rate=10)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 5])
    return path


def table_of_samples(folder: Path) -> Path:
    """Write an mp4 that claims thirty million samples of one size, so that its table needs no bytes."""
    path, content = _written(folder, "table", "mp4-h264-no-b")
    place = _find(content, b"stsz")
    struct.pack_into(">II", content, place + 4, 1, 30_000_000)
    path.write_bytes(content)
    return path


def growing_picture(folder: Path) -> Path:
    """Write an h264 stream of 128x96 that goes on with 4096x2560."""
    small = write_numbered(folder / "small.h264", Recipe("small", ".h264", "libx264", options=LONG_GOPS, size=(128, 96)), count=30)
    large = write_numbered(folder / "large.h264", Recipe("large", ".h264", "libx264", options=LONG_GOPS, size=(4096, 2560)), count=1)
    path = folder / "growing.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    return path


def vast_gif(folder: Path) -> Path:
    """Write a gif of 480 bytes that claims 11,000 x 11,000 pixels."""
    header = b"GIF89a" + struct.pack("<HHBBB", 11_000, 11_000, 0xF0, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    picture = b"\x21\xf9\x04\x00\x0a\x00\x00\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 11_000, 11_000, 0) + b"\x02\x02\x44\x01\x00"
    path = folder / "vast.gif"
    path.write_bytes(header + picture * 20 + b"\x3b")
    return path


KINDS = {
    "fragment": fragment_far_away,
    "flipped": flv_with_flipped_bits,
    "slow": slow_frames,
    "cut": cut_off,
    "table": table_of_samples,
    "growing": growing_picture,
    "vast": vast_gif,
}
