"""Charts as inline SVG drawn from numbers: crisp at any width, coloured by the page's own variables; knows no Report.

Everything that comes from outside is escaped here, because the page takes these strings as they are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

HUES = 8  # as many line colours as the page has
TILED = 40  # classes: with more, a confusion shows only what occurs


@dataclass(frozen=True)
class Line:
    """A line of a chart; `hue` 0 is grey, 1..8 a colour; `dots` gives a radius for every point."""

    x: Sequence[float]
    y: Sequence[float]
    name: str = ""
    hue: int = 1
    dashed: bool = False
    dots: Sequence[float] = ()


@dataclass(frozen=True)
class Axes:
    """The ranges and words of a chart; shares are written as percentages."""

    x: str
    y: str
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    x_share: bool = True
    y_share: bool = True
    width: int = 400
    height: int = 270


LEFT, RIGHT, TOP, BOTTOM = 62, 20, 10, 42


def chart(lines: Sequence[Line], axes: Axes, *, title: str) -> Markup:
    """Lines over a pair of axes, with their names below where there are any."""
    parts = [_grid(axes)]
    parts += [_line(line, axes) for line in lines]
    named = [line for line in lines if line.name]
    legend = Markup('<div class="legend">{}</div>').format(Markup("").join(_key(line) for line in named)) if named else Markup("")
    svg = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(axes.width, axes.height, title, Markup("").join(parts)) + legend


def _at(axes: Axes, x: float, y: float) -> tuple[float, float]:
    (x0, x1), (y0, y1) = axes.x_range, axes.y_range
    across = LEFT + (axes.width - LEFT - RIGHT) * (x - x0) / ((x1 - x0) or 1)
    down = axes.height - BOTTOM - (axes.height - TOP - BOTTOM) * (y - y0) / ((y1 - y0) or 1)
    return round(across, 2), round(down, 2)


def _grid(axes: Axes) -> Markup:
    parts = []
    for value in ticks(*axes.y_range):
        left, y = _at(axes, axes.x_range[0], value)
        right, _ = _at(axes, axes.x_range[1], value)
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, y, y))
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(left - 6, y + 4, _say(value, axes.y_share))
        )
    for value in ticks(*axes.x_range):
        x, y = _at(axes, value, axes.y_range[0])
        parts.append(Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(x, y + 16, _say(value, axes.x_share)))
    middle = (LEFT + axes.width - RIGHT) / 2
    parts.append(Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, axes.height - 6, axes.x))
    up = (TOP + axes.height - BOTTOM) / 2
    parts.append(Markup('<text class="axis" transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>').format(up, axes.y))
    return Markup("").join(parts)


def _line(line: Line, axes: Axes) -> Markup:
    places = [_at(axes, x, y) for x, y in zip(line.x, line.y)]
    if not places:
        return Markup("")
    path = " ".join(f"{x},{y}" for x, y in places)
    dash = Markup(' stroke-dasharray="4 4"') if line.dashed else Markup("")
    drawn = Markup('<polyline class="line h{}" points="{}"{}/>').format(line.hue, path, dash) if len(places) > 1 else Markup("")
    radii = line.dots or ([3.0] if len(places) == 1 else [])
    dot = Markup('<circle class="dot h{}" cx="{}" cy="{}" r="{}"/>')
    return drawn + Markup("").join(dot.format(line.hue, x, y, round(radius, 1)) for (x, y), radius in zip(places, radii))


def _key(line: Line) -> Markup:
    dash = Markup(' stroke-dasharray="4 3"') if line.dashed else Markup("")
    mark = Markup('<svg width="18" height="8" aria-hidden="true"><line class="line h{}" x1="1" x2="17" y1="4" y2="4"{}/></svg>')
    return Markup("<span>{}{}</span>").format(mark.format(line.hue, dash), line.name)


def interval_bar(value: float, low: float, high: float, *, strong: bool, marks: Sequence[float] = ()) -> Markup:
    """A bar from 0 to `value` with a whisker from `low` to `high`, as wide as its place; `marks` are thin lines behind."""
    parts = [Markup('<rect class="track" x="0" y="8" width="100%" height="12" rx="2"/>')]
    parts.append(
        Markup('<rect class="{}" x="0" y="8" width="{}" height="12" rx="2"/>').format("fill" if strong else "fill weak", _share(value))
    )
    parts += [Markup('<line class="mark" x1="{0}" x2="{0}" y1="2" y2="26"/>').format(_share(mark)) for mark in marks]
    parts.append(Markup('<line class="whisker" x1="{}" x2="{}" y1="14" y2="14"/>').format(_share(low), _share(high)))
    parts += [Markup('<line class="whisker" x1="{0}" x2="{0}" y1="9.5" y2="18.5"/>').format(_share(end)) for end in (low, high)]
    words = f"{100 * value:.0f} %, interval {100 * low:.0f} to {100 * high:.0f} %"
    return Markup('<svg class="bar" height="28" role="img" aria-label="{}">{}</svg>').format(words, Markup("").join(parts))


def small_bar(value: float, *, kind: str = "fill") -> Markup:
    """A thin bar for a table's cell."""
    track = Markup('<rect class="track" width="100%" height="6" rx="2"/>')
    bar = Markup('<rect class="{}" width="{}" height="6" rx="2"/>').format(kind, _share(value))
    return Markup('<svg class="small" height="6" aria-hidden="true">{}{}</svg>').format(track, bar)


