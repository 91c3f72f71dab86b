"""Malicious uploads: files and names of many kinds, each in any number of versions."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

NAMES = (
    "../../../../etc/passwd",
    "..\\..\\windows\\system32\\a.mp4",
    "/etc/cron.d/evil",
    "a\0.mp4",
    "💃🏽" * 40 + ".mp4",
    "‮4pm.exe",
    "a" * 2000 + ".mp4",
    "; rm -rf ~ #.mp4",
    "$(touch owned).mp4",
    "-y.mp4",
    "CON.mp4",
    "%2e%2e%2f.mp4",
    "\x1b[2J.mp4",
    "concat:a|b.mp4",
    "http://127.0.0.1/a.mp4",
    "set.pkl#member",
    "list.csv",
    ".",
    "",
)


@dataclass(frozen=True)
class Upload:
    """A malicious file under a malicious name."""

    kind: str
    name: str
    content: bytes


def uploads(folder: Path, video: bytes, count: int) -> Iterator[Upload]:
    """Yield `count` different uploads, kind after kind."""
    rng = np.random.default_rng(0)
    kinds = list(KINDS.items())
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        yield Upload(kind, NAMES[(number * 7 + number // len(kinds)) % len(NAMES)], make(video, rng, folder))


def _text(_video: bytes, rng: np.random.Generator, _folder: Path) -> bytes:
    lines = (
        b"#EXTM3U\n/etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"path,label\n/etc/passwd,a\n",
        b"<html>not found</html>",
    )
    return lines[rng.integers(len(lines))] + rng.bytes(8).hex().encode()


def _truncated(video: bytes, rng: np.random.Generator, _folder: Path) -> bytes:
    return video[: int(rng.integers(1, len(video) // 3))]


def _nothing(_video: bytes, _rng: np.random.Generator, _folder: Path) -> bytes:
    return b""


def _noise(_video: bytes, rng: np.random.Generator, _folder: Path) -> bytes:
    return rng.bytes(int(rng.integers(1, 20_000)))


def _hollow(video: bytes, rng: np.random.Generator, _folder: Path) -> bytes:
    """Keep the header and replace the frames by noise."""
    start = video.index(b"mdat") + 4
    end = video.index(b"moov") - 4 if video.index(b"moov") > start else len(video)
    return video[:start] + rng.bytes(end - start) + video[end:]


def _scrambled(video: bytes, rng: np.random.Generator, _folder: Path) -> bytes:
    """Change bytes of the header."""
    blob = bytearray(video)
    moov = blob.index(b"moov")
    for place in rng.integers(moov + 8, len(blob), 60):
        blob[place] = rng.integers(256)
    return bytes(blob)


def _huge(_video: bytes, rng: np.random.Generator, folder: Path) -> bytes:
    """Make an 8k video of about a kilobyte: a frame of one colour."""
    path = folder / "huge.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "x264-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 7680 + 16 * int(rng.integers(8)), 4320, "yuv420p"
        frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def _many_tracks(_video: bytes, rng: np.random.Generator, folder: Path) -> bytes:
    """Make a hundred audio tracks and no video."""
    path = folder / "tracks.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(100)]
        for stream in streams:
            audio = av.AudioFrame.from_ndarray(rng.integers(-99, 99, (1, 64)).astype(np.int16), format="s16", layout="mono")
            audio.rate = 8000
            container.mux(stream.encode(audio))
    return path.read_bytes()


def _image_bomb(_video: bytes, rng: np.random.Generator, _folder: Path) -> bytes:
    """Make a PNG whose header says 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000 + int(rng.integers(99)), 8, 2, 0, 0, 0)
    animated = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) if rng.integers(2) else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + animated + chunk(b"IDAT", zlib.compress(bytes(2**20))) + chunk(b"IEND", b"")


def _pickle(_video: bytes, rng: np.random.Generator, _folder: Path) -> bytes:
    """Make a pickle that runs a command when it is loaded."""
    return b"\x80\x03cos\nsystem\nX" + struct.pack("<I", 20) + b"touch /tmp/owned-%04d" % rng.integers(9999) + b"\x85R."


def _endless(_video: bytes, rng: np.random.Generator, folder: Path) -> bytes:
    """Make two frames, a month apart."""
    path = folder / "long.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for seconds in (0, 30 * 86_400 + int(rng.integers(999))):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 1000), seconds * 1000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


KINDS: dict[str, Callable[[bytes, np.random.Generator, Path], bytes]] = {
    "text": _text,
    "truncated": _truncated,
    "nothing": _nothing,
    "noise": _noise,
    "hollow": _hollow,
    "scrambled": _scrambled,
    "huge": _huge,
    "many tracks": _many_tracks,
    "image bomb": _image_bomb,
    "pickle": _pickle,
    "endless": _endless,
}
