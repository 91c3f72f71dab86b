"""Draw charts as inline SVG, in the colours of the page's style sheet. Labels and titles are escaped here."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from quickstep.evaluation.rendering.charts import Axes, Line, LineChart, shade, shorten, text_width, tick_label, ticks

MOST_NAMED = 40  # classes: with more, a confusion matrix shows only the cells that occur
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 10, 42


def line_chart(chart: LineChart) -> Markup:
    """Draw lines over a pair of axes, with a legend below where lines have names."""
    axes = chart.axes
    parts = [_grid(axes), *(_line(line, axes) for line in chart.lines)]
    named = [line for line in chart.lines if line.name]
    legend = Markup('<div class="legend">{}</div>').format(Markup("").join(_key(line) for line in named)) if named else Markup("")
    svg = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(axes.width, axes.height, chart.title, Markup("").join(parts)) + legend


def _position(axes: Axes, x: float, y: float) -> tuple[float, float]:
    (x0, x1), (y0, y1) = axes.x_range, axes.y_range
    across = LEFT + (axes.width - LEFT - RIGHT) * (x - x0) / ((x1 - x0) or 1)
    down = axes.height - BOTTOM - (axes.height - TOP - BOTTOM) * (y - y0) / ((y1 - y0) or 1)
    return round(across, 2), round(down, 2)


def _grid(axes: Axes) -> Markup:
    parts = []
    for value in ticks(*axes.y_range):
        left, y = _position(axes, axes.x_range[0], value)
        right, _ = _position(axes, axes.x_range[1], value)
        label = tick_label(value, share=axes.y_share)
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, y, y))
        parts.append(Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(left - 6, y + 4, label))
    for value in ticks(*axes.x_range):
        x, y = _position(axes, value, axes.y_range[0])
        label = tick_label(value, share=axes.x_share)
        parts.append(Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(x, y + 16, label))
    middle = (LEFT + axes.width - RIGHT) / 2
    parts.append(Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, axes.height - 6, axes.x))
    up = (TOP + axes.height - BOTTOM) / 2
    parts.append(Markup('<text class="axis" transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>').format(up, axes.y))
    return Markup("").join(parts)


def _line(line: Line, axes: Axes) -> Markup:
    places = [_position(axes, x, y) for x, y in zip(line.x, line.y)]
    if not places:
        return Markup("")
    path = " ".join(f"{x},{y}" for x, y in places)
    dash = Markup(' stroke-dasharray="4 4"') if line.dashed else Markup("")
    drawn = Markup('<polyline class="line h{}" points="{}"{}/>').format(line.colour, path, dash) if len(places) > 1 else Markup("")
    radii = line.dots or ([3.0] if len(places) == 1 else [])
    dot = Markup('<circle class="dot h{}" cx="{}" cy="{}" r="{}"/>')
    return drawn + Markup("").join(dot.format(line.colour, x, y, round(radius, 1)) for (x, y), radius in zip(places, radii))


def _key(line: Line) -> Markup:
    dash = Markup(' stroke-dasharray="4 3"') if line.dashed else Markup("")
    mark = Markup('<svg width="18" height="8" aria-hidden="true"><line class="line h{}" x1="1" x2="17" y1="4" y2="4"{}/></svg>')
    return Markup("<span>{}{}</span>").format(mark.format(line.colour, dash), line.name)


def interval_bar(value: float, low: float, high: float, *, strong: bool, marks: Sequence[float] = ()) -> Markup:
    """Draw a bar from 0 to `value` with an error bar from `low` to `high`, as wide as its container; `marks` are thin lines behind."""
    parts = [Markup('<rect class="track" x="0" y="8" width="100%" height="12" rx="2"/>')]
    kind = "fill" if strong else "fill weak"
    parts.append(Markup('<rect class="{}" x="0" y="8" width="{}" height="12" rx="2"/>').format(kind, _css_percent(value)))
    parts += [Markup('<line class="mark" x1="{0}" x2="{0}" y1="2" y2="26"/>').format(_css_percent(mark)) for mark in marks]
    parts.append(Markup('<line class="whisker" x1="{}" x2="{}" y1="14" y2="14"/>').format(_css_percent(low), _css_percent(high)))
    parts += [Markup('<line class="whisker" x1="{0}" x2="{0}" y1="9.5" y2="18.5"/>').format(_css_percent(end)) for end in (low, high)]
    text = f"{100 * value:.0f} %, interval {100 * low:.0f} to {100 * high:.0f} %"
    return Markup('<svg class="bar" height="28" role="img" aria-label="{}">{}</svg>').format(text, Markup("").join(parts))


def small_bar(value: float, *, kind: str = "fill") -> Markup:
    """Draw a thin bar for the cell of a table."""
    track = Markup('<rect class="track" width="100%" height="6" rx="2"/>')
    bar = Markup('<rect class="{}" width="{}" height="6" rx="2"/>').format(kind, _css_percent(value))
    return Markup('<svg class="small" height="6" aria-hidden="true">{}{}</svg>').format(track, bar)


def heat_map(counts: Sequence[Sequence[int]], labels: Sequence[str], *, shares: bool, title: str) -> Markup:
    """Draw the confusion matrix: rows are true classes, columns predicted ones; the shade is the share of the row."""
    size = len(labels)
    cell = 58 if size <= 5 else 42 if size <= 9 else 32 if size <= 15 else max(7, 480 // size)
    named = size <= MOST_NAMED
    margin = max((text_width(shorten(label)) for label in labels), default=0) * 7.6 + 12 if named else 8.0
    width, height = margin + size * cell + 46, margin * 0.72 + size * cell + 14
    background = Markup('<rect class="cell" x="{}" y="2" width="{}" height="{}" rx="2"/>').format(
        round(margin, 1), size * cell, size * cell
    )
    parts = [] if named else [background]
    for row, line in enumerate(counts):
        total = sum(line)
        for column, count in enumerate(line):
            if count or named:
                corner = (margin + column * cell, row * cell + 2)
                parts.append(_cell_parts(count, total, corner, cell=cell, kind="right" if row == column else "wrong", shares=shares))
    if named:
        parts += [_row_name(label, margin - 6, row * cell + cell / 2 + 6) for row, label in enumerate(labels)]
        parts += [_column_name(label, margin + column * cell + cell / 2, size * cell + 14) for column, label in enumerate(labels)]
    svg = Markup('<svg class="heat" viewBox="0 0 {0} {1}" style="width:{0}px" role="img" aria-label="{2}">{3}</svg>')
    return svg.format(round(width), round(height), title, Markup("").join(parts))


def _cell_parts(count: int, total: int, corner: tuple[float, float], *, cell: int, kind: str, shares: bool) -> Markup:
    share = count / total if total else 0.0
    x, y = round(corner[0], 1), round(corner[1], 1)
    inner = cell - (2 if cell > 12 else 0.5)
    tile = Markup('<rect class="cell" x="{}" y="{}" width="{}" height="{}" rx="2"/>').format(x, y, inner, inner)
    parts = [tile] if cell >= 12 else []
    if count:
        fill = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="2" fill-opacity="{}"/>')
        parts.append(fill.format(kind, x, y, inner, inner, round(shade(share), 3)))
    if cell >= 26 and (count or not shares):
        number = f"{100 * share:.0f}" if shares else str(count)
        ink = "none" if not count else "over" if share > 0.5 else "number"
        text = Markup('<text class="{}" x="{}" y="{}" text-anchor="middle">{}</text>')
        parts.append(text.format(ink, x + inner / 2, y + inner / 2 + 4.5, number if count else "·"))
    return Markup("").join(parts)


def _row_name(label: str, x: float, y: float) -> Markup:
    return Markup('<text class="name" x="{}" y="{}" text-anchor="end"><title>{}</title>{}</text>').format(
        round(x, 1), round(y, 1), label, shorten(label)
    )


def _column_name(label: str, x: float, y: float) -> Markup:
    place = f"translate({x:.1f} {y:.1f}) rotate(-40)"
    return Markup('<text class="name" transform="{}" text-anchor="end"><title>{}</title>{}</text>').format(place, label, shorten(label))


def _css_percent(value: float) -> str:
    return f"{100 * min(1.0, max(0.0, value)):.2f}%"