def heat_map(counts: Sequence[Sequence[int]], labels: Sequence[str], *, shares: bool, title: str) -> Markup:
    """The confusion: a row for each truth, a column for each name given; shade is the share of the row."""
    size = len(labels)
    cell = 58 if size <= 5 else 42 if size <= 9 else 32 if size <= 15 else max(7, 480 // size)
    named = size <= TILED
    gutter = max((width_of(shorten(label)) for label in labels), default=0) * 7.6 + 12 if named else 8.0
    width, height = gutter + size * cell + 46, gutter * 0.72 + size * cell + 14
    ground = Markup('<rect class="cell" x="{}" y="2" width="{}" height="{}" rx="2"/>').format(round(gutter, 1), size * cell, size * cell)
    parts = [] if size <= TILED else [ground]
    for row, line in enumerate(counts):
        total = sum(line)
        for column, count in enumerate(line):
            if count or size <= TILED:
                corner = (gutter + column * cell, row * cell + 2)
                parts.append(_cell(count, total, corner, cell=cell, kind="right" if row == column else "wrong", shares=shares))
    if named:
        parts += [_row_name(label, gutter - 6, row * cell + cell / 2 + 6) for row, label in enumerate(labels)]
        parts += [_column_name(label, gutter + column * cell + cell / 2, size * cell + 14) for column, label in enumerate(labels)]
    svg = Markup('<svg class="heat" viewBox="0 0 {0} {1}" style="width:{0}px" role="img" aria-label="{2}">{3}</svg>')
    return svg.format(round(width), round(height), title, Markup("").join(parts))


def _cell(count: int, total: int, corner: tuple[float, float], *, cell: int, kind: str, shares: bool) -> Markup:
    share = count / total if total else 0.0
    x, y = round(corner[0], 1), round(corner[1], 1)
    inner = cell - (2 if cell > 12 else 0.5)
    tile = Markup('<rect class="cell" x="{}" y="{}" width="{}" height="{}" rx="2"/>').format(x, y, inner, inner)
    parts = [tile] if cell >= 12 else []
    if count:
        strength = round(0.12 + 0.88 * share, 3)
        shade = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="2" fill-opacity="{}"/>')
        parts.append(shade.format(kind, x, y, inner, inner, strength))
    if cell >= 26 and (count or not shares):
        words = f"{100 * share:.0f}" if shares else str(count)
        ink = "none" if not count else "over" if share > 0.5 else "number"
        text = Markup('<text class="{}" x="{}" y="{}" text-anchor="middle">{}</text>')
        parts.append(text.format(ink, x + inner / 2, y + inner / 2 + 4.5, words if count else "·"))
    return Markup("").join(parts)


def _row_name(label: str, x: float, y: float) -> Markup:
    return Markup('<text class="name" x="{}" y="{}" text-anchor="end"><title>{}</title>{}</text>').format(
        round(x, 1), round(y, 1), label, shorten(label)
    )


def _column_name(label: str, x: float, y: float) -> Markup:
    place = f"translate({x:.1f} {y:.1f}) rotate(-40)"
    return Markup('<text class="name" transform="{}" text-anchor="end"><title>{}</title>{}</text>').format(place, label, shorten(label))


def shorten(label: str, *, most: int = 20) -> str:
    """The label, cut where it would push a chart aside."""
    if width_of(label) <= most:
        return label
    kept = ""
    for letter in label:
        if width_of(kept + letter) > most - 1:
            break
        kept += letter
    return kept.rstrip() + "…"


def width_of(text: str) -> int:
    """How many letters wide: wide scripts count double, marks over letters not at all."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def ticks(low: float, high: float) -> list[float]:
    """Round values from low to high, about five."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10.0 ** _floor_log(span)
    step = next(s for s in (step / 10, step / 5, step / 4, step / 2, step, 2 * step) if span / s <= 5.001)
    first = int(low / step + (0.999999 if low > 0 else 0))
    return [round(n * step, 10) for n in range(first, int(high / step + 1e-6) + 1)]


def _floor_log(value: float) -> int:
    return int(f"{value:e}".split("e")[1])


def _say(value: float, share: bool) -> str:
    return f"{100 * value:.0f} %" if share else f"{value:g}"


def _share(value: float) -> str:
    return f"{100 * min(1.0, max(0.0, value)):.2f}%"
