"""Moment: a span of a video that matches a query. Merge scored windows into moments, rank them, and draw them on a contact sheet."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from quickstep.storage import files
from quickstep.types.errors import MediaError

COLUMNS = 5  # of the contact sheet
THUMBNAIL_EDGE = 224  # pixels of a thumbnail's longer edge
GAP = 12
TEXT_LINES = 3
FONT_SIZE = 15  # pixels
BACKGROUND, DARK, GREY, GREEN = (250, 250, 248), (30, 30, 30), (120, 120, 120), (20, 120, 60)

Scores = NDArray[np.float64]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Moment:
    """A span of a video that matches."""

    path: str
    start: float  # seconds
    end: float
    score: float  # of its best window
    best: tuple[float, float]  # that window
    windows: int = 1  # how many were merged
    names: Mapping[str, float] = field(default_factory=dict)  # a model's labels of the best window
    metadata: Mapping[str, object] = field(default_factory=dict)
    thumbnail: bytes = field(default=b"", repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.path} @ {self.start:g}-{self.end:g} s"

    def to_json(self) -> dict[str, Any]:
        """Return the moment as plain data."""
        return {
            "path": self.path,
            "start": self.start,
            "end": self.end,
            "score": self.score,
            "best": list(self.best),
            "names": dict(self.names),
            "metadata": {
                name: value if isinstance(value, str | int | float | bool) else str(value) for name, value in self.metadata.items()
            },
        }


@dataclass(frozen=True, eq=False)
class ScoredWindows:
    """The windows of one video in the order of time, each with its score."""

    path: str
    spans: NDArray[np.float64]  # (W, 2)
    scores: Scores  # (W,)


# -- merging ----------------------------------------------------------------------------------------------------------------


def merge(video: ScoredWindows, *, threshold: float | None, median_score: float) -> list[Moment]:
    """Merge the windows of one video into moments, best first.

    Starting with the best window, neighbours that touch or overlap are added while their score reaches a level. The level is the
    threshold; for a window that is itself below the threshold (or without one) it is halfway between its score and the median score of
    the library. Then the same is repeated with the windows left; one that lies mostly inside an earlier moment is dropped.
    """
    unused = np.ones(len(video.scores), dtype=bool)
    moments: list[Moment] = []
    for peak in np.lexsort((video.spans[:, 0], -video.scores)):
        if not unused[peak] or _is_covered(video.spans[peak], moments):
            continue
        score = float(video.scores[peak])
        level = threshold if threshold is not None and score >= threshold else score - max(0.0, score - median_score) / 2
        first, last = _extend(video, unused, int(peak), level)
        unused[first : last + 1] = False
        start, end = float(video.spans[first, 0]), float(video.spans[first : last + 1, 1].max())
        best = (float(video.spans[peak, 0]), float(video.spans[peak, 1]))
        moments.append(Moment(video.path, start, end, score, best, last - first + 1))
    return moments


def _extend(video: ScoredWindows, unused: NDArray[np.bool_], peak: int, level: float) -> tuple[int, int]:
    """Return the first and the last window that belong to a peak."""

    def joins(number: int, earlier: int) -> bool:
        touches = video.spans[earlier + 1, 0] <= video.spans[earlier, 1] + 1e-6
        return bool(unused[number] and touches and video.scores[number] >= level)

    first = last = peak
    while first > 0 and joins(first - 1, first - 1):
        first -= 1
    while last + 1 < len(unused) and joins(last + 1, last):
        last += 1
    return first, last


def _is_covered(span: NDArray[np.float64], moments: Sequence[Moment]) -> bool:
    """Tell whether more than half of a window lies inside one moment."""
    length = max(float(span[1] - span[0]), 1e-9)
    return any(min(span[1], moment.end) - max(span[0], moment.start) > length / 2 + 1e-6 for moment in moments)


def select_best(moments: Sequence[Moment], *, top: int, per_video: int) -> list[Moment]:
    """Select the `top` best moments, at most `per_video` of one video (0: any number)."""
    counts: dict[str, int] = {}
    selected: list[Moment] = []
    for moment in rank(moments):
        if len(selected) == top:
            break
        if per_video and counts.get(moment.path, 0) >= per_video:
            continue
        counts[moment.path] = counts.get(moment.path, 0) + 1
        selected.append(moment)
    return selected


def rank(moments: Sequence[Moment]) -> list[Moment]:
    """Sort moments, best first; equal scores by path and time."""
    return sorted(moments, key=lambda moment: (-moment.score, moment.path, moment.start))


# -- contact sheet ----------------------------------------------------------------------------------------------------------


def write_sheet(moments: Sequence[Moment], path: str | Path, *, title: str = "", note: str = "", threshold: float | None = None) -> Path:
    """Write a PNG with the thumbnails of all moments in order; scores that reach the threshold are green."""
    path = Path(path)
    font, bold = _font(FONT_SIZE, "DejaVuSans.ttf"), _font(FONT_SIZE + 3, "DejaVuSans-Bold.ttf")
    columns = max(1, min(COLUMNS, len(moments)))
    line = FONT_SIZE + 5
    width = max(columns * (THUMBNAIL_EDGE + GAP) + GAP, 3 * (THUMBNAIL_EDGE + GAP) + GAP)
    header = GAP + (line + 6 if title else 0) + (line if note else 0)
    row_height = THUMBNAIL_EDGE + TEXT_LINES * line + GAP
    sheet = Image.new("RGB", (width, header + -(-len(moments) // columns) * row_height + GAP), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    if title:
        pen.text((GAP, GAP), _shorten(title, bold, width - 2 * GAP), fill=DARK, font=bold)
    if note:
        pen.text((GAP, header - line), _shorten(note, font, width - 2 * GAP), fill=GREY, font=font)
    for number, moment in enumerate(moments):
        x, y = GAP + number % columns * (THUMBNAIL_EDGE + GAP), header + number // columns * row_height + GAP // 2
        thumbnail = _thumbnail(moment)
        sheet.paste(thumbnail, (x + (THUMBNAIL_EDGE - thumbnail.width) // 2, y + (THUMBNAIL_EDGE - thumbnail.height) // 2))
        for row, (text, colour) in enumerate(_captions(moment, threshold)):
            pen.text((x, y + THUMBNAIL_EDGE + 4 + row * line), _shorten(text, font, THUMBNAIL_EDGE), fill=colour, font=font)
    try:
        with files.replacing(path, sync=False) as temporary:
            sheet.save(temporary, "PNG")
    except (OSError, ValueError) as error:
        raise MediaError(
            path, f"the contact sheet cannot be written: {(isinstance(error, OSError) and error.strerror) or error}"
        ) from error
    return path


def _captions(moment: Moment, threshold: float | None) -> list[tuple[str, tuple[int, int, int]]]:
    """Return the lines below a thumbnail, with their colours."""
    matches = threshold is None or moment.score >= threshold
    return [
        (Path(moment.path).name, DARK),
        (f"{_clock(moment.start)} to {_clock(moment.end)}", GREY),
        (f"{moment.score:.3f}" + "".join(f"  {name}" for name in list(moment.names)[:1]), GREEN if matches else GREY),
    ]


def _thumbnail(moment: Moment) -> Image.Image:
    """Return the thumbnail of a moment, scaled to its cell."""
    if not moment.thumbnail:
        return Image.new("RGB", (THUMBNAIL_EDGE, THUMBNAIL_EDGE), (225, 225, 225))
    image = Image.open(io.BytesIO(moment.thumbnail)).convert("RGB")
    scale = THUMBNAIL_EDGE / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)


def _font(size: int, name: str) -> Font:
    """Return matplotlib's font, which has more than Latin letters, where it is installed."""
    package = find_spec("matplotlib")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / name
        if file.is_file():
            return ImageFont.truetype(file, size)
    return ImageFont.load_default(size)


def _shorten(text: str, font: Font, width: int) -> str:
    """Leave out the middle of a text that is too wide."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if font.getlength(text) <= width:
        return text
    for keep in range(len(text) - 1, 2, -1):
        short = text[: (keep + 1) // 2] + "…" + text[-(keep // 2) :]
        if font.getlength(short) <= width:
            return short
    return "…"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"
