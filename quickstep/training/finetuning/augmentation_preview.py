"""Draw augmented training windows as one image: a row for each segment, first the unchanged window, then random draws of it."""

from __future__ import annotations

from collections import Counter
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
_RELABELLED = (180, 60, 20)


@dataclass(frozen=True)
class SheetConfig:
    """The layout of a preview, and the windows on it."""

    rows: int = setting(6, "number of segments, spread over the classes")
    columns: int = setting(5, "number of draws of each segment, next to the unchanged window")
    pictures: int = setting(3, "number of frames of each window that are shown")
    frames: int = setting(8, "frames per window")
    fps: float | None = setting(None, "frames per second; by default the frames are spread over the segment")
    size: int = setting(112, "width and height of a frame, in pixels")
    edge: int | None = setting(None, "length of the short edge before the crop, in pixels; by default the size")
    seed: int = setting(0, "random seed")

    def __post_init__(self) -> None:
        for name, high in (("rows", 200), ("columns", 50), ("pictures", 32)):
            between(name, getattr(self, name), 1, high)
        between("seed", self.seed, 0, 2**63 - 1)
        if self.pictures > self.frames:
            raise ConfigError("pictures", f"a window has only {self.frames} frames")
        _ = self.view

    @property
    def view(self) -> View:
        """The view with which the segments are read."""
        return View(frames=self.frames, fps=self.fps, size=self.size, edge=self.edge)


@dataclass(frozen=True)
class Sheet:
    """A preview that was written: its file, the number of its segments, and the segments that could not be read."""

    picture: Path
    segments: int
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, eq=False)
class _Tile:
    pixels: Pixels  # (H, W, 3)
    caption: str
    relabelled: bool  # the label differs from the manifest


def draw_sheet(manifest: Manifest, augment: Augment | None = None, config: SheetConfig | None = None, *, out: str | Path) -> Sheet:
    """Write a preview of the augmentation to an image file."""
    augment, config = augment or Augment(), config or SheetConfig()
    labelled = [segment for segment in manifest.segments if segment.label is not None and segment.split in (None, "train")]
    if not labelled:
        raise ManifestError(manifest.source or "manifest", "has no labelled segment in the train part; the preview needs one")
    mirror = mirror_of(manifest.labels, augment)
    rows: list[list[_Tile]] = []
    failures = []
    for number, segment in _spread_over_classes(labelled):
        if len(rows) == config.rows:
            break
        try:
            rows.append(_draw_row(number, segment, augment, mirror, config))
        except QuickstepError as error:
            failures.append(Failure(segment, error))
    if not rows:
        raise failures[0].error
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _draw_page(rows, augment).save(path)
    except (OSError, ValueError) as error:
        raise MediaError(path, f"the preview cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return Sheet(path, len(rows), mirror.notes, tuple(failures))


def _spread_over_classes(segments: Sequence[Segment]) -> list[tuple[int, Segment]]:
    """Return the segments with their numbers: the first of every class, then the second of every class, and so on."""
    per_class: Counter[str] = Counter()
    ranked = []
    for number, segment in enumerate(segments):
        ranked.append((per_class[str(segment.label)], number, segment))
        per_class[str(segment.label)] += 1
    return [(number, segment) for _, number, segment in sorted(ranked, key=lambda entry: entry[:2])]


def _draw_row(number: int, segment: Segment, augment: Augment, mirror: Mirror, config: SheetConfig) -> list[_Tile]:
    draws = [NOTHING.draw(np.random.default_rng(0))]
    label = str(segment.label)
    for column in range(config.columns):
        rng = Sample(number, 0, column).rng(config.seed)
        draws.append(augment.draw(rng, mirrors=mirror.allows(label)))
    return [_draw_tile(segment, draw, mirror, config) for draw in draws]


def _draw_tile(segment: Segment, draw: Draw, mirror: Mirror, config: SheetConfig) -> _Tile:
    uncut = read_drawn(segment, draw.view(config.view))
    assert not isinstance(uncut, Flow)
    window = draw.frames(uncut, config.view)
    shown = np.arange(len(window))
    if config.pictures < len(window):
        shown = np.linspace(0, len(window) - 1, config.pictures + 2).round().astype(int)[1:-1]
    label = mirror.name(str(segment.label), draw)
    caption = f"{label}  {window.times[0]:.1f}-{window.times[-1]:.1f} s"
    return _Tile(np.concatenate([window.pixels[frame] for frame in shown], axis=1), caption, label != segment.label)


def _draw_page(rows: Sequence[Sequence[_Tile]], augment: Augment) -> Image.Image:
    height, width = rows[0][0].pixels.shape[:2]
    font = ImageFont.load_default(size=11)
    page_width = _MARGIN * 2 + len(rows[0]) * (width + _GAP)
    page_height = _MARGIN * 2 + 2 * _LINE + len(rows) * (height + _LINE + _GAP)
    page = Image.new("RGB", (page_width, page_height), _PAPER)
    pen = ImageDraw.Draw(page)
    strengths = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in augment.strengths.items() if value) or "none"
    pen.text((_MARGIN, _MARGIN - 4), f"augmentation: {strengths}", fill=_INK, font=font)
    for column in range(len(rows[0])):
        title = "unchanged" if column == 0 else f"draw {column}"
        pen.text((_MARGIN + column * (width + _GAP), _MARGIN + _LINE), title, fill=_INK, font=font)
    for number, row in enumerate(rows):
        top = _MARGIN + 2 * _LINE + number * (height + _LINE + _GAP)
        for column, tile in enumerate(row):
            left = _MARGIN + column * (width + _GAP)
            page.paste(Image.fromarray(tile.pixels), (left, top))
            colour = _RELABELLED if tile.relabelled else _INK
            pen.text((left, top + height), _shortened(tile.caption, width, pen, font), fill=colour, font=font)
    return page


def _shortened(caption: str, width: int, pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Return the caption, cut with an ellipsis if it is wider than `width` pixels."""
    while len(caption) > 4 and pen.textlength(caption, font=font) > width:
        caption = f"{caption[:-4]}..."
    return caption
