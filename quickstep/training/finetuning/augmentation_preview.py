"""draw_sheet: what a network is shown in training, as one picture: a row a segment, first as it is tested, then as it was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from quickstep.datasets.manifest import Manifest
from quickstep.training.augmentation.augment import NOTHING, Augment, Draw
from quickstep.training.augmentation.mirrored_labels import Mirror, mirror_of
from quickstep.training.finetuning.batches import Sample, read_drawn
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError, ManifestError, MediaError, QuickstepError
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Flow
from quickstep.types.view import View

Pixels = NDArray[np.uint8]

_GAP, _LINE, _MARGIN = 6, 14, 10
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_CHANGED = (180, 60, 20)


@dataclass(frozen=True)
class SheetConfig:
    """What stands on the sheet."""

    rows: int = setting(6, "segments, spread over the classes")
    columns: int = setting(5, "draws of each, beside what is tested")
    pictures: int = setting(3, "pictures of each window that are drawn")
    frames: int = setting(8, "frames a window")
    fps: float | None = setting(None, "frames a second; by default spread over the segment")
    size: int = setting(112, "pixels of the square that is seen")
    edge: int | None = setting(None, "pixels of the short edge before it is cut; by default the size")
    seed: int = setting(0, "the same seed draws the same sheet")

    def __post_init__(self) -> None:
        for name, high in (("rows", 200), ("columns", 50), ("pictures", 32)):
            between(name, getattr(self, name), 1, high)
        between("seed", self.seed, 0, 2**63 - 1)
        if self.pictures > self.frames:
            raise ConfigError("pictures", f"a window has only {self.frames} frames")
        _ = self.view

    @property
    def view(self) -> View:
        """How the segments are looked at."""
        return View(frames=self.frames, fps=self.fps, size=self.size, edge=self.edge)


@dataclass(frozen=True)
class Sheet:
    """The picture, what is on it, and what could not be drawn."""

    picture: Path
    segments: int
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, eq=False)
class _Cell:
    pixels: Pixels  # (H, W, 3)
    words: str
    changed: bool  # the label is another than in the manifest


def draw_sheet(manifest: Manifest, augment: Augment | None = None, config: SheetConfig | None = None, *, out: str | Path) -> Sheet:
    """Write the sheet as a picture."""
    augment, config = augment or Augment(), config or SheetConfig()
    labelled = [segment for segment in manifest.segments if segment.label is not None and segment.split in (None, "train")]
    if not labelled:
        raise ManifestError(manifest.source or "manifest", "has no labelled segment that is trained on, so there is nothing to show")
    mirror = mirror_of(manifest.labels, augment)
    rows: list[list[_Cell]] = []
    failures = []
    for number, segment in _spread(labelled):
        if len(rows) == config.rows:
            break
        try:
            rows.append(_row(number, segment, augment, mirror, config))
        except QuickstepError as error:
            failures.append(Failure(segment, error))
    if not rows:
        raise failures[0].error
    place = Path(out)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _page(rows, augment).save(place)
    except (OSError, ValueError) as error:
        raise MediaError(place, f"the sheet cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return Sheet(place, len(rows), mirror.notes, tuple(failures))


def _spread(segments: Sequence[Segment]) -> list[tuple[int, Segment]]:
    """Segments with their numbers, one of each class before a second of any."""
    seen: dict[str, int] = {}
    keyed = []
    for number, segment in enumerate(segments):
        turn = seen.get(str(segment.label), 0)
        seen[str(segment.label)] = turn + 1
        keyed.append((turn, number, segment))
    return [(number, segment) for _, number, segment in sorted(keyed, key=lambda each: each[:2])]


def _row(number: int, segment: Segment, augment: Augment, mirror: Mirror, config: SheetConfig) -> list[_Cell]:
    draws = [NOTHING.draw(np.random.default_rng(0))]
    label = str(segment.label)
    for column in range(config.columns):
        rng = Sample(number, 0, column).rng(config.seed)
        draws.append(augment.draw(rng, mirrors=mirror.allows(label)))
    return [_cell(segment, draw, mirror, config) for draw in draws]


def _cell(segment: Segment, draw: Draw, mirror: Mirror, config: SheetConfig) -> _Cell:
    uncut = read_drawn(segment, draw.view(config.view))
    assert not isinstance(uncut, Flow)
    shown = draw.frames(uncut, config.view)
    chosen = (
        np.linspace(0, len(shown) - 1, config.pictures + 2).round().astype(int)[1:-1] if config.pictures < len(shown) else range(len(shown))
    )
    label = mirror.name(str(segment.label), draw)
    words = f"{label}  {shown.times[0]:.1f}-{shown.times[-1]:.1f} s"
    return _Cell(np.concatenate([shown.pixels[place] for place in chosen], axis=1), words, label != segment.label)


def _page(rows: Sequence[Sequence[_Cell]], augment: Augment) -> Image.Image:
    height, width = rows[0][0].pixels.shape[:2]
    font = ImageFont.load_default(size=11)
    across = _MARGIN * 2 + len(rows[0]) * (width + _GAP)
    down = _MARGIN * 2 + 2 * _LINE + len(rows) * (height + _LINE + _GAP)
    page = Image.new("RGB", (across, down), _PAPER)
    pen = ImageDraw.Draw(page)
    strengths = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in augment.strengths.items() if value) or "nothing"
    pen.text((_MARGIN, _MARGIN - 4), f"changed in training: {strengths}", fill=_INK, font=font)
    for column in range(len(rows[0])):
        title = "as tested" if column == 0 else f"draw {column}"
        pen.text((_MARGIN + column * (width + _GAP), _MARGIN + _LINE), title, fill=_INK, font=font)
    for place, row in enumerate(rows):
        top = _MARGIN + 2 * _LINE + place * (height + _LINE + _GAP)
        for column, cell in enumerate(row):
            left = _MARGIN + column * (width + _GAP)
            page.paste(Image.fromarray(cell.pixels), (left, top))
            pen.text((left, top + height), _fitted(cell.words, width, pen, font), fill=_CHANGED if cell.changed else _INK, font=font)
    return page


def _fitted(words: str, width: int, pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Shorten a text until it fits under a frame."""
    while len(words) > 4 and pen.textlength(words, font=font) > width:
        words = f"{words[:-4]}..."
    return words
