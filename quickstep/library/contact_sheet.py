"""write_sheet: moments as one picture, a thumbnail each with where it is and how well it matches. Knows no library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from quickstep.library.moments import Moment
from quickstep.types.errors import MediaError

ACROSS = 5
CELL = 224  # pixels across a thumbnail
GAP = 12
LINES = 3
LETTERS = 15  # pixels
PAPER, INK, PALE, MATCH = (250, 250, 248), (30, 30, 30), (120, 120, 120), (20, 120, 60)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_sheet(moments: Sequence[Moment], path: str | Path, *, title: str = "", note: str = "", cutoff: float | None = None) -> Path:
    """A PNG with all moments in order; scores that reach the cut-off are green."""
    path = Path(path)
    font, bold = _font(LETTERS, "DejaVuSans.ttf"), _font(LETTERS + 3, "DejaVuSans-Bold.ttf")
    across = max(1, min(ACROSS, len(moments)))
    line = LETTERS + 5
    width = max(across * (CELL + GAP) + GAP, 3 * (CELL + GAP) + GAP)
    head = GAP + (line + 6 if title else 0) + (line if note else 0)
    tall = CELL + LINES * line + GAP
    sheet = Image.new("RGB", (width, head + -(-len(moments) // across) * tall + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        pen.text((GAP, GAP), _cut(title, bold, width - 2 * GAP), fill=INK, font=bold)
    if note:
        pen.text((GAP, head - line), _cut(note, font, width - 2 * GAP), fill=PALE, font=font)
    for number, moment in enumerate(moments):
        left, top = GAP + number % across * (CELL + GAP), head + number // across * tall + GAP // 2
        picture = _thumbnail(moment)
        sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
        good = cutoff is None or moment.score >= cutoff
        told = (
            (Path(moment.path).name, INK),
            (f"{_clock(moment.start)} to {_clock(moment.end)}", PALE),
            (f"{moment.score:.3f}" + "".join(f"  {name}" for name in list(moment.names)[:1]), MATCH if good else PALE),
        )
        for row, (text, colour) in enumerate(told):
            pen.text((left, top + CELL + 4 + row * line), _cut(text, font, CELL), fill=colour, font=font)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, "PNG")
    except (OSError, ValueError) as error:
        raise MediaError(path, f"the sheet cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return path


def _thumbnail(moment: Moment) -> Image.Image:
    """The picture of a moment, as large as its cell lets it be."""
    if not moment.thumbnail:
        return Image.new("RGB", (CELL, CELL), (225, 225, 225))
    picture = Image.open(io.BytesIO(moment.thumbnail)).convert("RGB")
    scale = CELL / max(picture.size)
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS)


def _font(size: int, name: str) -> Font:
    """A font that knows more than Latin letters, where it is at hand."""
    home = find_spec("matplotlib")
    if home is not None and home.origin is not None:
        file = Path(home.origin).parent / "mpl-data" / "fonts" / "ttf" / name
        if file.is_file():
            return ImageFont.truetype(file, size)
    return ImageFont.load_default(size)


def _cut(text: str, font: Font, width: int) -> str:
    """As much of a text as there is room for, its middle left out."""
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
