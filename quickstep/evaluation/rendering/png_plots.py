"""Draw charts as picture files with matplotlib, without a screen and without its global state."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray

from quickstep.evaluation.rendering.charts import (
    LineChart,
    accuracy_bars,
    learning_charts,
    line_charts,
    shade,
    shorten,
    tick_label,
    ticks,
)
from quickstep.evaluation.report import Report
from quickstep.storage.files import replacing
from quickstep.types.confidence_intervals import percent
from quickstep.types.errors import MediaError

RIGHT, WRONG, GREY, PALE = "#1f6f78", "#c2562d", "#b3ada0", "#f3f1eb"
COLOURS = (GREY, RIGHT, WRONG, "#5a5ca8", "#b0842a", "#86406e", "#4b8440", "#8a6a56", "#3b78c2")  # those of page.css
# Labels are free text: a dollar sign must not start a formula, and a letter that no font has is drawn as a box without a warning.
STYLE = {
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def write_plots(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write baselines.png, confusion.png, reliability.png, risk-coverage.png, roc.png, pr.png and, where known, learning.png."""
    drawings: dict[str, Callable[[Any], None]] = {"baselines": partial(_baselines, report), "confusion": partial(_confusion, report)}
    drawings |= {name: partial(_line_charts, [chart]) for name, chart in line_charts(report).items()}
    if report.learning is not None:
        drawings["learning"] = partial(_line_charts, learning_charts(report.learning))
    written = []
    with rc_context(STYLE):
        for name, draw in drawings.items():
            figure = Figure(figsize=(5.4, 4.2), layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure)
            path = folder / f"{name}.png"
            with replacing(path) as temporary:
                figure.savefig(temporary, dpi=160, format="png", metadata={"Software": None})
            written.append(path)
    return tuple(written)


def save_figure(figure: Figure, target: Path) -> None:
    """Write a figure atomically in the format of the file's suffix; the same figure gives the same bytes."""
    kind = target.suffix.lower().lstrip(".") or "png"
    try:
        with replacing(target) as temporary:
            figure.savefig(temporary, dpi=140, format=kind, metadata={"Software": None} if kind == "png" else None)
    except ValueError as error:
        raise MediaError(target, f"is not an image format that can be written: {error}") from error
    except OSError as error:
        raise MediaError(target, f"cannot be written: {error.strerror or error}") from error


def _baselines(report: Report, figure: Any) -> None:
    bars = [(bar, bar.accuracy) for bar in accuracy_bars(report) if bar.accuracy is not None]
    figure.set_size_inches(6.4, 0.9 + 0.55 * len(bars))
    axes = figure.subplots()
    for height, (bar, accuracy) in enumerate(reversed(bars)):
        axes.barh(height, accuracy.value, color=RIGHT if bar.is_model else GREY, height=0.5)
        reach = [[accuracy.value - accuracy.low], [accuracy.high - accuracy.value]]
        axes.errorbar([accuracy.value], [height], xerr=reach, color="black", linewidth=1.2, capsize=3)
        axes.text(1.03, height, percent(accuracy.value), va="center")
    axes.set_yticks(range(len(bars)), [_drawable(shorten(bar.name, most=26)) for bar, _ in reversed(bars)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.13)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("accuracy, with 95 % intervals")


def _confusion(report: Report, figure: Any) -> None:
    counts = np.array(report.confusion, dtype=float)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    size = len(report.labels)
    side = min(14.0, max(4.2, 1.6 + 0.42 * size))
    figure.set_size_inches(side + 0.4, side)
    axes = figure.subplots()
    axes.imshow(_cell_colours(shares))
    if size <= 25:
        for row, column in np.argwhere(counts > 0):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=ink)
    names = [_drawable(shorten(label)) for label in report.labels]
    if size <= 60:
        axes.set_xticks(range(size), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


def _cell_colours(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return colours (C, C, 3): one for correct predictions, one for errors, the paler the rarer."""
    full = np.where(np.eye(len(shares), dtype=bool)[..., None], to_rgb(RIGHT), to_rgb(WRONG))
    strength = np.vectorize(shade, otypes=[np.float64])(shares)[..., None]
    blended: NDArray[np.float64] = strength * full + (1 - strength) * np.array(to_rgb(PALE))
    return blended


def _line_charts(charts: list[LineChart], figure: Any) -> None:
    """Draw charts beside each other."""
    if len(charts) > 1:
        figure.set_size_inches(4.6 * len(charts), 3.8)
    for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts):
        for line in chart.lines:
            style = {"color": COLOURS[line.colour], "linestyle": "--" if line.dashed else "-", "linewidth": 1.5 if line.name else 0.7}
            name = _drawable(line.name) if line.name else None
            axes.plot(line.x, line.y, label=name, marker="o" if len(line.x) == 1 else None, **style)
            if line.dots:
                axes.scatter(line.x, line.y, s=[1.5 * radius**2 for radius in line.dots], color=style["color"], linewidths=0)
        place = chart.axes
        axes.set_xticks(x_ticks := ticks(*place.x_range), [tick_label(value, share=place.x_share) for value in x_ticks])
        axes.set_yticks(y_ticks := ticks(*place.y_range), [tick_label(value, share=place.y_share) for value in y_ticks])
        axes.set_xlabel(place.x)
        axes.set_ylabel(place.y)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=8)


def _drawable(text: str) -> str:
    """Return the text with a box for each letter that the font lacks, because matplotlib would warn about each."""
    return "".join(letter if ord(letter) in _font_letters() else "□" for letter in text) or "□"


@cache
def _font_letters() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
